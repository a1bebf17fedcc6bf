"""The score of a scan by a calcium mask that exists already, without any model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from coronet.dataset.quality_flags import FLAGS, quality_flags
from coronet.errors import InputError
from coronet.files import write_json
from coronet.io.images import Image, is_path, raw_image
from coronet.io.masks import read_mask
from coronet.io.raw_volume import RawVolume
from coronet.io.reader import IN_MEMORY, LOADERS, Scan, check_possible_hu, read_scan, suffix_of
from coronet.io.scan_facts import ScanFacts
from coronet.io.volume import Volume, fit_dtype, to_ras
from coronet.scoring.calcium_score import ScoreResult, score_calcium
from coronet.scoring.protocol import Protocol, find_protocol
from coronet.scoring.score_text import facts_json, score_lines, voltage_warnings, warning_lines

SCORE = "score.json"


@dataclasses.dataclass(frozen=True)
class MaskScore:
    """A mask's score with what must be read beside it.

    Attributes:
        result: the score.
        facts: what may be kept of the scan.
        flags: of the scan, see `coronet.dataset.quality_flags.FLAGS`. They warn and do not forbid: the
            annotator has looked at the scan, and a test object has no heart.
        mask_warnings: what speaks against the mask, see `coronet.io.masks.PlacedMask`.
        ct: the scan.
        mask: labels on its voxels.
    """

    result: ScoreResult
    facts: ScanFacts
    flags: tuple[str, ...]
    mask_warnings: Mapping[str, str]
    ct: Volume = dataclasses.field(repr=False, compare=False)
    mask: np.ndarray = dataclasses.field(repr=False, compare=False)

    @property
    def agatston(self) -> float:
        """The Agatston score."""
        return self.result.scores.agatston

    @property
    def warnings(self) -> dict[str, str]:
        """What speaks against the score: a short key and a sentence without a full stop for each."""
        flags = {flag: FLAGS[flag] for flag in self.flags}
        return {**self.mask_warnings, **flags, **voltage_warnings(self.facts)}

    def lines(self, preset: str = "paper") -> list[str]:
        """The result as text, with the risk group by ``preset``."""
        return [*score_lines(self.result, preset), *warning_lines(self.warnings)]

    def __str__(self) -> str:
        """What `coronet score --mask` prints."""
        return "\n".join(self.lines())

    def to_json(self) -> dict[str, Any]:
        """The result as plain values; what ``score.json`` holds."""
        facts = {"flags": list(self.flags), "warnings": self.warnings, "mask": "expert"}
        return self.result.to_json(source=facts_json(self.facts) | facts)

    def save(self, folder: Path | str) -> Path:
        """Write ``score.json`` into ``folder`` and return its path."""
        path = Path(folder) / SCORE
        write_json(path, self.to_json())
        return path


def score_mask(
    scan: Path | str | Image | Scan,
    mask: Path | str | Image | np.ndarray,
    *,
    protocol: Protocol | str = "coronet",
    method: str = "agatston",
    calibration_factor: float | None = None,
    vessels: Mapping[int, str] | None = None,
    labels: Sequence[int | str] | None = None,
    series: int | str | None = None,
    resample_mask: bool = False,
) -> MaskScore:
    """Score a scan by a calcium mask, without any model.

    Args:
        scan: a volume file, a DICOM folder, or an image in memory; see `coronet.io.reader.read_scan`.
        mask: NIfTI, NRRD, MetaImage or DICOM segmentation on the scan's voxels, an image in memory, or an
            array in the same axis order as a scan in memory.
        protocol: rules of the score: ``coronet``, ``deepcac``, ``ai-cac``, ``orcascore`` or ``molloi``.
        method: which score is the answer: ``agatston``, ``volume_weighted``, ``volume`` or ``mass``.
        calibration_factor: mg/(mm³·HU); without it there is no mass.
        vessels: names of the mask's labels, where they are vessels, such as ``{1: "LM", 2: "LAD"}``.
        labels: which labels are calcium, by value or name; all by default. Not together with ``vessels``.
        series: which DICOM series, by number or UID.
        resample_mask: allow a mask on another grid (nearest voxel).

    Raises:
        InputError: a file cannot be read, or the two do not fit.
        ParamsError: unknown protocol or method, or mass without a calibration factor.

    Example:
        >>> import coronet
        >>> found = coronet.score_mask("scan.nii.gz", "calcium.nii.gz")
        >>> round(found.agatston, 1), found.result.groups["paper"], len(found.result.lesions)
        (672.0, '>300', 2)
        >>> found.save("results").name
        'score.json'
    """
    if vessels is not None and labels is not None:
        raise InputError("Vessel names and a choice of labels do not go together; all vessels are calcium.")
    read = _read(scan, series)
    placed = read_mask(
        _image_of(mask, scan),
        read.volume,
        target="calcium",
        identifiers=read.identifiers,
        labels=labels,
        resample=resample_mask,
        vessels=vessels is not None,
    )
    result = score_calcium(
        read.volume,
        placed.labels,
        protocol=find_protocol(protocol),
        method=method,
        calibration_factor=calibration_factor,
        vessels=vessels,
        slice_thickness_mm=read.facts.slice_thickness_mm,
    )
    return MaskScore(
        result=result,
        facts=read.facts,
        flags=quality_flags(read.volume, read.facts),
        mask_warnings={**placed.warnings, **_value_warnings(read.volume)},
        ct=read.volume,
        mask=placed.labels,
    )


def _read(scan: Path | str | Image | Scan, series: int | str | None) -> Scan:
    """Read a scan; a volume need not look like a patient, so that test objects can be scored too."""
    if isinstance(scan, Scan):
        return scan
    found = _load(scan, IN_MEMORY)
    if found is None:
        return read_scan(scan, series=series)
    loaded, source = found
    array = fit_dtype(loaded.array)
    check_possible_hu(array, str(scan) if is_path(scan) else IN_MEMORY)
    return Scan(to_ras(array, loaded.affine), ScanFacts(patient="", source=source))


def _load(image: Path | str | Image, what: str) -> tuple[RawVolume, str] | None:
    """A volume file, or an image in memory that ``what`` names, and its kind; None for any other path."""
    if not is_path(image):
        return raw_image(image, what), "memory"
    path = Path(image)
    if not path.is_file() or suffix_of(path) not in LOADERS:
        return None
    load, source = LOADERS[suffix_of(path)]
    return load(path), source


def _image_of(mask: Path | str | Image | np.ndarray, scan: Path | str | Image | Scan) -> Path | Image:
    """``mask`` with its place; an array alone takes that of a scan in memory."""
    if not isinstance(mask, np.ndarray):
        return Path(mask) if is_path(mask) else mask
    if is_path(scan):
        raise InputError(
            "The mask is an array without a place, and the scan a file, whose axes may run another way. Give "
            "the mask as a file, as an image or as a tuple (array, affine)."
        )
    place = scan.volume if isinstance(scan, Scan) else raw_image(scan, IN_MEMORY)
    if mask.shape != place.array.shape:
        raise InputError(
            f"The mask has shape {mask.shape} and the scan {place.array.shape}; they must lie on one grid."
        )
    return mask, place.affine


def _value_warnings(ct: Volume) -> dict[str, str]:
    """What was not refused, since no mask is near it."""
    lost = int(ct.array.size - np.isfinite(ct.array).sum()) if ct.array.dtype.kind == "f" else 0
    if not lost:
        return {}
    return {"scan_not_finite": f"{lost} values of the scan are NaN or infinite, none of them at the mask"}
