"""One scan's whole path: scan → heart → calcium in it → score, all on the scan's own grid."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from coronet.files import write_json
from coronet.io.dicom.source_slices import SourceSlices
from coronet.io.reader import Scan
from coronet.io.scan_facts import ScanFacts
from coronet.io.volume import Volume
from coronet.networks.factory import LoadedModel
from coronet.networks.vessel_map import VesselMap
from coronet.scoring.calcium_score import VESSELS, ScoreResult, score_calcium
from coronet.scoring.counted_voxels import find_calcium
from coronet.scoring.lesions import places_in_heart
from coronet.scoring.model_statement import ModelStatement
from coronet.scoring.predicted_masks import PredictedMasks
from coronet.scoring.protocol import PROTOCOLS, Protocol
from coronet.scoring.score_text import facts_json, score_lines, voltage_warnings, warning_lines
from coronet.scoring.score_with_mask import SCORE
from coronet.scoring.segment_scan import Segmentation, segment_scan
from coronet.scoring.uncertainty import DOUBTFUL, ScoreUncertainty, score_uncertainty
from coronet.scoring.vessel_labels import label_vessels, vessel_chances


@dataclasses.dataclass(frozen=True)
class ScanScore:
    """All that was found in one scan.

    Attributes:
        segmentation: heart and calcium.
        facts: what may be kept of the scan.
        result: the score.
        uncertainty: the distribution of the score; None where the calcium network was not calibrated.
        places: where each lesion of ``result`` lies in the heart, in the same order.
        vessel_chances: probability that each lies in the vessel that it is given; None where no map of the
            vessels was learned.
        vessel_map: names the vessels; None where none was learned.
        slices: where the scan's slices are stored; None where it is no DICOM.
    """

    segmentation: Segmentation = dataclasses.field(repr=False)
    facts: ScanFacts
    result: ScoreResult
    uncertainty: ScoreUncertainty | None
    places: tuple[str, ...]
    vessel_chances: tuple[float, ...] | None = None
    vessel_map: VesselMap | None = dataclasses.field(default=None, repr=False, compare=False)
    slices: SourceSlices | None = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def agatston(self) -> float:
        """The Agatston score."""
        return self.result.scores.agatston

    @property
    def ct(self) -> Volume:
        """The scan."""
        return self.segmentation.ct

    @property
    def masks(self) -> PredictedMasks:
        """Heart and calcium."""
        return self.segmentation.masks

    @property
    def mask(self) -> np.ndarray:
        """The calcium mask that was scored, bool."""
        return self.masks.calcium

    @property
    def vessel_labels(self) -> np.ndarray | None:
        """The calcium mask by vessel, uint8 labels as in `VESSELS`; None where no vessel is known."""
        if self.vessel_map is None:
            return None
        return label_vessels(self.masks.calcium, self.masks.heart, self.vessel_map)

    @property
    def statement(self) -> ModelStatement:
        """What the score is worth, to be read before it."""
        return self.segmentation.statement

    @property
    def warnings(self) -> dict[str, str]:
        """Reasons to be careful; those that are not of `quality_flags.FLAGS` forbid nothing."""
        found = {**self.segmentation.warnings, **voltage_warnings(self.facts)}
        if self.uncertainty is not None:
            value = self.result.scores.of(self.uncertainty.method)
            if reason := self.uncertainty.contradiction(value):
                found[DOUBTFUL] = reason
        return found

    @property
    def flags(self) -> tuple[str, ...]:
        """Reasons to be careful, keys of `warnings`."""
        return tuple(self.warnings)

    def lines(self, preset: str = "paper") -> list[str]:
        """The result as text, what it is worth first, with the risk group by ``preset``."""
        scored = score_lines(
            self.result,
            preset,
            uncertainty=self.uncertainty,
            networks=True,
            vessel_chances=self.vessel_chances,
        )
        return [*self.statement.lines, *scored, *warning_lines(self.warnings)]

    def __str__(self) -> str:
        """What `coronet score` prints."""
        return "\n".join(self.lines())

    def to_json(self) -> dict[str, Any]:
        """What ``score.json`` holds, ``models`` first: no identifier, no file name and no path."""
        answer = self.result.to_json(
            uncertainty=self.uncertainty.to_json() if self.uncertainty else None,
            models=self.segmentation.models_json(),
            source=facts_json(self.facts)
            | {
                "contrast": self.facts.contrast,
                "flags": list(self.flags),
                "warnings": self.warnings,
                "mask": "networks",
                "familiarity": self.segmentation.familiarity_json(),
                "heart_ml": round(self.segmentation.heart_ml, 1),
            },
        )
        chances = self.uncertainty.lesions if self.uncertainty else (None,) * len(self.places)
        vessels = self.vessel_chances or (None,) * len(self.places)
        for lesion, place, chance, vessel in zip(
            answer["lesions"], self.places, chances, vessels, strict=True
        ):
            lesion["place"] = place
            lesion["probability"] = None if chance is None else round(chance, 4)
            lesion["vessel_probability"] = None if vessel is None else round(vessel, 4)
        return {"models": answer.pop("models"), **answer}

    def save(self, folder: Path | str) -> Path:
        """Write ``heart.nii.gz``, ``calcium.nii.gz`` and ``score.json``; other files in ``folder`` stay."""
        self.segmentation.save_masks(folder)
        path = Path(folder) / SCORE
        write_json(path, self.to_json(), sort_keys=False)
        return path

    def save_dicom(self, folder: Path | str, *, anonymous: bool = False) -> Path:
        """Write ``segmentation.dcm`` and ``report.dcm``, which refer to the scan's own slices.

        Args:
            folder: made where it is absent; other files in it stay.
            anonymous: write nothing of the patient, the order and the study but UIDs.

        Returns:
            The report's path.

        Raises:
            InputError: the scan is no DICOM, or its files cannot be referred to.
        """
        from coronet.scoring.dicom_results import write_dicom_results

        return write_dicom_results(self, Path(folder), anonymous=anonymous)


def score_scan(
    scan: Scan,
    *,
    heart_model: LoadedModel,
    calcium_model: LoadedModel,
    protocol: Protocol = PROTOCOLS["coronet"],
    method: str = "agatston",
    calibration_factor: float | None = None,
    force: bool = False,
) -> ScanScore:
    """Score a scan.

    Args:
        scan: as `coronet.io.reader.read_scan` gives it.
        heart_model: finds the heart.
        calcium_model: finds calcium around it.
        protocol: rules of the score.
        method: which score is the answer, one of `coronet.scoring.agatston.METHODS`.
        calibration_factor: mg/(mm³·HU); without it there is no mass.
        force: score even where the scan's quality forbids it; the warnings stay with the score.

    Raises:
        UnsuitableScan: the scan must not be scored, and why; or no heart was found in it.
        InputError: a model is of the other kind.
        ParamsError: unknown method, or mass without a calibration factor.
    """
    found = segment_scan(scan, heart_model=heart_model, calcium_model=calcium_model, force=force)
    calibration, heart = calcium_model.calibration, found.masks.heart
    vessels = calibration.vessels if calibration else None
    result = score_calcium(
        found.ct,
        found.masks.calcium if vessels is None else label_vessels(found.masks.calcium, heart, vessels),
        protocol=protocol,
        method=method,
        calibration_factor=calibration_factor,
        vessels=None if vessels is None else VESSELS,
        slice_thickness_mm=scan.facts.slice_thickness_mm,
    )
    return ScanScore(
        segmentation=found,
        facts=scan.facts,
        result=result,
        uncertainty=None
        if calibration is None
        else score_uncertainty(found.ct, found.masks.candidates, calibration, result),
        places=places_in_heart([lesion.centre_voxel for lesion in result.lesions], heart),
        vessel_chances=None
        if vessels is None
        else vessel_chances(
            result.lesions, find_calcium(found.ct, found.masks.calcium, protocol), heart, vessels
        ),
        vessel_map=vessels,
        slices=scan.slices,
    )
