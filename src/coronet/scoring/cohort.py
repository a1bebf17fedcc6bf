"""A cohort scored on many cores or machines by Ray, into the same files as a batch on one.

Ray starts the workers, restarts them when they or their machines die, and moves them. What is done stands in
the results alone, so that any restart goes on from there.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from coronet.dataset.scan_folder import FolderEntry, OutcomeJournal
from coronet.scoring.batch import TABLE, record_outcome, scoring_into
from coronet.scoring.batch_results import BatchResults
from coronet.scoring.batch_table import BatchResult, to_csv, to_parquet
from coronet.scoring.cohort_worker import RayWorkers, WorkerDied, WorkerOptions
from coronet.scoring.entry_scoring import EntryScoring, Scorer, SourceOutcome
from coronet.scoring.risk_groups import find_groups
from coronet.scoring.score_scan import ScanScore

PARQUET = "scores.parquet"
_MOST_ALONE = 2
"""Times that a scan is tried alone, once its worker has died over it or another, before it is passed over."""
_KEEP_EVERY_S = 10.0


def score_cohort(
    entries: Sequence[FolderEntry],
    results: BatchResults,
    *,
    scorer: Scorer,
    workers: WorkerOptions,
    write: Callable[[Path, ScanScore], object] = lambda folder, scored: scored.save(folder),
    groups: str = "paper",
    again: bool = False,
    data: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> BatchResult:
    """Score every scan of the entries on the workers of a Ray cluster.

    Args:
        entries: scans; paths in them, as those of a folder of results, are the same on every machine.
        results: where they go; gone on with where some are there.
        scorer: networks and rules; they belong to the results.
        workers: where and how many.
        write: writes the files of a score into a folder.
        groups: preset of the risk groups in the table.
        again: try those scans once more that could not be scored.
        data: data folder whose key and case names new results take.
        progress: called with (entries done, in all).

    Raises:
        InputError: the results hold scores by other settings, or workers cannot start.
        Busy: another process writes to the results.
        Unreachable: the cluster or the store does not answer.
    """
    preset = find_groups(groups).name
    with results.opened(scorer.settings) as journal:
        scoring = scoring_into(results, scorer=scorer, write=write, again=again, data=data)
        run = _CohortRun(journal, scoring, entries, progress)
        try:
            if run.todo:
                with RayWorkers(scoring, workers, run.todo) as pool:
                    run.score_all(pool)
                    run.score_suspects(pool)
        finally:
            # A run that is stopped leaves a table of what it has.
            rows = scoring.rows(journal, entries, preset)
            results.write(TABLE, to_csv(rows).encode())
            results.write(PARQUET, to_parquet(rows))
    return BatchResult(scorer.statement, rows, run.scored)


class _CohortRun:
    """One run over the entries: what is still to do, and what has become of the rest."""

    def __init__(
        self,
        journal: OutcomeJournal,
        scoring: EntryScoring,
        entries: Sequence[FolderEntry],
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._journal, self._scoring = journal, scoring
        self._progress = progress
        self._kept = time.monotonic()
        self.scored = 0
        there = scoring.results.scored()
        self.todo = [entry for entry in entries if not self._is_done(entry, there)]
        self._total, self._done = len(entries), len(entries) - len(self.todo)
        # entries that a worker died over; an earlier run may have been killed over them too
        self._suspects = [
            entry for entry in self.todo if any(item.starts for item in journal.records(entry).values())
        ]

    def _is_done(self, entry: FolderEntry, there: set[str]) -> bool:
        records = self._journal.records(entry).values()
        return self._journal.is_whole(entry) and all(self._scoring.is_done(item, there) for item in records)

    def score_all(self, pool: RayWorkers) -> None:
        """Score what has killed no worker; as many at once as the workers take."""
        waiting = collections.deque(entry for entry in self.todo if entry not in self._suspects)
        while waiting or pool.busy:
            while waiting and pool.has_room:
                entry = waiting.popleft()
                pool.submit(entry, self._journal.records(entry))
            for entry, answer in pool.wait():
                if isinstance(answer, WorkerDied):
                    # a scan is not to blame for a machine that went away
                    (waiting if answer.with_node else self._suspects).append(entry)
                else:
                    self._end(entry, answer)

    def score_suspects(self, pool: RayWorkers) -> None:
        """Score one by one, and alone, what workers died over, so that none is blamed for another."""
        for entry in self._suspects:
            self._score_alone(entry, pool)
            self._end(entry, [])

    def _score_alone(self, entry: FolderEntry, pool: RayWorkers) -> None:
        for label in self._ask_alone(pool, entry, "", "labels", entry) or ():
            if self._scoring.is_done(self._journal.record(entry, label)):
                continue
            outcome = self._ask_alone(pool, entry, label, "score_label", entry, label)
            if outcome:
                self._record(entry, outcome)

    def _ask_alone(self, pool: RayWorkers, entry: FolderEntry, label: str, method: str, *values: Any) -> Any:
        """What a worker answers; None, and a row with the reason, where each one dies over it."""
        for _ in range(_MOST_ALONE):
            while isinstance(answer := pool.ask_alone(method, *values), WorkerDied) and answer.with_node:
                pass
            if not isinstance(answer, WorkerDied):
                return answer
        unread = self._scoring.unread_name(entry, label)
        reason = "its worker died each time while it was scored, also alone, maybe for want of memory."
        self._record(entry, SourceOutcome(label, unread, reason, scored_now=False))
        return None

    def _record(self, entry: FolderEntry, outcome: SourceOutcome) -> None:
        record_outcome(self._journal, entry, outcome)
        self.scored += outcome.scored_now

    def _end(self, entry: FolderEntry, outcomes: Sequence[SourceOutcome]) -> None:
        for outcome in outcomes:
            self._record(entry, outcome)
        self._journal.close(entry)
        self._done += 1
        if self._progress:
            self._progress(self._done, self._total)
        if time.monotonic() - self._kept > _KEEP_EVERY_S:
            self._scoring.results.keep_journal()
            self._kept = time.monotonic()
