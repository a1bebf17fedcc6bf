"""Lists of names and numbers that a user gives, such as ``--calcium-labels 1,3``."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from coronet.errors import InputError


def split_list(text: str | None, option: str) -> tuple[str, ...] | None:
    """Items of a comma-separated option; None where the option was not given.

    Args:
        text: as it was given.
        option: its name, for errors.

    Raises:
        InputError: as in `check_list`.
    """
    return None if text is None else check_list(text.split(","), option)


def check_list(items: Iterable[str], where: str) -> tuple[str, ...]:
    """The items, each named once.

    Args:
        items: at least one.
        where: option or file, for errors.

    Raises:
        InputError: an item is empty, begins or ends with a space, or is given twice (in any case and in any
            of its Unicode spellings).
    """
    found = tuple(items)
    if not found or not all(item.strip() for item in found):
        raise InputError(f"{where}: an item of its list is empty; write items with one comma between them.")
    spaced = next((item for item in found if item != item.strip()), None)
    if spaced is not None:
        raise InputError(
            f'{where}: the item "{spaced}" begins or ends with a space; write no spaces beside commas.'
        )
    spelling: dict[str, str] = {}
    for item in found:
        before = spelling.get(folded(item))
        if before is not None:
            spelt = "" if before == item else f' (also spelt "{before}")'
            raise InputError(f'{where}: "{item}" is given twice{spelt}; name each item once.')
        spelling[folded(item)] = item
    return found


def folded(name: str) -> str:
    """A name in the form in which names are compared: trimmed, NFC, without upper and lower case."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name.strip()).casefold())
