"""Inner folds: the training patients divided into parts, each held out in turn.

Tune and test patients are in none. So the tune part still chooses the final training's best epoch without
having chosen its parameters, and a test patient's file is never opened.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection
from typing import TYPE_CHECKING

from coronet.dataset.split import STRATA, TRAINING_ONLY, Split
from coronet.errors import SearchError

if TYPE_CHECKING:
    from coronet.config import SearchParams


@dataclasses.dataclass(frozen=True)
class Fold:
    """One way to hold out training patients."""

    number: int  # counted from 1
    split: Split  # `train` is what a trial learns from and `tune` what is held out; there is no `test`

    @property
    def train(self) -> tuple[str, ...]:
        """Cases to learn from."""
        return self.split.cases("train")

    @property
    def held_out(self) -> tuple[str, ...]:
        """Cases to measure on."""
        return self.split.cases("tune")


def inner_folds(split: Split, prepared: Collection[str], space: SearchParams) -> tuple[Fold, ...]:
    """The folds that a trial trains in.

    Patients of a stratum are ordered by a hash of the split's seed and their name and dealt out in turn, each
    stratum going on where the one before it ended. So every fold holds out some of each. Patients with drawn
    calcium are held out of none.

    Args:
        split: only its training part is used.
        prepared: cases that can be trained on; a training case that is not among them is left out.
        space: tells the number of folds and how many of them are used.

    Raises:
        SearchError: fewer training patients than folds.
    """
    members = sorted(
        (item for item in split.members if item.part == "train" and item.case in prepared),
        key=lambda item: item.case,
    )
    stratum = {item.patient: item.stratum for item in members if item.stratum != TRAINING_ONLY}
    if len(stratum) < space.folds:
        raise SearchError(
            f"{len(stratum)} training patients cannot be dealt into {space.folds} folds; "
            "lower search.folds in params.yaml or add patients."
        )
    order = sorted(
        stratum,
        key=lambda patient: (
            STRATA.index(stratum[patient]),
            hashlib.sha256(f"inner {split.seed} {patient}".encode()).hexdigest(),
        ),
    )
    fold_of = {patient: place % space.folds for place, patient in enumerate(order)}
    return tuple(
        Fold(
            number + 1,
            Split(
                split.seed,
                tuple(
                    dataclasses.replace(item, part="tune" if fold_of.get(item.patient) == number else "train")
                    for item in members
                ),
            ),
        )
        for number in range(space.folds_used)
    )
