"""What came of a study's trials, read from its database; and whose worker was killed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

WORKER, REASON, TRAINING, TRAINED, SAME_AS = "worker", "reason", "training", "epochs_trained", "same_as"
RETRIES = "retry_history"
"""Optuna's own key for the numbers of the trials that a trial takes up again."""


@dataclasses.dataclass(frozen=True)
class TrialResult:
    """One trial, whatever became of it.

    Attributes:
        number: Optuna's.
        state: ``complete``, ``pruned``, ``failed``, ``killed`` (its worker was), ``running`` or ``waiting``.
        value: the metric, mean of the folds; of a pruned trial the last that it reported; or None.
        drawn: what the sampler chose.
        reason: why it was pruned or failed, or empty.
        reported: step and value of every report.
        training: fingerprint of its training, or empty.
        epochs: how many this very trial trained, over all folds.
        seconds: from its start to its end, or None.
        started_ms: milliseconds since 1970, or None.
        retry_of: numbers of the killed trials that it took up, oldest first.
    """

    number: int
    state: str
    value: float | None
    drawn: Mapping[str, Any]
    reason: str
    reported: Mapping[int, float]
    training: str
    epochs: int
    seconds: float | None
    started_ms: int | None
    retry_of: tuple[int, ...]

    @property
    def settled(self) -> bool:
        """Whether it came to an end by itself."""
        return self.state in ("complete", "pruned", "failed")

    @property
    def sentence(self) -> str:
        """State, value and reason in words."""
        value = "" if self.value is None else f" {self.value:.4f}"
        return f"{self.state}{value}{f' ({self.reason})' if self.reason else ''}"


def read_trials(trials: Iterable[FrozenTrial], *, retries: int) -> tuple[TrialResult, ...]:
    """Results of a study's trials in order; ``retries`` is how often a killed one is taken up again."""
    return tuple(_read(trial, retries) for trial in trials)


def to_retry(trials: Sequence[FrozenTrial], *, retries: int) -> tuple[FrozenTrial, ...]:
    """Trials whose worker was killed and that nobody took up yet."""
    taken = {number for trial in trials for number in trial.system_attrs.get(RETRIES, ())}
    return tuple(
        trial
        for trial in trials
        if _killed(trial) and trial.number not in taken and len(trial.system_attrs.get(RETRIES, ())) < retries
    )


def next_draw(trials: Sequence[FrozenTrial], *, wanted: int, retries: int) -> int | None:
    """Which draw of the study is next, counted from 0, or None where ``wanted`` are done or being done.

    A retried trial is the same draw as the one it takes up, so that kills do not change what is drawn later.
    """
    own = [trial.number for trial in trials if not trial.system_attrs.get(RETRIES)]
    waiting = [trial for trial in trials if trial.state.name == "WAITING"]
    if waiting:
        first = min(waiting, key=lambda trial: trial.number)
        origin = (*first.system_attrs.get(RETRIES, ()), first.number)[0]
        return sum(number < origin for number in own)
    done = sum(result.settled or result.state == "running" for result in read_trials(trials, retries=retries))
    return len(own) if done < wanted else None


def _killed(trial: FrozenTrial) -> bool:
    # Every other failure says why before it is told; see `coronet.search.objective`.
    return trial.state.name == "FAIL" and REASON not in trial.user_attrs


def _read(trial: FrozenTrial, retries: int) -> TrialResult:
    state = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}.get(
        trial.state.name, trial.state.name.lower()
    )
    reason = trial.user_attrs.get(REASON, "")
    before = tuple(trial.system_attrs.get(RETRIES, ()))
    if _killed(trial):
        given_up = len(before) >= retries
        state = "failed" if given_up else "killed"
        reason = f"its worker was killed {len(before) + 1} times" if given_up else "its worker was killed"
    ended = trial.datetime_complete
    return TrialResult(
        number=trial.number,
        state=state,
        value=trial.value,
        drawn=dict(trial.params),
        reason=reason,
        reported=dict(trial.intermediate_values),
        training=trial.user_attrs.get(TRAINING, ""),
        epochs=trial.user_attrs.get(TRAINED, 0),
        seconds=(ended - trial.datetime_start).total_seconds() if ended and trial.datetime_start else None,
        started_ms=round(trial.datetime_start.timestamp() * 1000) if trial.datetime_start else None,
        retry_of=before,
    )
