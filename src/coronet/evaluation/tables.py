"""Tables of results as CSV: one frozen dataclass a row."""

from __future__ import annotations

import csv
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from coronet.errors import InputError
from coronet.files import write_text

Row = TypeVar("Row")
_PARSERS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "int": int,
    "float": float,
    "float | None": lambda text: float(text) if text else None,
}


def write_rows(path: Path, rows: Sequence[Any]) -> None:
    """Write dataclasses or mappings with one column a field; None is an empty cell."""
    import pandas

    plain = [row if isinstance(row, Mapping) else dataclasses.asdict(row) for row in rows]
    write_text(path, pandas.DataFrame(plain, dtype=object).to_csv(index=False, lineterminator="\n"))


def read_rows(path: Path, kind: type[Row]) -> tuple[Row, ...]:
    """Read what `write_rows` wrote of one dataclass; an `InputError` names what is not understood."""
    parsers = {field.name: _PARSERS[str(field.type)] for field in dataclasses.fields(cast(Any, kind))}
    with Path(path).open(newline="", encoding="utf-8") as lines:
        try:
            return tuple(
                kind(**{name: parse(row[name]) for name, parse in parsers.items()})
                for row in csv.DictReader(lines)
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is not understood ({error}); `dvc repro score` writes it.") from error


def count_values(values: Iterable[str]) -> dict[str, int]:
    """How often each value occurs, sorted by value."""
    return dict(sorted(Counter(values).items()))
