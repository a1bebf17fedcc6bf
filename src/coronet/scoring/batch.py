"""Scores of a folder of scans, three at a time; what cannot be scored is recorded with the reason.

The results are one folder a scan, named by a keyed hash of its voxels, and ``scores.csv`` with one row a
scan. Nothing in them names a file or a patient. Which file was which scan is in ``.sources.jsonl``, which its
owner alone can read; by it a second run passes over what is done without opening it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import hmac
import json
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from coronet.dataset.pseudonyms import case_names, content_digest, load_key, scan_name
from coronet.dataset.scan_folder import (
    ANONYMOUS,
    FolderEntry,
    FolderSource,
    OutcomeJournal,
    find_entries,
    find_sources,
)
from coronet.errors import CoronetError, InputError
from coronet.files import exclusive, read_json, replacing_folder, write_json, write_text
from coronet.io.reader import Scan
from coronet.networks.factory import LoadedModel
from coronet.process import sharing_cores
from coronet.scoring.batch_table import BatchResult, BatchRow, row_of, to_csv
from coronet.scoring.model_statement import ModelStatement, state_models
from coronet.scoring.predicted_masks import origin_of
from coronet.scoring.protocol import PROTOCOLS, Protocol
from coronet.scoring.risk_groups import find_groups
from coronet.scoring.score_scan import ScanScore, score_scan
from coronet.scoring.score_with_mask import SCORE

logger = logging.getLogger("coronet")

TABLE, _SETTINGS, SOURCES = "scores.csv", "settings.json", ".sources.jsonl"
_MOST_STARTS = 3  # runs that one scan may end, by using up the memory for instance, before it is passed over
LANES = 3
"""Scans in memory at once: one is read or written while the networks of others run. More gain little."""


@dataclasses.dataclass(frozen=True)
class Scorer:
    """How the scans of a batch are scored; see `coronet.scoring.score_scan.score_scan`."""

    heart_model: LoadedModel
    calcium_model: LoadedModel
    protocol: Protocol = PROTOCOLS["coronet"]
    method: str = "agatston"
    calibration_factor: float | None = None
    force: bool = False

    def __call__(self, scan: Scan) -> ScanScore:
        """Score one scan."""
        return score_scan(scan, **vars(self))

    @property
    def statement(self) -> ModelStatement:
        """What the networks are worth, whatever the scan."""
        return state_models({"heart": origin_of(self.heart_model), "calcium": origin_of(self.calcium_model)})

    @property
    def settings(self) -> dict[str, Any]:
        """What a score depends on, beside its scan."""
        calibration = self.calcium_model.calibration
        return {
            "heart_sha256": self.heart_model.sha256,
            "calcium_sha256": self.calcium_model.sha256,
            "calibration_sha256": calibration.sha256 if calibration else None,
            "protocol": self.protocol.name,
            "method": self.method,
            "calibration_factor": self.calibration_factor,
            "force": self.force,
        }

    @property
    def key(self) -> str:
        """Ten digits that differ where the settings do."""
        text = json.dumps(self.settings, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]


def score_folder(
    folder: Path,
    out: Path,
    *,
    scorer: Scorer,
    write: Callable[[Path, ScanScore], object] = lambda folder, scored: scored.save(folder),
    groups: str = "paper",
    again: bool = False,
    quiet_s: float = 0.0,
    lanes: int = LANES,
    data: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> BatchResult:
    """Score every scan of a folder.

    Args:
        folder: volume files and folders of DICOM series; see `coronet.dataset.scan_folder`.
        out: results; made where it is absent, gone on with where it is not.
        scorer: networks and rules. A folder of results belongs to one.
        write: writes the files of a score, ``score.json`` among them, into a folder.
        groups: preset of the risk groups in the table.
        again: try those scans once more that could not be scored.
        quiet_s: leave for a later run what was changed less than so many seconds ago; it may not be whole.
        lanes: scans in memory at once. One that was begun when an earlier run was killed is alone in it.
        data: data folder whose key and case names the results take, unless ``out`` has a key of its own.
        progress: called with (files or sub-folders done, in all).

    Raises:
        InputError: nothing is in ``folder``, ``out`` lies in it, or ``out`` holds scores by another scorer.
        Busy: another process writes to ``out``.
    """
    folder, out = Path(folder), Path(out)
    preset = find_groups(groups).name
    if out.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{out} lies in the folder that is to be scored; choose another --out.")
    entries = [item for item in find_entries(folder) if time.time() - item.changed >= quiet_s]
    with exclusive(out / ".lock"):
        _settle(out, scorer)
        cases = case_names(data) if data is not None else {}
        run = _BatchRun(
            out=out,
            scorer=scorer,
            write=write,
            again=again,
            journal=OutcomeJournal(out / SOURCES),
            key=load_key(out, of=data),
            names={digest: name for digest, name in cases.items() if name not in (TABLE, _SETTINGS)},
        )
        try:
            scored = 0
            for done, count in enumerate(_in_lanes(run, entries, lanes), 1):
                scored += count
                if progress:
                    progress(done, len(entries))
        finally:
            # A run that is stopped leaves a table of what it has.
            rows = run.rows(entries, preset)
            write_text(out / TABLE, to_csv(rows))
    return BatchResult(scorer.statement, rows, scored)


def _settle(out: Path, scorer: Scorer) -> None:
    """Bind ``out`` to its settings, and remove what a kill has left half-written."""
    path = out / _SETTINGS
    if not path.exists():
        write_json(path, scorer.settings)
    elif (there := read_json(path)) != scorer.settings:
        differing = ", ".join(key for key, value in scorer.settings.items() if there.get(key) != value)
        raise InputError(f"{out} holds scores by other settings ({differing}); choose another --out.")
    for part in out.glob(".part-*"):
        shutil.rmtree(part) if part.is_dir() else part.unlink()


@dataclasses.dataclass(frozen=True)
class _BatchRun:
    """One run over a folder: what it scores with, and what results are named by."""

    out: Path  # folder of the results
    scorer: Scorer  # networks and rules
    write: Callable[[Path, ScanScore], object]  # writes the files of a score
    again: bool  # try those scans once more that could not be scored
    journal: OutcomeJournal  # what earlier runs came to
    key: bytes  # of the hashes that name scans
    names: Mapping[str, str]  # case by content digest, of the scans that are cases too
    # a lock for each scan, since the same one may lie in the folder twice
    claims: dict[str, threading.Lock] = dataclasses.field(default_factory=dict)

    def score_entry(self, entry: FolderEntry) -> int:
        """Score the scans of an entry that are not done; returns how many were scored now."""
        journal = self.journal
        if journal.is_whole(entry) and all(self._is_done(entry, name) for name in journal.records(entry)):
            return 0
        scored = 0
        for source in find_sources(entry):
            if self._is_done(entry, source.label):
                continue
            unread = f"unread-{_digest(f'{entry.name}/{source.label}', self.key)[:10]}"
            if journal.record(entry, source.label).starts >= _MOST_STARTS and not self.again:
                reason = f"{_MOST_STARTS} runs ended while it was scored, maybe for want of memory."
                journal.end(entry, source.label, unread, reason=reason)
                continue
            journal.begin(entry, source.label)
            try:
                scan, reason, new = self._score(source, unread)
            except BaseException:
                # The disk is full, or somebody stops the run: nothing to blame the scan for.
                journal.leave(entry, source.label)
                raise
            journal.end(entry, source.label, scan, reason=reason)
            scored += new
            if reason:
                logger.warning("%s: %s", scan, reason)
        journal.close(entry)
        return scored

    def _is_done(self, entry: FolderEntry, label: str) -> bool:
        record = self.journal.record(entry, label)
        return bool(record.scan) and (not self.again if record.reason else self._has_score(record.scan))

    def _has_score(self, scan: str) -> bool:
        return (self.out / scan / SCORE).exists()

    def _score(self, source: FolderSource, unread: str) -> tuple[str, str, bool]:
        """Name of the scan, the reason where it has no score, and whether it was scored now."""
        name = unread
        with contextlib.ExitStack() as claimed:
            try:
                scan = source.read()
                digest = content_digest(scan.volume, self.key)
                name = self.names.get(digest, scan_name(digest))
                claimed.enter_context(self.claims.setdefault(name, threading.Lock()))
                if self._has_score(name):
                    return name, "", False
                scored = self.scorer(scan)
            except CoronetError as error:
                return name, _without(str(error), source.names), False
            except Exception as error:
                # Files from anywhere can break any parser; the others must not wait for it. The text may
                # hold a name.
                return name, f"{type(error).__name__} while it was read or scored.", False
            with replacing_folder(self.out / name) as part:
                self.write(part, scored)
        return name, "", True

    def rows(self, entries: Sequence[FolderEntry], preset: str) -> tuple[BatchRow, ...]:
        """The table of all entries, with the risk groups of ``preset``."""
        found: dict[str, BatchRow] = {}
        for record in (item for entry in entries for item in self.journal.records(entry).values()):
            if record.reason:
                found.setdefault(record.scan, BatchRow(record.scan, reason=record.reason))
            elif self._has_score(record.scan):
                found[record.scan] = row_of(record.scan, read_json(self.out / record.scan / SCORE), preset)
        return tuple(found[name] for name in sorted(found))


def _in_lanes(run: _BatchRun, entries: Sequence[FolderEntry], lanes: int) -> Iterator[int]:
    """How many scans of each entry were scored, as they end, ``lanes`` entries at work at a time.

    Entries that an earlier run was killed over come last and one by one, so that none is blamed for another.
    """
    suspects = [
        entry for entry in entries if any(record.starts for record in run.journal.records(entry).values())
    ]
    with sharing_cores(lanes), ThreadPoolExecutor(lanes) as pool:
        try:
            others = [pool.submit(run.score_entry, entry) for entry in entries if entry not in suspects]
            yield from (ended.result() for ended in as_completed(others))
        finally:
            pool.shutdown(cancel_futures=True)
    yield from map(run.score_entry, suspects)


def _without(text: str, names: Sequence[str]) -> str:
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, ANONYMOUS)
    return text


def _digest(text: str, key: bytes) -> str:
    return hmac.new(key, b"source\0" + text.encode(errors="surrogateescape"), hashlib.sha256).hexdigest()
