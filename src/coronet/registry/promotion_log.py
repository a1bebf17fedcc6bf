"""``promotions.jsonl``: the history of champions, one JSON line an event, kept in git.

MLflow keeps no history of aliases. Each line holds the sha256 of the line before it and its own, so that an
edited, moved or missing line is found. Lines cut off from the end are found by comparing with git's ``HEAD``.
The log decides; MLflow's aliases follow it (`coronet.registry.promotion`).
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from coronet.errors import InputError
from coronet.files import exclusive, sync_folder
from coronet.fingerprint import canonical
from coronet.json_lines import append_bytes
from coronet.registry.versions import CHALLENGER, CHAMPION, PREVIOUS
from coronet.tracking.git_state import read_committed

logger = logging.getLogger("coronet")

LOG = "promotions.jsonl"
REGISTERED, PROMOTED, ROLLED_BACK = "registered", "promoted", "rolled_back"
REJECTED, UNDECIDED = "rejected", "insufficient_evidence"
GATE_KINDS = (PROMOTED, REJECTED, UNDECIDED)
_START = "0" * 64
_LOCK_SECONDS = 60
_ABSOLUTE = re.compile(r"^[/~]|(^|[\s«\"'(=])(~?/[^\s/]+/|[A-Za-z]:[\\/]|\\\\|file:)")


@dataclasses.dataclass(frozen=True)
class Event:
    """What happened to a version."""

    kind: str  # `registered`, `promoted`, `rolled_back`, `rejected` or `insufficient_evidence`
    model: str = ""  # `heart` or `calcium`
    version: int = 0
    # plain JSON data; no patient, no absolute path
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class LogEntry:
    """One line."""

    number: int  # of the line, from 1
    time: str  # in UTC, such as `2026-11-23T15:50:53Z`
    event: Event
    previous: str  # `sha256` of the line before; 64 zeros for the first
    sha256: str = ""  # of `previous` and the canonical JSON of everything else

    @property
    def kind(self) -> str:
        """The event's kind."""
        return self.event.kind

    @property
    def model(self) -> str:
        """The event's model."""
        return self.event.model

    @property
    def version(self) -> int:
        """The event's version."""
        return self.event.version

    @property
    def details(self) -> Mapping[str, Any]:
        """The event's details."""
        return self.event.details


@dataclasses.dataclass(frozen=True)
class LogFault:
    """What is wrong with a line; ``line`` counts from 1."""

    line: int
    what: str


def append(project: Path, event: Event) -> LogEntry:
    """Add a line, synced to the disk before this returns; half a line left by a kill is cut off first.

    Raises:
        InputError: the log is damaged, or the event holds an absolute path.
        Busy: another process writes to it all the while.
    """
    _check_private(event.details, event.kind)
    path = Path(project) / LOG
    busy = f"{LOG} is being written by another process since {_LOCK_SECONDS} s; wait for it or end it."
    with exclusive(Path(project) / "mlruns" / ".promotions.lock", seconds=_LOCK_SECONDS, busy=busy):
        lines, torn = _read_lines(path)
        if fault := next(_chain_faults(lines), None):
            raise InputError(
                f"{LOG}: {fault.what} Nothing is added to a damaged log; `coronet models check` lists all "
                f"faults, `git restore {LOG}` brings back what was committed."
            )
        if torn:
            logger.warning("%s ended in half a line, left by a kill; %d bytes are cut off", LOG, len(torn))
            os.truncate(path, path.stat().st_size - len(torn))
        time = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        event = dataclasses.replace(event, details=canonical(event.details))
        previous = _parse(lines[-1], len(lines)).sha256 if lines else _START
        entry = LogEntry(len(lines) + 1, time, event, previous)
        entry = dataclasses.replace(entry, sha256=_digest(entry))
        append_bytes(path, _encode(entry))
        if not lines:
            sync_folder(path.parent)
        return entry


def read(project: Path) -> tuple[LogEntry, ...]:
    """All whole lines, oldest first; none where there is no log.

    Raises:
        InputError: a line is no entry.
    """
    lines, _ = _read_lines(Path(project) / LOG)
    return tuple(_parse(line, number) for number, line in enumerate(lines, start=1))


def count_lines(project: Path) -> int:
    """How many whole lines there are, faulty ones included."""
    return len(_read_lines(Path(project) / LOG)[0])


def read_verified(project: Path) -> tuple[LogEntry, ...]:
    """All whole lines, once chain and git's ``HEAD`` confirm them; half a line at the end is left out.

    Raises:
        InputError: a line was edited, moved or removed.
    """
    lines, _ = _read_lines(Path(project) / LOG)
    for fault in (*_chain_faults(lines), *_head_faults(project, lines)):
        raise InputError(f"{LOG}: {fault.what} `coronet models check` lists all faults.")
    return read(project)


def verify(project: Path) -> tuple[LogFault, ...]:
    """Find edited, missing and moved lines: by the chain, and by the lines that git's ``HEAD`` holds."""
    path = Path(project) / LOG
    lines, torn = _read_lines(path)
    faults = list(_chain_faults(lines))
    if torn:
        what = f"Line {len(lines) + 1} is cut off: a kill while it was written; the next line replaces it."
        faults.append(LogFault(len(lines) + 1, what))
    elif path.exists() and path.read_bytes()[-1:] not in (b"", b"\n"):
        what = f"Line {len(lines)} lacks its line break, which the next command that writes adds."
        faults.append(LogFault(len(lines), what))
    return (*faults, *_head_faults(project, lines))


def _head_faults(project: Path, lines: tuple[bytes, ...]) -> tuple[LogFault, ...]:
    """The first line that differs from what git's ``HEAD`` holds."""
    committed, _ = _split(read_committed(project, LOG))
    for number, line in enumerate(committed, start=1):
        if number > len(lines):
            what = f"Line {number} is missing: git's HEAD holds {len(committed)} lines, not {len(lines)}."
            return (LogFault(number, what),)
        if lines[number - 1] != line:
            return (LogFault(number, f"Line {number} is not the line {number} that HEAD holds."),)
    return ()


def logged_aliases(entries: Iterable[LogEntry], model: str) -> dict[str, int]:
    """Version by alias, as the lines of the log make them."""
    found: dict[str, int] = {}
    for entry in entries:
        if entry.model != model:
            continue
        if entry.kind == REGISTERED:
            found[CHALLENGER] = entry.version
        elif entry.kind in (PROMOTED, ROLLED_BACK):
            if CHAMPION in found:
                found[PREVIOUS] = found[CHAMPION]
            found[CHAMPION] = entry.version
            if found.get(CHALLENGER) == entry.version:
                del found[CHALLENGER]
    return found


def find_registration(entries: Iterable[LogEntry], model: str, number: int) -> LogEntry | None:
    """The line of a version's registration, or None."""
    wanted = (REGISTERED, model, number)
    lines = [entry for entry in entries if (entry.kind, entry.model, entry.version) == wanted]
    return lines[-1] if lines else None


def _read_lines(path: Path) -> tuple[tuple[bytes, ...], bytes]:
    return _split(path.read_bytes() if path.exists() else b"")


def _split(content: bytes) -> tuple[tuple[bytes, ...], bytes]:
    """Whole lines, and half a line at the end; one that lacks nothing but its line break is whole."""
    *lines, rest = content.split(b"\n")
    if rest:
        try:
            entry = _parse(rest, len(lines) + 1)
        except InputError:
            return tuple(lines), rest
        if not _is_intact(entry, rest):
            return tuple(lines), rest
        lines.append(rest)
    return tuple(lines), b""


def _chain_faults(lines: Iterable[bytes]) -> Iterator[LogFault]:
    previous = _START
    for number, line in enumerate(lines, start=1):
        try:
            entry = _parse(line, number)
        except InputError as error:
            yield LogFault(number, str(error))
            previous = ""
            continue
        if not _is_intact(entry, line):
            yield LogFault(number, f"Line {number} was edited: its hash is not that of its content.")
        if entry.number != number:
            what = f"Line {number} has the number {entry.number}: a line is missing, moved or put in."
            yield LogFault(number, what)
        elif previous and entry.previous != previous:
            what = f"Line {number} does not follow the line before it, which was edited, moved or replaced."
            yield LogFault(number, what)
        previous = entry.sha256


def _parse(line: bytes, number: int) -> LogEntry:
    try:
        raw = json.loads(line)
        event = Event(raw["event"], raw["model"], raw["version"], raw["details"])
        entry = LogEntry(raw["number"], raw["time"], event, raw["previous"], raw["sha256"])
        _encode(entry)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"Line {number} is no entry of {LOG}.") from error
    if not (isinstance(entry.previous, str) and isinstance(entry.details, dict)):
        raise InputError(f"Line {number} is no entry of {LOG}.")
    return entry


def _is_intact(entry: LogEntry, line: bytes) -> bool:
    return _encode(entry) == line and entry.sha256 == _digest(entry)


def _digest(entry: LogEntry) -> str:
    content = _content(entry)
    del content["sha256"]
    return hashlib.sha256(entry.previous.encode() + _json(content)).hexdigest()


def _encode(entry: LogEntry) -> bytes:
    return _json(_content(entry))


def _content(entry: LogEntry) -> dict[str, Any]:
    own = dataclasses.asdict(entry)
    event = own.pop("event")
    return {**own, "event": event.pop("kind"), **event}


def _json(value: Any) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def _check_private(value: Any, where: str) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_private(item, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for item in value:
            _check_private(item, where)
    elif isinstance(value, str) and _ABSOLUTE.search(value):
        raise InputError(f'{LOG}: {where} would keep "{value}"; the log holds no absolute paths.')
