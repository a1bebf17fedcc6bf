"""One expectation in words and numbers."""

from __future__ import annotations

import dataclasses

ADD_AGAIN = (
    "bring the scan in again (`coronet data import SCAN --case {case} --replace`), or remove "
    "data/ct/{case}.* and data/masks/{case}_*"
)
"""Remedies name the case in braces."""


def redraw(model: str) -> str:
    """The remedy for a mask that does not fit its scan."""
    return (
        "draw the mask on this scan and bring it in (`coronet data import data/ct/{case}.nii.gz "
        f"--case {{case}} --{model} MASK --replace`), or remove data/masks/{{case}}_{model}.nii.gz"
    )


@dataclasses.dataclass(frozen=True)
class Rule:
    """One expectation about one column; rows where the column is empty are not asked.

    Attributes:
        name: short and stable, such as ``heart-volume``.
        column: column of `prepare`'s table.
        says: what must hold, one sentence.
        fault: what is wrong with a row that fails; may name columns in braces.
        remedy: what to do; names the case in braces.
        low, high: smallest and largest value allowed.
        allowed: the values allowed, in place of a range.
        patients: the column must hold at least this many different values; then the fault is the cohort's.
        severity: ``critical`` fails the gate, ``warning`` does not.
    """

    name: str
    column: str
    says: str
    fault: str
    remedy: str
    low: float | None = None
    high: float | None = None
    allowed: tuple[object, ...] = ()
    patients: int = 0
    severity: str = "critical"
