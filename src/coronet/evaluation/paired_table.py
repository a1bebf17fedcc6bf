"""Two columns of scores out of a table."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from coronet.errors import InputError
from coronet.evaluation.delimited_text import DelimitedTable, read_delimited
from coronet.evaluation.score_numbers import is_number, parse_scores

_REFERENCE_WORDS = re.compile(
    r"reference|manual|truth|true|expert|human|ground|reader|gt(?![a-z])", re.IGNORECASE
)
_PREDICTED_WORDS = re.compile(
    r"predict|(?<![a-z])pred|(?<![a-z])ai(?![a-z])|model|auto|coronet", re.IGNORECASE
)
_ID_WORDS = re.compile(
    r"(.*[\s_.#-])?[pu]?id(entifier)?s?|.*[a-z](?-i:ID|UID|Id)|accession.*|mrn|index|nr|name|"
    r"(case|patient|subject|participant|scan|series|study|file)([\s_.-]?(no|nr|name|number|key)\.?)?",
    re.IGNORECASE,
)
_COHORT_COLUMNS = (("reference_agatston", "predicted_agatston"), ("exact_agatston", "drawn_agatston"))
"""Reference and predicted scores in the tables of ``build/scores``, compared unless others are named."""


@dataclasses.dataclass(frozen=True)
class ScorePairs:
    """Scores of the same scans by two readings."""

    reference: np.ndarray  # shape (n,)
    predicted: np.ndarray  # shape (n,)
    names: tuple[str, str]  # what the two columns are called, (reference, predicted)
    ids: tuple[str, ...] = ()  # the columns that name the scans; none where rows are only counted


def read_pairs(
    path: Path, *, reference: str | None = None, predicted: str | None = None, id_column: str | None = None
) -> ScorePairs:
    """Read a table with a heading; see `coronet.evaluation.delimited_text` for what is understood.

    Columns that are not named are found only where there is no doubt: two columns hold numbers beside those
    whose heading says id. The one whose name says that it is the reference (manual, truth, expert …) or the
    prediction (AI, model …) is that; where no name says so, the first is the prediction and the second the
    reference, so that the bias is first − second.

    Args:
        path: the table.
        reference: name of the column with reference scores.
        predicted: name of the column with predicted scores.
        id_column: name of the column that says which scan a row is of.

    Raises:
        InputError: the table cannot be read, its columns are not clear, a value is no score, or a scan is in
            it twice.
    """
    table = read_delimited(path)
    fields = list(zip(*(row for _, row in table.rows), strict=True)) or [()] * len(table.columns)
    numeric = [index for index, texts in enumerate(fields) if any(map(is_number, texts))]
    options = {"--reference": reference, "--predicted": predicted, "--id": id_column}
    named = [_find(table, option, name) for option, name in options.items()]
    wanted = [column for column in named if column is not None]
    if len(set(wanted)) < len(wanted):
        raise InputError(f"{path}: --reference, --predicted and --id must name different columns.")
    reference_at, predicted_at, id_at = named
    found = [
        index for index, name in enumerate(table.columns) if _says_id(index, name) and any(fields[index])
    ]
    ids = [id_at] if id_at is not None else [index for index in found if index not in wanted]
    if reference_at is None and predicted_at is None:
        own = next((pair for pair in _COHORT_COLUMNS if set(pair) <= set(table.columns)), None)
        reference_at, predicted_at = map(table.columns.index, own) if own else (None, None)
    if reference_at is None or predicted_at is None:
        left = [index for index in numeric if index not in (*wanted, *ids)]
        if any(is_number(table.columns[index]) for index in left):
            raise InputError(f"{table.path}: its first line is no heading; put the columns' names there.")
        reference_at, predicted_at = _choose(table, left, reference_at, predicted_at)
    return _read(table, reference_at, predicted_at, ids)


def _find(table: DelimitedTable, option: str, name: str | None) -> int | None:
    if name is None:
        return None
    wanted = unicodedata.normalize("NFC", name).strip()
    if not wanted or wanted not in table.columns:
        known = ", ".join(column or "(without a name)" for column in table.columns)
        raise InputError(f'{table.path} has no column "{name}", which {option} names; it has {known}.')
    return table.columns.index(wanted)


def _says_id(index: int, name: str) -> bool:
    # tables that pandas or R wrote have their row names in a first column without a heading
    return bool(_ID_WORDS.fullmatch(name)) if name else index == 0


def _choose(
    table: DelimitedTable, left: Sequence[int], reference: int | None, predicted: int | None
) -> tuple[int, int]:
    wanted = (reference is None) + (predicted is None)
    if len(left) != wanted:
        names = ", ".join(table.columns[index] or "(without a name)" for index in left) or "none"
        raise InputError(
            f"{table.path} has the columns {', '.join(filter(None, table.columns))}; those with numbers are: "
            f"{names}. Name those to compare with --reference and --predicted, and the scans' with --id."
        )
    if reference is not None:
        return reference, left[0]
    if predicted is not None:
        return left[0], predicted
    first, second = left
    says_reference = [bool(_REFERENCE_WORDS.search(table.columns[index])) for index in left]
    says_predicted = [bool(_PREDICTED_WORDS.search(table.columns[index])) for index in left]
    turned = says_reference == [True, False] or (not any(says_reference) and says_predicted == [False, True])
    return (first, second) if turned else (second, first)


def _read(table: DelimitedTable, reference: int, predicted: int, ids: Sequence[int]) -> ScorePairs:
    if ids:
        lines_by_id: dict[tuple[str, ...], int] = {}
        for line, row in table.rows:
            key = tuple(unicodedata.normalize("NFC", row[index]) for index in ids)
            _check_id(key, line, lines_by_id, table.path)
    columns = [(table.columns[at], [row[at] for _, row in table.rows]) for at in (reference, predicted)]
    lines = [line for line, _ in table.rows]
    first, second = parse_scores(columns, lines, delimiter=table.delimiter, where=str(table.path))
    return ScorePairs(
        first,
        second,
        names=(table.columns[reference], table.columns[predicted]),
        ids=tuple(table.columns[index] or "row name" for index in ids),
    )


def _check_id(key: tuple[str, ...], line: int, lines_by_id: dict[tuple[str, ...], int], path: Path) -> None:
    """Ids may name patients, so that errors give lines in place of them."""
    if not any(key):
        raise InputError(f"{path}, line {line}: the row has no id.")
    if any("\n" in part or "\r" in part for part in key):
        raise InputError(f"{path}, line {line}: the id holds a line break; a quote is open.")
    if key in lines_by_id:
        raise InputError(
            f"{path}: lines {lines_by_id[key]} and {line} have the same id; a scan counts once. Remove "
            "one of them, or name the column that tells scans apart with --id."
        )
    lines_by_id[key] = line
