"""One expectation in words and numbers."""

from __future__ import annotations

import dataclasses

ADD_AGAIN = "bring the scan in again with `coronet data import`, or remove the case"
REDRAW = "bring the mask in again with `coronet data import`, drawn on this scan, or remove the mask"


@dataclasses.dataclass(frozen=True)
class Rule:
    """One expectation about one column; rows where the column is empty are not asked.

    Attributes:
        name: short and stable, such as ``heart-volume``.
        column: column of `prepare`'s table.
        says: what must hold, one sentence.
        fault: what is wrong with a row that fails; may name columns in braces.
        mends: what to do.
        low, high: smallest and largest value allowed.
        allowed: the values allowed, in place of a range.
        patients: the column must hold at least this many different values; then the fault is the cohort's.
        severity: ``critical`` fails the gate, ``warning`` does not.
    """

    name: str
    column: str
    says: str
    fault: str
    mends: str
    low: float | None = None
    high: float | None = None
    allowed: tuple[object, ...] = ()
    patients: int = 0
    severity: str = "critical"
