"""Text for errors and comparisons: long lists shortened, the nearest name, counts, accents taken off."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Sequence


def first_few(items: Sequence[object], most: int, *, separator: str = ", ") -> str:
    """The first items of a list, and how many more there are: ``a, b and 7 more``."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return separator.join(map(str, items[:most])) + more


def nearest(name: str, names: Iterable[str]) -> str:
    """End of an error about an unknown name, such as ``; the nearest is "aha"``; empty where none is near."""
    found = difflib.get_close_matches(name, list(names), n=1)
    return f'; the nearest is "{found[0]}"' if found else ""


def counted(number: int, noun: str) -> str:
    """A number with its noun: ``1 case``, ``3 cases``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def without_accents(text: str) -> str:
    """A text in compatibility form (NFKD) without accents: ``Schlüssel`` becomes ``Schlussel``."""
    return "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))
