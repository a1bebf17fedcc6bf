"""The patients on whom versions are compared: test patients from whom none of them learned."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from coronet.dataset.split import Split
from coronet.errors import PromotionError
from coronet.registry.lineage_checks import VersionFacts


def pick_split(
    candidate: VersionFacts, champion: VersionFacts | None, companion: VersionFacts, *, shared: bool
) -> Split:
    """The candidate's split, with the champion's test patients, or, ``shared``, those who test in all splits.

    Raises:
        PromotionError: candidate and champion have other test patients, or there is none in common; or a
            split is not known any more.
    """
    split = _split_of(candidate)
    tested = set(split.cases("test"))
    if shared:
        for side in (champion, companion):
            tested &= set(_split_of(side).cases("test")) if side else tested
        if not tested:
            raise PromotionError(
                f"No scan tests in the split of {candidate.name} and in those it is compared and run with; "
                "train them on today's split and register them."
            )
        kept = [member for member in split.members if member.part != "test" or member.case in tested]
        return dataclasses.replace(split, members=tuple(kept))
    if champion is None:
        return split
    old = set(_split_of(champion).cases("test"))
    if old != tested:
        raise PromotionError(
            f"{candidate.name} and {champion.name} have other test patients: {len(old & tested)} scans test "
            f"in both, {len(tested - old)} only in the first, {len(old - tested)} only in the second. Train "
            "the champion's parameters on today's split, or set gate.test_patients to shared."
        )
    return split


def check_apart(sides: Iterable[VersionFacts], split: Split) -> None:
    """Refuse test patients that any of the versions run on them learned from.

    Raises:
        PromotionError: names the version and a case.
    """
    for side in sides:
        own = _split_of(side)
        learned = {*own.patients("train"), *own.patients("tune")}
        met = [item.case for item in split.members if item.part == "test" and item.patient in learned]
        if met:
            raise PromotionError(
                f"{side.name} learned from patients who test ({len(met)} scans, such as {met[0]}); it cannot "
                f"be measured on them; train on today's split (`dvc repro train@{side.version.model}`) and "
                "register that, or set gate.test_patients to shared."
            )


def _split_of(side: VersionFacts) -> Split:
    """The split that a version was trained with.

    Raises:
        PromotionError: DVC no longer holds it.
    """
    if side.split is None:
        raise PromotionError(
            f"{side.name}: DVC no longer holds the split it was trained with, so it is unknown which "
            "patients it learned from; `dvc pull` may bring it."
        )
    return side.split
