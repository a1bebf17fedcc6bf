"""Text for errors and comparisons: long lists shortened, things counted, accents taken off."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def first_few(items: Sequence[object], most: int, *, separator: str = ", ") -> str:
    """The first items of a list, and how many more there are: ``a, b and 7 more``."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return separator.join(map(str, items[:most])) + more


def counted(number: int, noun: str) -> str:
    """A number with its noun: ``1 case``, ``3 cases``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def without_accents(text: str) -> str:
    """A text in compatibility form (NFKD) without accents: ``Schlüssel`` becomes ``Schlussel``."""
    return "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))
