"""What a study holds, read from its database."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from coronet.fingerprint import canonical
from coronet.search import database
from coronet.search.trials import TrialResult, read_trials

if TYPE_CHECKING:
    import optuna


@dataclasses.dataclass(frozen=True)
class StudyResult:
    """What a study holds.

    Attributes:
        name: of the study.
        model: ``heart`` or ``calcium``.
        fingerprint: of everything it is bound to.
        metric: one of `coronet.imaging.mask_metrics.DECISIVE`, the higher the better.
        held_out: cases held out in each fold.
        trials: all of them, in order.
    """

    name: str
    model: str
    fingerprint: str
    metric: str
    held_out: tuple[int, ...]
    trials: tuple[TrialResult, ...]

    @property
    def best(self) -> TrialResult | None:
        """The trial of the highest value; the first of equals."""
        complete = [trial for trial in self.trials if trial.state == "complete"]
        return max(complete, key=lambda trial: trial.value) if complete else None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        best = self.best
        return {**canonical(self), "best": canonical(best) if best else None}


def read_study(study: optuna.Study) -> StudyResult:
    """What a study holds now."""
    facts = study.user_attrs
    bound = dict(facts[database.BOUND])
    return StudyResult(
        name=study.study_name,
        model=bound["model"],
        fingerprint=facts["fingerprint"],
        metric=facts[database.METRIC],
        held_out=tuple(facts["folds"]),
        trials=read_trials(study.get_trials(deepcopy=False), retries=facts["retries"]),
    )
