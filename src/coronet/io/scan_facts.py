"""What is known of a scan beside its voxels, and may be kept: no patient identifier."""

from __future__ import annotations

import dataclasses

DEPOSITED = "deposited"
"""Source of real scans into which calcium was drawn; they train and never tune or test."""


@dataclasses.dataclass(frozen=True)
class ScanFacts:
    """What is kept of a scan beside its voxels.

    Attributes:
        patient: pseudonym; scans of one person share it, and a split never parts them.
        source: where the scan came from: ``phantom``, ``dicom``, ``nifti``, ``nrrd``, ``mha`` or ``memory``;
            `DEPOSITED` for one with drawn calcium.
        kernel: reconstruction kernel as the scanner names it, or empty.
        slice_thickness_mm: nominal thickness, or None; slice *spacing* is in the volume's affine.
        tube_kv: tube voltage in kV, or None.
        contrast: True where the header says that a contrast agent was given into the blood, False where it
            says that none was, None where its words do not decide.
        flags: reasons to be careful, such as ``contrast``, ``not_hu``, ``no_heart_in_view``.
        attribution: what must be said wherever something made of the scan is shared, or empty.
        drawn_into: of a scan with drawn calcium, `coronet.io.content_hash.content_sha256` of the scan without
            it; or empty.
    """

    patient: str
    source: str
    kernel: str = ""
    slice_thickness_mm: float | None = None
    tube_kv: float | None = None
    contrast: bool | None = None
    flags: tuple[str, ...] = ()
    attribution: str = ""
    drawn_into: str = ""
