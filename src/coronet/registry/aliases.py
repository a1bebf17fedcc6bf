"""Which versions there are and who bears which alias, as the lines of the log tell it."""

from __future__ import annotations

from collections.abc import Iterable

from coronet.registry.promotion_log import INTENT, PROMOTED, REGISTERED, ROLLED_BACK, LogEntry
from coronet.registry.versions import CHALLENGER, CHAMPION, PREVIOUS


def logged_aliases(entries: Iterable[LogEntry], model: str) -> dict[str, int]:
    """Which version bears which alias, as the log tells it; an intent that nobody finished moves nothing."""
    names: dict[str, int] = {}
    for entry in entries:
        if entry.model != model:
            continue
        if entry.kind == REGISTERED:
            names[CHALLENGER] = entry.version
        elif entry.kind in (PROMOTED, ROLLED_BACK):
            if CHAMPION in names:
                names[PREVIOUS] = names[CHAMPION]
            names[CHAMPION] = entry.version
            if names.get(CHALLENGER) == entry.version:
                del names[CHALLENGER]
    return names


def registered(entries: Iterable[LogEntry], model: str, number: int) -> LogEntry | None:
    """The line that tells of a version's registration, the last where there are more; or None."""
    known = (REGISTERED, model, number)
    lines = [entry for entry in entries if (entry.kind, entry.model, entry.version) == known]
    return lines[-1] if lines else None


def pending(entries: Iterable[LogEntry], model: str) -> LogEntry | None:
    """The intent of a model that no closing line follows, or None."""
    kinds = (INTENT, PROMOTED, ROLLED_BACK)
    moves = [entry for entry in entries if entry.model == model and entry.kind in kinds]
    return moves[-1] if moves and moves[-1].kind == INTENT else None
