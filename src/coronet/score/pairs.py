"""Two columns of scores out of a table."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np

from coronet.errors import InputError

REFERENCE_WORDS = re.compile(
    r"reference|manual|truth|true|expert|human|ground|reader|gt(?![a-z])", re.IGNORECASE
)
PREDICTED_WORDS = re.compile(
    r"predict|(?<![a-z])pred|(?<![a-z])ai(?![a-z])|model|auto|coronet", re.IGNORECASE
)


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Scores of the same scans by two readings, each of shape (n,), and what the columns are called."""

    reference: np.ndarray
    predicted: np.ndarray
    names: tuple[str, str]


def read_pairs(path: Path, *, reference: str | None = None, predicted: str | None = None) -> Pairs:
    """Read a CSV table with a heading.

    Without names, a table of two columns, or of three with an id first, is taken: the column whose name says
    that it is the reference (manual, truth, expert …) or the prediction (AI, model …) is that; where no name
    says so, the first is the prediction and the second the reference, so that the bias is first − second.

    Args:
        path: the table.
        reference: name of the column with reference scores.
        predicted: name of the column with predicted scores.

    Raises:
        InputError: the table cannot be read, its columns are not clear, or a value is no score.
    """
    import pandas

    try:
        table = pandas.read_csv(
            path, dtype=str, keep_default_na=False, skipinitialspace=True, encoding="utf-8-sig"
        )
    except FileNotFoundError as error:
        raise InputError(f"{path} is absent.") from error
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is no CSV table: {error}") from error
    columns = _columns(list(table.columns), reference, predicted, path)
    values = [_numbers(table[name], name, path) for name in columns]
    return Pairs(reference=values[0], predicted=values[1], names=columns)


def _columns(columns: list[str], reference: str | None, predicted: str | None, path: Path) -> tuple[str, str]:
    for name in (reference, predicted):
        if name is not None and name not in columns:
            raise InputError(f"{path} has no column «{name}»; it has {', '.join(columns)}.")
    left = [name for name in columns if name not in (reference, predicted)]
    if len(columns) == 3 and columns[0] in left:
        left.remove(columns[0])
    if reference is not None and predicted is not None:
        return reference, predicted
    if len(left) == 1 and reference is not None:
        return reference, left[0]
    if len(left) == 1 and predicted is not None:
        return left[0], predicted
    if len(left) != 2:
        raise InputError(
            f"{path} has the columns {', '.join(columns)}; "
            "name those to compare with --reference and --predicted."
        )
    first, second = left
    says_reference = [bool(REFERENCE_WORDS.search(name)) for name in left]
    says_predicted = [bool(PREDICTED_WORDS.search(name)) for name in left]
    turned = says_reference == [True, False] or (not any(says_reference) and says_predicted == [False, True])
    return (first, second) if turned else (second, first)


def _numbers(column, name: str, path: Path) -> np.ndarray:
    import pandas

    values = pandas.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if wrong.size:
        raise InputError(
            f"{path}, line {wrong[0] + 2}: «{column.iloc[wrong[0]]}» in column {name} is no score; "
            "a score is a number of 0 or more. Leave out the scans that lack one."
        )
    return values
