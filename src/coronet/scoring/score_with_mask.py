"""A scan scored by a mask that somebody drew, without any model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from coronet.dataset.quality_flags import FLAGS, quality_flags
from coronet.errors import InputError
from coronet.files import write_json
from coronet.io.masks import ROUNDED, read_mask
from coronet.io.reader import LOADERS, Scan, demand_possible, read_scan, suffix_of
from coronet.io.scan_facts import ScanFacts
from coronet.io.volume import Volume, fit_dtype, read_nifti, to_ras
from coronet.scoring.agatston import ScoreResult, score_mask
from coronet.scoring.protocol import Protocol
from coronet.scoring.uncertainty import Intervals, score_intervals

SCORE = "score.json"
_USUAL_KV = 120.0


@dataclasses.dataclass(frozen=True)
class ExpertScore:
    """A mask's score with what must be read beside it.

    Attributes:
        result: the score.
        intervals: how it moves when the mask does.
        facts: what may be kept of the scan.
        flags: of the scan, see `coronet.dataset.quality_flags.FLAGS`. They warn and do not forbid: whoever
            drew the mask has looked at the scan, and a phantom has no heart.
        mask_warnings: what speaks against the mask, see `coronet.io.masks.PlacedMask`.
    """

    result: ScoreResult
    intervals: Intervals
    facts: ScanFacts
    flags: tuple[str, ...]
    mask_warnings: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def warnings(self) -> dict[str, str]:
        """What speaks against the score: a short key and a sentence without a full stop for each."""
        flags = {flag: FLAGS[flag] for flag in self.flags}
        return {**self.mask_warnings, **flags, **voltage_warnings(self.facts)}

    def lines(self, preset: str) -> list[str]:
        """The answer as text, with the risk group by ``preset``."""
        return [
            *score_lines(self.result, self.intervals, preset),
            *warning_lines(self.warnings),
        ]

    def to_json(self) -> dict[str, Any]:
        """The answer as one object of plain values."""
        return self.result.to_json(
            intervals=self.intervals.to_json(),
            source={
                "source": self.facts.source,
                "kernel": self.facts.kernel,
                "tube_kv": self.facts.tube_kv,
                "flags": list(self.flags),
                "warnings": self.warnings,
                "mask": "expert",
            },
        )

    def write(self, folder: Path) -> Path:
        """Write ``score.json`` and return its path."""
        path = Path(folder) / SCORE
        write_json(path, self.to_json())
        return path


def voltage_warnings(facts: ScanFacts) -> dict[str, str]:
    """The warning of a scan at another tube voltage than 120 kV; none where the voltage is not known."""
    if facts.tube_kv in (None, _USUAL_KV):
        return {}
    return {
        "tube_voltage": f"the scan was made at {facts.tube_kv:g} kV; 130 HU and the weights hold for "
        f"{_USUAL_KV:g} kV"
    }


def warning_lines(warnings: Mapping[str, str]) -> list[str]:
    """Warnings as sentences to print below a score."""
    return [f"Beware: {text}." for text in warnings.values()]


def score_lines(result: ScoreResult, spread: Intervals, preset: str) -> list[str]:
    """A score as text: the number, its group, how far it moves, and the lesions."""
    scores, units = result.scores, {"volume_weighted": " mm³", "volume": " mm³", "mass": " mg"}
    name = result.method.replace("_", " ")
    found = [
        f"{name} {result.value:.1f}{units.get(result.method, '')} by protocol {result.protocol.name}; "
        f"group {result.groups[preset]} ({preset})"
    ]
    moved = f"between {spread.low:.1f} and {spread.high:.1f} when the mask's threshold or place changes"
    if spread.sure(preset):
        found.append(f"{spread.method.replace('_', ' ')} {moved}: the same group")
    else:
        found.append(
            f"{spread.method.replace('_', ' ')} {moved}: it could be in {' or '.join(spread.groups[preset])}"
        )
    mass = "" if scores.mass_mg is None else f", mass {scores.mass_mg:.2f} mg"
    found.append(
        f"agatston {scores.agatston:.1f}, weighted volume {scores.volume_weighted:.1f} mm³, "
        f"volume {scores.volume_mm3:.1f} mm³{mass}"
    )
    if result.vessels is not None:
        found.append(", ".join(f"{vessel} {score:.1f}" for vessel, score in result.vessels.items()))
    for lesion in result.lesions:
        found.append(
            f"lesion {lesion.number}: agatston {lesion.agatston:.1f}, {lesion.volume_mm3:.1f} mm³, highest "
            f"{lesion.peak_hu:.0f} HU, slices {lesion.slices[0]}-{lesion.slices[1]}"
            + (f", {lesion.vessel}" if lesion.vessel else "")
        )
    return found


def score_expert(
    scan: Path,
    mask: Path,
    *,
    protocol: Protocol,
    method: str = "agatston",
    calibration_factor: float | None = None,
    vessels: Mapping[int, str] | None = None,
    labels: Sequence[int | str] | None = None,
    probability: Path | None = None,
    series: int | str | None = None,
    resample_mask: bool = False,
) -> ExpertScore:
    """Score a scan by a mask file.

    Args:
        scan: DICOM folder or volume file.
        mask: NIfTI, NRRD, MetaImage or DICOM segmentation on the scan's voxels.
        protocol: rules of the score.
        method: which score is the answer.
        calibration_factor: mg/(mm³·HU) for a mass.
        vessels: names of the mask's labels, where they are vessels.
        labels: which labels are calcium, by value or name; all by default. Not together with ``vessels``.
        probability: a NIfTI file on the scan's grid, for the interval over thresholds.
        series: which DICOM series, by number or UID.
        resample_mask: allow a mask on another grid.

    Raises:
        InputError: a file cannot be read, or the two do not fit.
    """
    if vessels is not None and labels is not None:
        raise InputError("Vessel names and a choice of labels do not go together; all vessels are calcium.")
    read = _read(Path(scan), series)
    placed = read_mask(
        mask,
        read.volume,
        target="calcium",
        identifiers=read.identifiers,
        labels=labels,
        resample=resample_mask,
    )
    drawn = placed.labels
    result = score_mask(
        read.volume,
        drawn,
        protocol=protocol,
        method=method,
        calibration_factor=calibration_factor,
        vessels=vessels,
        slice_thickness_mm=read.facts.slice_thickness_mm,
    )
    chances = None if probability is None else _read_probability(probability, read.volume)
    return ExpertScore(
        result=result,
        intervals=score_intervals(read.volume, drawn, result, probability=chances),
        facts=read.facts,
        flags=quality_flags(read.volume, read.facts),
        mask_warnings=placed.warnings | _value_warnings(read.volume),
    )


def _read(path: Path, series: int | str | None) -> Scan:
    """Read a scan; a volume file need not look like a patient, so that test objects can be scored too."""
    if path.is_file() and suffix_of(path) in LOADERS:
        load, source = LOADERS[suffix_of(path)]
        loaded = load(path)
        array = fit_dtype(loaded.array)
        demand_possible(array, str(path))
        return Scan(to_ras(array, loaded.affine), ScanFacts(patient="", source=source))
    return read_scan(path, series=series)


def _value_warnings(ct: Volume) -> dict[str, str]:
    """What was not refused, since no mask is near it."""
    lost = int(ct.array.size - np.isfinite(ct.array).sum()) if ct.array.dtype.kind == "f" else 0
    if not lost:
        return {}
    return {"scan_not_finite": f"{lost} values of the scan are NaN or infinite, none of them at the mask"}


def _read_probability(path: Path, ct: Volume) -> np.ndarray:
    volume = read_nifti(path, dtype=np.float32)
    if not volume.same_grid(ct):
        raise InputError(f"{path}: the probability map lies on another grid than the scan.")
    low, high = float(volume.array.min()), float(volume.array.max())
    if not (low >= -ROUNDED and high <= 1 + ROUNDED):
        raise InputError(f"{path}: its values run from {low:g} to {high:g}; probabilities lie from 0 to 1.")
    return np.clip(volume.array, 0, 1)
