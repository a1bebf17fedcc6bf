"""``promotions.jsonl``: who was champion when, and why, as lines that git keeps.

MLflow keeps no history of aliases. Here one line tells one event; it holds the hash of the line before it and
its own, so that an edited, moved or missing line is found. Lines are only ever added. What the chain alone
cannot tell, lines cut off from the end, is found by comparing with the file that git has committed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coronet.errors import InputError
from coronet.files import exclusive, sync_folder
from coronet.fingerprint import canonical
from coronet.json_lines import append_bytes
from coronet.tracking.git_state import read_committed

logger = logging.getLogger("coronet")

LOG = "promotions.jsonl"
REGISTERED, INTENT, PROMOTED, ROLLED_BACK = "registered", "intent", "promoted", "rolled_back"
REJECTED, UNDECIDED, _MENDED = "rejected", "insufficient_evidence", "mended"
_START = "0" * 64
_LOCK_SECONDS = 60
_ABSOLUTE = re.compile(r"^[/~]|(^|[\s«\"'(=])(~?/[^\s/]+/|[A-Za-z]:[\\/]|\\\\|file:)")


@dataclasses.dataclass(frozen=True)
class Event:
    """What happened to a model's version.

    Attributes:
        kind: ``registered``, ``intent``, ``promoted``, ``rolled_back``, ``rejected``,
            ``insufficient_evidence`` or ``mended``.
        model: ``heart`` or ``calcium``; empty where it concerns the log itself.
        version: number of the version; 0 where there is none.
        details: plain JSON data; no patient, no absolute path.
    """

    kind: str
    model: str = ""
    version: int = 0
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class LogEntry:
    """One line.

    Attributes:
        number: of the line, from 1.
        time: in UTC, such as ``2026-11-23T15:50:53Z``.
        event: what happened.
        previous: ``sha256`` of the line before; 64 zeros for the first.
        sha256: of ``previous`` and the canonical JSON of everything else.
    """

    number: int
    time: str
    event: Event
    previous: str
    sha256: str

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
    """Add a line, synced to the disk before this returns.

    Half a line that a kill left at the end is cut off first, which the log then tells by a line of its own.

    Args:
        project: the folder of ``promotions.jsonl``.
        event: what happened.

    Raises:
        InputError: the log is damaged, or the event holds what must not be kept.
        Busy: another process writes to it all the while.
    """
    _check_private(event.details, event.kind)
    path = Path(project) / LOG
    with _locked(Path(project)):
        return _write(path, _whole(path), event)


def mend(project: Path) -> None:
    """Cut off half a line that a kill left at the end, and say so in a line of its own.

    Raises:
        InputError: the lines before it are damaged.
    """
    path = Path(project) / LOG
    if _split(path)[1]:
        with _locked(Path(project)):
            _whole(path)


def read(project: Path) -> tuple[LogEntry, ...]:
    """All whole lines, oldest first; none where there is no log.

    Raises:
        InputError: a line is no entry.
    """
    return tuple(_parse(line, number) for number, line in enumerate(_split(Path(project) / LOG)[0], start=1))


def count_lines(project: Path) -> int:
    """How many whole lines there are."""
    return len(_split(Path(project) / LOG)[0])


def verify(project: Path) -> tuple[LogFault, ...]:
    """Find edited, missing and moved lines.

    The chain is walked from its start, and where git is there, the lines that ``HEAD`` holds must be the
    first lines of the file.
    """
    whole, torn = _split(Path(project) / LOG)
    faults = _chain(whole)[1]
    if torn:
        what = f"Line {len(whole) + 1} is cut off: a kill while it was written, or a hand."
        faults = (*faults, LogFault(len(whole) + 1, what))
    elif _lacks_break(Path(project) / LOG):
        what = f"Line {len(whole)} lacks its line break, which the next command that writes adds."
        faults = (*faults, LogFault(len(whole), what))
    known, _ = _lines(read_committed(project, LOG))
    for number, line in enumerate(known, start=1):
        if number > len(whole):
            what = f"Line {number} is missing: git's HEAD holds {len(known)} lines, the file {len(whole)}."
        elif whole[number - 1] != line:
            what = f"Line {number} is not the line {number} that HEAD holds."
        else:
            continue
        return (*faults, LogFault(number, what))
    return faults


def _locked(project: Path) -> contextlib.AbstractContextManager[None]:
    busy = f"{LOG} is being written by another process since {_LOCK_SECONDS} s; wait for it or end it."
    return exclusive(project / "mlruns" / ".promotions.lock", seconds=_LOCK_SECONDS, busy=busy)


def _whole(path: Path) -> tuple[LogEntry, ...]:
    """All entries, once the chain is walked and half a line is gone from its end."""
    whole, torn = _split(path)
    entries, faults = _chain(whole)
    if faults:
        raise InputError(
            f"{LOG}: {faults[0].what} Nothing is added to a damaged log; `coronet models check` lists all "
            f"faults, `git restore {LOG}` brings back what was committed."
        )
    if torn:
        logger.warning("%s ended in half a line, left by a kill; %d bytes are cut off", LOG, len(torn))
        os.truncate(path, path.stat().st_size - len(torn))
        mended = {"bytes": len(torn), "sha256": hashlib.sha256(torn).hexdigest()}
        entries = (*entries, _write(path, entries, Event(_MENDED, details=mended)))
    return entries


def _split(path: Path) -> tuple[tuple[bytes, ...], bytes]:
    return _lines(path.read_bytes() if path.exists() else b"")


def _lines(content: bytes) -> tuple[tuple[bytes, ...], bytes]:
    """Whole lines, and half a line at the end; one that lacks nothing but its line break is whole."""
    *whole, rest = content.split(b"\n")
    return ((*whole, rest), b"") if _is_intact(rest, len(whole) + 1) else (tuple(whole), rest)


def _lacks_break(path: Path) -> bool:
    return path.exists() and path.read_bytes()[-1:] not in (b"", b"\n")


def _is_intact(line: bytes, number: int) -> bool:
    try:
        entry = _parse(line, number)
    except InputError:
        return False
    return _encode(entry) == line and entry.sha256 == _digest(entry)


def _chain(lines: tuple[bytes, ...]) -> tuple[tuple[LogEntry, ...], tuple[LogFault, ...]]:
    entries, faults = [], []
    previous = _START
    for number, line in enumerate(lines, start=1):
        try:
            entry = _parse(line, number)
        except InputError as error:
            faults.append(LogFault(number, str(error)))
            previous = ""
            continue
        if _encode(entry) != line or entry.sha256 != _digest(entry):
            faults.append(
                LogFault(number, f"Line {number} was edited: its hash is not that of what it says.")
            )
        if entry.number != number:
            what = f"Line {number} calls itself line {entry.number}: a line is missing, moved or put in."
            faults.append(LogFault(number, what))
        elif previous and entry.previous != previous:
            what = f"Line {number} does not follow the line before it, which was edited, moved or replaced."
            faults.append(LogFault(number, what))
        previous = entry.sha256
        entries.append(entry)
    return tuple(entries), tuple(faults)


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


def _write(path: Path, entries: tuple[LogEntry, ...], event: Event) -> LogEntry:
    time = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    previous = entries[-1].sha256 if entries else _START
    event = dataclasses.replace(event, details=canonical(event.details))
    entry = LogEntry(len(entries) + 1, time, event, previous, "")
    entry = dataclasses.replace(entry, sha256=_digest(entry))
    append_bytes(path, _encode(entry))
    if not entries:
        sync_folder(path.parent)
    return entry


def _content(entry: LogEntry) -> dict[str, Any]:
    return {
        "number": entry.number,
        "time": entry.time,
        "event": entry.kind,
        "model": entry.model,
        "version": entry.version,
        "details": entry.details,
        "previous": entry.previous,
    }


def _digest(entry: LogEntry) -> str:
    return hashlib.sha256(entry.previous.encode() + _json(_content(entry))).hexdigest()


def _encode(entry: LogEntry) -> bytes:
    return _json(_content(entry) | {"sha256": entry.sha256})


def _json(value: Any) -> bytes:
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def _check_private(value: Any, where: str) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_private(item, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for item in value:
            _check_private(item, where)
    elif isinstance(value, str) and _ABSOLUTE.search(value):
        raise InputError(f"{LOG}: {where} would keep «{value}»; the log holds no absolute paths.")
