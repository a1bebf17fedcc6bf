"""A score as DICOM: its masks as a segmentation, its numbers as a structured report."""

from __future__ import annotations

import dataclasses
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from coronet.dataset.quality_flags import UNFIT
from coronet.errors import InputError
from coronet.files import filling
from coronet.io.dicom import result_codes as codes
from coronet.io.dicom.report_writer import Group, Number, build_report
from coronet.io.dicom.segmentation_writer import Algorithm, Segment, build_segmentation
from coronet.scoring.calcium_score import VESSELS
from coronet.scoring.counted_voxels import find_calcium
from coronet.scoring.score_distribution import LEVEL
from coronet.scoring.score_text import NOT_CALIBRATED

if TYPE_CHECKING:
    from pydicom.sr.coding import Code

    from coronet.scoring.predicted_masks import ModelOrigin
    from coronet.scoring.score_scan import ScanScore

SEGMENTATION, REPORT = "segmentation.dcm", "report.dcm"
_TOTAL = "Coronary calcium"


def write_dicom_results(found: ScanScore, folder: Path, *, anonymous: bool = False) -> Path:
    """Write ``segmentation.dcm`` and ``report.dcm`` together, and return the report's path.

    Args:
        found: the score of a DICOM series.
        folder: made where it is absent; other files in it stay.
        anonymous: write nothing of the patient, the order and the study but UIDs.

    Raises:
        InputError: the scan is no DICOM, or its files cannot be referred to.
    """
    if found.slices is None:
        raise InputError("The scan is no DICOM series, so no DICOM result can refer to its slices.")
    headers = found.slices.headers(anonymous=anonymous)
    origins = found.segmentation.models
    trained_on = origins["calcium"].trained_on
    segments = _segments(found)
    try:
        segmentation = build_segmentation(
            found.slices, headers, segments, description=codes.describe("Coronet masks", trained_on)
        )
        report = build_report(
            headers,
            segmentation,
            _groups(found, segments),
            texts=_texts(found),
            algorithm=_scorer(found),
            description=codes.describe("Coronet score", trained_on),
        )
        with filling(folder) as part:
            segmentation.save_as(part / SEGMENTATION)
            report.save_as(part / REPORT)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        # the library's text may quote the header, which names the patient
        raise InputError(
            "No DICOM result can be written: the scan's header holds what the standard does not allow "
            f"({type(error).__name__}). --anonymous leaves out patient and study."
        ) from None
    return folder / REPORT


def _network(name: str, origin: ModelOrigin) -> Algorithm:
    return Algorithm(
        f"Coronet {name} network",
        f"{origin.spec.release or 'own'}, weights {origin.weights_sha256[:12]}",
        {
            "weights_sha256": origin.weights_sha256,
            "fingerprint": origin.spec.fingerprint,
            "trained_on": origin.trained_on,
            "threshold": f"{origin.spec.params.threshold:g}",
        },
    )


def _scorer(found: ScanScore) -> Algorithm:
    """What measured: both networks and the rules of the score."""
    protocol = found.result.protocol
    parameters = {"protocol": protocol.name, "method": found.result.method, "rules": protocol.source}
    for name, origin in found.segmentation.models.items():
        network = _network(name, origin)
        parameters[f"{name} network"] = f"{network.version}, trained on {origin.trained_on}"
        parameters[f"{name} network weights sha256"] = origin.weights_sha256
        parameters[f"{name} network fingerprint"] = origin.spec.fingerprint
    return Algorithm("Coronet calcium score", version("coronet"), parameters)


def _segments(found: ScanScore) -> list[Segment]:
    """Heart, calcium, and each vessel that holds any."""
    import highdicom

    networks = {name: _network(name, origin) for name, origin in found.segmentation.models.items()}
    heart = Segment(
        "Heart", codes.STRUCTURE, codes.HEART, found.masks.heart, networks["heart"], highdicom.UID()
    )
    calcium = Segment(
        "Calcium",
        codes.ALTERED,
        codes.CALCIFICATION,
        found.masks.calcium,
        networks["calcium"],
        highdicom.UID(),
        codes.CORONARY_ARTERIES,
    )
    labels = found.vessel_labels
    vessels = {} if labels is None else {name: labels == value for value, name in VESSELS.items()}
    return [
        heart,
        calcium,
        *(
            dataclasses.replace(
                calcium,
                label=f"Calcium {name}",
                mask=mask,
                uid=highdicom.UID(),
                region=codes.VESSELS[name],
            )
            for name, mask in vessels.items()
            if mask.any()
        ),
    ]


def _groups(found: ScanScore, segments: list[Segment]) -> list[Group]:
    import highdicom

    numbered = {item.label: (number, item.uid) for number, item in enumerate(segments, start=1)}
    number, uid = numbered["Calcium"]
    groups = [
        Group(_TOTAL, uid, number, codes.CORONARY_ARTERIES, tuple(_total(found)), dict(_answers(found)))
    ]
    for name, measured in _vessels(found).items():
        label = f"Calcium {name}"
        place, identity = numbered.get(label, (None, ""))
        groups.append(Group(label, identity or highdicom.UID(), place, codes.VESSELS[name], measured, {}))
    return groups


def _total(found: ScanScore) -> list[Number]:
    result, scores = found.result, found.result.scores
    numbers = _measured(scores.agatston, scores.volume_mm3, scores.mass_mg)
    numbers.append(Number(codes.SCORE, scores.volume_weighted, codes.MM3, codes.WEIGHTED_METHOD))
    if result.protocol.threshold_hu is not None:
        numbers.append(Number(codes.THRESHOLD, result.protocol.threshold_hu, codes.HU))
    if (sure := found.uncertainty) is None:
        return numbers
    weighted = sure.method == "volume_weighted"
    unit = codes.MM3 if weighted else codes.NO_UNIT
    method = codes.WEIGHTED_METHOD if weighted else codes.AGATSTON_METHOD
    bounds = {"lower bound": sure.low, "median": sure.median, "upper bound": sure.high}
    for name, value in bounds.items():
        meaning = f"Calcium score, {name} of its {LEVEL:.0%} interval"
        if name == "median":
            meaning = "Calcium score, median of its distribution"
        numbers.append(Number(codes.own(name.replace(" ", "-"), meaning), value, unit, method))
    for preset, groups in sure.groups.items():
        for index, (label, chance) in enumerate(groups.items()):
            concept = codes.own(f"p-{preset}-{index}", f"Probability of risk group {label} ({preset})")
            numbers.append(Number(concept, 100 * chance, codes.PERCENT))
    return numbers


def _measured(agatston: float, volume_mm3: float, mass_mg: float | None) -> list[Number]:
    numbers = [
        Number(codes.SCORE, agatston, codes.NO_UNIT, codes.AGATSTON_METHOD),
        Number(codes.VOLUME, volume_mm3, codes.MM3, codes.VOLUME_METHOD),
    ]
    if mass_mg is not None:
        numbers.append(Number(codes.MASS, mass_mg, codes.MG, codes.MASS_METHOD))
    return numbers


def _answers(found: ScanScore) -> list[tuple[Code, Code]]:
    """Risk group by each preset; its label is both code and meaning."""
    return [
        (codes.own(f"group-{preset}", f"Calcium risk group ({preset})"), codes.own(label, label))
        for preset, label in found.result.groups.items()
    ]


def _vessels(found: ScanScore) -> dict[str, tuple[Number, ...]]:
    """Score, volume and mass of each vessel; empty where no vessel is known."""
    result, labels = found.result, found.vessel_labels
    if labels is None or result.vessels is None:
        return {}
    calcium = find_calcium(found.ct, labels, result.protocol)
    total = float(calcium.hu.sum())
    measured = {}
    for value, name in VESSELS.items():
        inside = calcium.label == value
        # mass is the sum of HU with one factor for the whole scan
        mass = result.scores.mass_mg
        share = float(np.sum(calcium.hu, where=inside)) / total if total else 0.0
        measured[name] = tuple(
            _measured(
                result.vessels[name],
                float(np.count_nonzero(inside)) * calcium.voxel_mm3,
                None if mass is None else mass * share,
            )
        )
    return measured


def _texts(found: ScanScore) -> list[str]:
    """What must be read beside the numbers."""
    unfit = [text for flag, text in found.warnings.items() if flag in UNFIT]
    others = [text for flag, text in found.warnings.items() if flag not in UNFIT]
    threshold = found.result.protocol.threshold_hu
    return [
        codes.INTENDED_USE,
        *found.statement.lines,
        f"Protocol {found.result.protocol.name}: {found.result.protocol.source}.",
        *(["No threshold: every voxel of the mask counts."] if threshold is None else []),
        *([f"Uncertainty: {NOT_CALIBRATED}."] if found.uncertainty is None else []),
        *(f"Scored by --force although the scan does not suit: {text}." for text in unfit),
        *(f"Beware: {text}." for text in others),
    ]
