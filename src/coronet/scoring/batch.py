"""Scores of a folder of scans, three at a time; what cannot be scored is recorded with the reason.

The results are one folder a scan, named by a keyed hash of its voxels, and ``scores.csv`` with one row a
scan. Nothing in them names a file or a patient. Which file was which scan is in ``.sources.jsonl``, which its
owner alone can read; by it a second run passes over what is done without opening it.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from coronet.dataset.pseudonyms import case_names
from coronet.dataset.scan_folder import FolderEntry, OutcomeJournal, find_entries
from coronet.errors import InputError
from coronet.process import sharing_cores
from coronet.scoring.batch_results import SETTINGS, BatchResults, FolderResults
from coronet.scoring.batch_table import BatchResult, to_csv
from coronet.scoring.entry_scoring import EntryScoring, Scorer, SourceOutcome
from coronet.scoring.risk_groups import find_groups
from coronet.scoring.score_scan import ScanScore

logger = logging.getLogger("coronet")

TABLE = "scores.csv"
MOST_STARTS = 3
"""Runs that one scan may end, by using up the memory for instance, before it is passed over."""
LANES = 3
"""Scans in memory at once: one is read or written while the networks of others run. More gain little."""


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
    results = FolderResults(out)
    with results.opened(scorer.settings) as journal:
        run = _BatchRun(journal, scoring_into(results, scorer=scorer, write=write, again=again, data=data))
        try:
            scored = 0
            for done, count in enumerate(_in_lanes(run, entries, lanes), 1):
                scored += count
                if progress:
                    progress(done, len(entries))
        finally:
            # A run that is stopped leaves a table of what it has.
            rows = run.scoring.rows(journal, entries, preset)
            results.write(TABLE, to_csv(rows).encode())
    return BatchResult(scorer.statement, rows, scored)


def scoring_into(
    results: BatchResults,
    *,
    scorer: Scorer,
    write: Callable[[Path, ScanScore], object],
    again: bool,
    data: Path | None,
) -> EntryScoring:
    """How scans get into ``results``, with the key and names of the data folder where there is one."""
    cases = case_names(data) if data is not None else {}
    return EntryScoring(
        results=results,
        scorer=scorer,
        write=write,
        again=again,
        key=results.load_key(data),
        names={digest: name for digest, name in cases.items() if name not in (TABLE, SETTINGS)},
    )


def record_outcome(journal: OutcomeJournal, entry: FolderEntry, outcome: SourceOutcome) -> None:
    """Note what became of a scan; a reason goes into the log too, without a name."""
    journal.end(entry, outcome.label, outcome.scan, reason=outcome.reason)
    if outcome.reason:
        logger.warning("%s: %s", outcome.scan, outcome.reason)


@dataclasses.dataclass(frozen=True)
class _BatchRun:
    """One run over a folder on this machine."""

    journal: OutcomeJournal  # what earlier runs came to
    scoring: EntryScoring

    def score_entry(self, entry: FolderEntry) -> int:
        """Score the scans of an entry that are not done; returns how many were scored now."""
        journal, scoring = self.journal, self.scoring
        if journal.is_whole(entry) and all(map(scoring.is_done, journal.records(entry).values())):
            return 0
        scored = 0
        with scoring.sources(entry) as sources:
            for source in sources:
                record = journal.record(entry, source.label)
                if scoring.is_done(record):
                    continue
                if record.starts >= MOST_STARTS and not scoring.again:
                    reason = f"{MOST_STARTS} runs ended while it was scored, maybe for want of memory."
                    unread = scoring.unread_name(entry, source.label)
                    journal.end(entry, source.label, unread, reason=reason)
                    continue
                journal.begin(entry, source.label)
                try:
                    outcome = scoring.score_source(entry, source)
                except BaseException:
                    # The disk is full, or somebody stops the run: nothing to blame the scan for.
                    journal.leave(entry, source.label)
                    raise
                record_outcome(journal, entry, outcome)
                scored += outcome.scored_now
        journal.close(entry)
        return scored


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
