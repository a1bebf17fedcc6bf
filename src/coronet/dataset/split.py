"""Who trains, tunes and tests: by patient, stratified by calcium, decided by a hash.

Within a stratum patients are ordered by a hash of seed and name, and the first ones test, the next tune and
the rest train. So the order of the table does not matter, and a patient who joins the cohort moves only the
few next to the borders. Patients into whose scans calcium was drawn train and are in no order. Test results
of two different cohorts are not to be compared all the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from coronet.config import SplitParams
from coronet.dataset.case_table import left_out
from coronet.errors import InputError
from coronet.files import read_json, write_json
from coronet.io.scan_facts import DEPOSITED

if TYPE_CHECKING:
    import pandas

PARTS = ("train", "tune", "test")
_STRATA_MM3 = (0.0, 100.0, 300.0)
STRATA = ("none", "low", "middle", "high")
"""A patient is in the stratum numbered by how many of ``_STRATA_MM3`` the calcium exceeds."""
TRAINING_ONLY = "training only"
"""In place of a stratum: a patient with a case of drawn calcium, whose cases all train."""


@dataclasses.dataclass(frozen=True)
class Member:
    """Where a case belongs; ``stratum`` is its patient's."""

    case: str
    patient: str
    part: str
    stratum: str


@dataclasses.dataclass(frozen=True)
class Split:
    """The parts of a cohort."""

    seed: int  # what the order of patients derives from
    members: tuple[Member, ...]  # every case that takes part, sorted by case
    excluded: tuple[tuple[str, str], ...] = ()  # case and reason of every case that does not, sorted by case

    def cases(self, part: str) -> tuple[str, ...]:
        """Cases of ``train``, ``tune`` or ``test``, sorted."""
        _check_part(part)
        return tuple(member.case for member in self.members if member.part == part)

    def patients(self, part: str) -> tuple[str, ...]:
        """Patients of ``train``, ``tune`` or ``test``, sorted."""
        _check_part(part)
        return tuple(sorted({member.patient for member in self.members if member.part == part}))

    def part_of(self, case: str) -> str:
        """Part of ``case``.

        Raises:
            InputError: it is not in the split.
        """
        for member in self.members:
            if member.case == case:
                return member.part
        reason = dict(self.excluded).get(case)
        raise InputError(f"{case} is in no part of the split" + (f": it {reason}." if reason else "."))


def make_split(table: pandas.DataFrame, params: SplitParams) -> Split:
    """Split the cases of a case table.

    Raises:
        InputError: fewer than three patients can take part.
    """
    excluded = left_out(table)
    used = table[~table["case"].isin(excluded)]
    drawn = set(used.loc[used["source"] == DEPOSITED, "patient"])
    burden = used[~used["patient"].isin(drawn)].groupby("patient")["calcium_mm3"].max()
    strata = {str(patient): stratum(volume) for patient, volume in burden.items()}
    if len(strata) < len(PARTS):
        raise InputError(
            f"{len(strata)} patients have what training needs, and a split takes at least {len(PARTS)}; "
            "add scans with masks (`coronet data import`) or phantoms (`coronet data phantom`)."
        )
    parts = _assign(strata, params) | dict.fromkeys(drawn, "train")
    strata |= dict.fromkeys(drawn, TRAINING_ONLY)
    ordered = used.sort_values("case")
    members = tuple(
        Member(case, patient, parts[patient], strata[patient])
        for case, patient in zip(ordered["case"], ordered["patient"], strict=True)
    )
    return Split(params.seed, members, tuple(sorted(excluded.items())))


def stratum(calcium_mm3: float) -> str:
    """Stratum of a patient whose fullest scan holds ``calcium_mm3`` of calcium; unknown counts as none."""
    return STRATA[sum(calcium_mm3 > border for border in _STRATA_MM3)]


def write_split(path: Path, split: Split) -> None:
    """Write the split as JSON, atomically."""
    content = {
        "seed": split.seed,
        "cases": {
            member.case: {"patient": member.patient, "part": member.part, "stratum": member.stratum}
            for member in split.members
        },
        "excluded": dict(split.excluded),
    }
    write_json(path, content)


def read_split(path: Path) -> Split:
    """Read a split that `write_split` wrote.

    Raises:
        InputError: it is absent or not understood.
    """
    raw = read_json(path)
    try:
        members = tuple(Member(case=case, **facts) for case, facts in sorted(raw["cases"].items()))
        split = Split(raw["seed"], members, tuple(sorted(raw["excluded"].items())))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no split: {error}; `dvc repro split` makes it anew.") from error
    for member in members:
        _check_part(member.part)
    return split


def _check_part(part: str) -> None:
    if part not in PARTS:
        raise InputError(f'There is no part "{part}"; the parts are {", ".join(PARTS)}.')


def _assign(strata: Mapping[str, str], params: SplitParams) -> dict[str, str]:
    """Part of each patient."""

    def order(patient: str) -> str:
        return hashlib.sha256(f"{params.seed} {patient}".encode()).hexdigest()

    queues = {
        name: sorted((patient for patient in strata if strata[patient] == name), key=order) for name in STRATA
    }
    total = len(strata)
    tests = min(max(1, round(total * params.test)), total - 2)
    tunes = min(max(1, round(total * params.tune)), total - tests - 1)
    parts = {}
    for part, count in (("test", tests), ("tune", tunes)):
        shares = _shares({name: len(queue) for name, queue in queues.items()}, count)
        for name, share in shares.items():
            parts.update(dict.fromkeys(queues[name][:share], part))
            queues[name] = queues[name][share:]
    parts.update({patient: "train" for queue in queues.values() for patient in queue})
    return parts


def _shares(sizes: Mapping[str, int], count: int) -> dict[str, int]:
    """``count`` dealt out in proportion to ``sizes`` by largest remainders."""
    total = sum(sizes.values())
    exact = {name: count * size / total for name, size in sizes.items()}
    shares = {name: math.floor(value) for name, value in exact.items()}
    by_remainder = sorted(sizes, key=lambda name: (shares[name] - exact[name], -sizes[name]))
    for name in by_remainder[: count - sum(shares.values())]:
        shares[name] += 1
    return shares
