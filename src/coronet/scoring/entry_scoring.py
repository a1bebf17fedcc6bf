"""One entry of a batch scored into its results: what a batch on one machine and one on many share."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from coronet.dataset.pseudonyms import content_digest, scan_name
from coronet.dataset.scan_folder import (
    ANONYMOUS,
    FolderEntry,
    FolderSource,
    OutcomeJournal,
    ScanOutcome,
    find_sources,
)
from coronet.errors import CoronetError, InputError, Unreachable
from coronet.io.reader import Scan
from coronet.networks.factory import LoadedModel
from coronet.scoring.batch_results import BatchResults
from coronet.scoring.batch_table import BatchRow, row_of
from coronet.scoring.model_statement import ModelStatement, state_models
from coronet.scoring.predicted_masks import origin_of
from coronet.scoring.protocol import PROTOCOLS, Protocol
from coronet.scoring.score_scan import ScanScore, score_scan

_READERS = 16  # of `score.json` files at once


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


@dataclasses.dataclass(frozen=True)
class SourceOutcome:
    """What became of one scan of an entry."""

    label: str  # of its source
    scan: str  # name of the scan
    reason: str  # why it has no score; empty where it has one
    scored_now: bool  # by this call


@dataclasses.dataclass(frozen=True)
class EntryScoring:
    """What the scans of a batch are scored with and named by; it can be sent to other processes."""

    results: BatchResults
    scorer: Scorer  # networks and rules
    write: Callable[[Path, ScanScore], object]  # writes the files of a score
    again: bool  # try those scans once more that could not be scored
    key: bytes  # of the hashes that name scans
    names: Mapping[str, str]  # case by content digest, of the scans that are cases too
    # a lock for each scan, since the same one may lie in the folder twice
    _claims: dict[str, threading.Lock] = dataclasses.field(default_factory=dict)

    @contextlib.contextmanager
    def sources(self, entry: FolderEntry) -> Iterator[tuple[FolderSource, ...]]:
        """The scans of an entry, on this machine's disk as long as the context lasts.

        Raises:
            InputError: the entry cannot be had.
            Unreachable: the store that it lies in does not answer.
        """
        with entry.on_disk() as local:
            yield find_sources(local)

    def score_entry(self, entry: FolderEntry, done: Mapping[str, ScanOutcome]) -> list[SourceOutcome]:
        """Score the scans of an entry, without those in ``done`` that are done."""
        try:
            with self.sources(entry) as sources:
                todo = [source for source in sources if not self.is_done(done.get(source.label))]
                return [self.score_source(entry, source) for source in todo]
        except Unreachable:
            raise
        except InputError as error:
            return [SourceOutcome("", self.unread_name(entry, ""), str(error), scored_now=False)]

    def score_source(self, entry: FolderEntry, source: FolderSource) -> SourceOutcome:
        """Score one scan; its files are in the results afterwards, or the outcome has the reason."""
        name = self.unread_name(entry, source.label)
        with contextlib.ExitStack() as claimed:
            try:
                scan = source.read()
                digest = content_digest(scan.volume, self.key)
                name = self.names.get(digest, scan_name(digest))
                claimed.enter_context(self._claims.setdefault(name, threading.Lock()))
                if self.results.has_score(name):
                    return SourceOutcome(source.label, name, "", scored_now=False)
                scored = self.scorer(scan)
            except Unreachable:
                raise
            except CoronetError as error:
                return SourceOutcome(source.label, name, _without(str(error), source.names), scored_now=False)
            except Exception as error:
                # Files from anywhere can break any parser; the others must not wait for it. The text may
                # hold a name.
                reason = f"{type(error).__name__} while it was read or scored."
                return SourceOutcome(source.label, name, reason, scored_now=False)
            self.results.write_scan(name, lambda part: self.write(part, scored))
        return SourceOutcome(source.label, name, "", scored_now=True)

    def is_done(self, outcome: ScanOutcome | None, scored: set[str] | None = None) -> bool:
        """Whether a source needs no more work; ``scored`` saves asking the results for each."""
        if outcome is None or not outcome.scan:
            return False
        if outcome.reason:
            return not self.again
        return self.results.has_score(outcome.scan) if scored is None else outcome.scan in scored

    def unread_name(self, entry: FolderEntry, label: str) -> str:
        """What a scan is called that cannot be read."""
        text = b"source\0" + f"{entry.name}/{label}".encode(errors="surrogateescape")
        return f"unread-{hmac.new(self.key, text, hashlib.sha256).hexdigest()[:10]}"

    def rows(
        self, journal: OutcomeJournal, entries: Iterable[FolderEntry], preset: str
    ) -> tuple[BatchRow, ...]:
        """The table of all entries, with the risk groups of ``preset``."""
        found: dict[str, BatchRow] = {}
        scored: set[str] = set()
        for record in (item for entry in entries for item in journal.records(entry).values()):
            if record.reason:
                found.setdefault(record.scan, BatchRow(record.scan, reason=record.reason))
            elif record.scan:
                scored.add(record.scan)
        there = sorted(scored & self.results.scored())
        with ThreadPoolExecutor(_READERS) as pool:
            for name, answer in zip(there, pool.map(self.results.read_score, there), strict=True):
                found[name] = row_of(name, answer, preset)
        return tuple(found[name] for name in sorted(found))


def _without(text: str, names: Sequence[str]) -> str:
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, ANONYMOUS)
    return text
