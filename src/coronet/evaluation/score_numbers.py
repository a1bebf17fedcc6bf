"""Scores out of text: decimal points or commas, where the column leaves no doubt which."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from coronet.errors import InputError
from coronet.scoring.risk_groups import HIGHEST, are_scores

_NUMBER = re.compile(r"[+-]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]{1,3})?")
_GROUPED = re.compile(r"[+-]?[1-9][0-9]{0,2}([.,])[0-9]{3}")
"""Digits that are thousands where the mark divides those, and a fraction where it is a decimal mark."""


def is_number(text: str) -> bool:
    """Whether the text is a number with a decimal point or comma, or neither."""
    return _NUMBER.fullmatch(text) is not None


def parse_scores(
    columns: Sequence[tuple[str, Sequence[str]]], lines: Sequence[int], *, delimiter: str, where: str
) -> list[np.ndarray]:
    """Read the columns of one table; all are written by the same rule.

    Args:
        columns: name and texts of each column, each of shape (rows,).
        lines: line number of each row.
        delimiter: of the table. Between commas a point can only be the decimal mark.
        where: the table's name, for errors.

    Returns:
        One array of shape (rows,) and type float64 a column.

    Raises:
        InputError: names the line, where a value is no score, or points and commas leave doubt.
    """
    marks: dict[str, tuple[str, int, str]] = {}
    doubtful: dict[str, tuple[str, int, str]] = {}
    for name, texts in columns:
        for text, line in zip(texts, lines, strict=True):
            if not is_number(text):
                raise InputError(
                    f'{where}, line {line}: "{text[:40]}" in column {name} is no score; a score is a number '
                    "of 0 or more, without unit or thousands separator. Leave out the scans that lack one."
                )
            mark = "," if "," in text else "." if "." in text else ""
            if mark:
                grouped = _GROUPED.fullmatch(text) and not (mark == "." and delimiter == ",")
                (doubtful if grouped else marks).setdefault(mark, (text, line, name))
    if len(marks) > 1:
        (point, first, _), (comma, second, _) = marks["."], marks[","]
        raise InputError(
            f'{where}: "{point}" in line {first} has a decimal point and "{comma}" in line {second} a '
            "decimal comma; use one of them."
        )
    for mark, (text, line, name) in doubtful.items():
        if mark not in marks:
            raise InputError(
                f'{where}, line {line}: "{text}" in column {name} can be {text.replace(mark, ".")} or '
                f"{text.replace(mark, '')}; write scores with a decimal point and without thousands "
                "separators."
            )
    return [_to_array(name, texts, lines, where) for name, texts in columns]


def _to_array(name: str, texts: Sequence[str], lines: Sequence[int], where: str) -> np.ndarray:
    values = np.array([float(text.replace(",", ".")) for text in texts], dtype=np.float64)
    wrong = np.flatnonzero(~are_scores(values))
    if wrong.size:
        raise InputError(
            f'{where}, line {lines[wrong[0]]}: "{texts[wrong[0]][:40]}" in column {name} is no score; a '
            f"score is a number from 0 to {HIGHEST:.0e}."
        )
    return np.maximum(values, 0.0)
