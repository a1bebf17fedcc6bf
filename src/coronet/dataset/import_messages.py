"""What became of scans that were to be added to the cohort, and what the user should know of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from coronet.text import first_few

_NAMED = 5  # cases that a warning names at most


@dataclasses.dataclass(frozen=True)
class ImportedScan:
    """A scan that is in the cohort now."""

    case: str
    patient: str  # pseudonym
    # whether a header or the user named the patient; otherwise only scans of one study, or none, share the
    # pseudonym
    patient_known: bool
    new: bool  # False where it had been there before
    masks: tuple[str, ...]  # which masks were written now
    warnings: tuple[str, ...]  # of the masks that were given, in words
    flags: tuple[str, ...]  # of `coronet.dataset.quality_flags`
    shape: tuple[int, ...]  # voxels (x, y, z)
    spacing_mm: tuple[float, ...]  # (x, y, z)
    # path of the scan as it was given; for the screen only, since it may name the patient
    where: str = dataclasses.field(default="", repr=False)

    def to_json(self) -> dict[str, Any]:
        """Plain data without the path: JSON is kept in files."""
        return {name: value for name, value in vars(self).items() if name != "where"}


@dataclasses.dataclass(frozen=True)
class ImportResult:
    """What became of each scan; ``refused`` holds the reasons, which begin with the path as it was given."""

    added: tuple[ImportedScan, ...]
    refused: tuple[str, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know of the scans that were added."""
        return patient_warnings(self.added)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        added = [item.to_json() for item in self.added]
        return {"added": added, "refused": self.refused, "warnings": self.warnings}


def patient_warnings(added: Sequence[ImportedScan]) -> tuple[str, ...]:
    """Name the cases whose patient is not known, and what that means for a split."""
    unknown = sorted({item.case for item in added if not item.patient_known})
    if not unknown:
        return ()
    return (
        f"the patient is not known of {first_few(unknown, _NAMED)}: the file names none, or only a "
        "placeholder. Each counts as a patient of its own (scans of one study as one), so scans of one "
        "person may end up in both training and test data. Add them again with --patient to name them.",
    )
