"""What must hold between scans: no copies, no patient in two parts, nothing learned from a test patient."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from coronet.config import ValidateParams
from coronet.dataset.case_table import left_out, read_alike
from coronet.dataset.split import PARTS, Split
from coronet.errors import GateFailed
from coronet.validation.rules import Rule

if TYPE_CHECKING:
    import pandas

_SAME_PATIENT = "if it is one person, give both the same patient in ct/CASE.json; else remove one"


def leakage_rules(*, with_split: bool) -> tuple[Rule, ...]:
    """Rules about pairs of scans; those about parts are only there where there is a split."""
    always = (
        Rule(
            "no-duplicates",
            "same_voxels",
            "No two scans hold the same voxels.",
            "holds the same voxels as {same_voxels}",
            "remove one of them",
            allowed=("",),
        ),
        Rule(
            "no-copies",
            "copies",
            "No scan is a turned, bent, blurred, mirrored or re-scaled copy of another patient's.",
            "is a copy of {copies} under another patient's name",
            _SAME_PATIENT,
            allowed=("",),
        ),
    )
    parts = (
        Rule(
            "patient-in-one-part",
            "patient_parts",
            "Every patient is in one part of the split.",
            "its patient is in more than one part: {patient_parts}",
            "make the split again: `dvc repro --force split`",
            allowed=("train", "tune", "test"),
        ),
        Rule(
            "copies-in-one-part",
            "copies_elsewhere",
            "No part of the split holds a copy of another part's scan.",
            "is a copy of {copies_elsewhere}, which is in another part of the split",
            f"{_SAME_PATIENT}; then make the split again: `dvc repro --force split`",
            allowed=("",),
        ),
        Rule(
            "split-is-current",
            "split_state",
            "The split holds the cases of the table, each with its patient.",
            "{split_state}",
            "make the split again: `dvc repro --force split`",
            allowed=("",),
        ),
    )
    return (*always, *parts) if with_split else always


def prepare_leakage(table: pandas.DataFrame, params: ValidateParams, split: Split | None) -> pandas.DataFrame:
    """Columns that `leakage_rules` ask for, to be joined to the case table row by row."""
    import pandas

    copies = [
        [case for case, distance in read_alike(alike).items() if distance < params.copy_distance]
        for alike in table["alike"]
    ]
    by_content = table.groupby("content")["case"].agg(list)
    same = [
        [case for case in by_content[content] if case != own]
        for own, content in zip(table["case"], table["content"], strict=True)
    ]
    columns = pandas.DataFrame(index=table.index)
    columns["same_voxels"] = list(map(", ".join, same))
    columns["copies"] = list(map(", ".join, copies))
    if split is None:
        return columns
    part = {member.case: member.part for member in split.members}
    parts = table["case"].map(part)
    patient_parts = parts.groupby(table["patient"]).agg(lambda found: " ".join(sorted(set(found.dropna()))))
    columns["patient_parts"] = table["patient"].map(patient_parts).where(parts.notna(), None)
    columns["copies_elsewhere"] = [
        ", ".join(sorted({other for other in others if part.get(other, part[case]) != part[case]}))
        if case in part
        else None
        for case, others in zip(table["case"], map(list.__add__, copies, same), strict=True)
    ]
    columns["split_state"] = _split_states(table, split)
    return columns


def check_parts(split: Split, used: Iterable[str], *, parts: tuple[str, ...] = ("train",)) -> None:
    """Refuse to fit anything on a case outside of ``parts``.

    Raises:
        GateFailed: a case of ``used``, or another scan of its patient, is in another part or in none.
    """
    allowed = {case for part in parts for case in split.cases(part)}
    strange = sorted(set(used) - allowed)
    if strange:
        raise GateFailed(
            f"{', '.join(strange)}: not in {' or '.join(parts)}, so nothing may be learned from it; "
            "take the cases from build/split.json."
        )
    kept = {patient for part in set(PARTS) - set(parts) for patient in split.patients(part)}
    shared = sorted({patient for part in parts for patient in split.patients(part)} & kept)
    if shared:
        raise GateFailed(
            f"patient {', '.join(shared)} is in {' or '.join(parts)} and in another part; "
            "make the split again: `dvc repro --force split`."
        )


def _split_states(table: pandas.DataFrame, split: Split) -> list[str]:
    patients = {member.case: member.patient for member in split.members}
    out = left_out(table)
    states = []
    for case, patient in zip(table["case"], table["patient"], strict=True):
        if case in patients and case in out:
            states.append(f"is in the split though it {out[case]}")
        elif case in patients and patients[case] != patient:
            states.append("has another patient in the split than in the table")
        elif case not in patients and case not in out:
            states.append("is missing from the split")
        else:
            states.append("")
    return states
