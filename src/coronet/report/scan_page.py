"""The page of one scan: score, how sure it is, pictures, lesions, and the models that made the masks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from coronet.dataset.quality_flags import UNFIT
from coronet.report.case_views import by_vessel, case_pictures
from coronet.report.html_page import Figure, network_facts, number, readable, write_page
from coronet.scoring.counted_voxels import find_calcium
from coronet.scoring.lesions import places_in_heart
from coronet.scoring.risk_groups import PRESETS
from coronet.scoring.score_distribution import LEVEL
from coronet.scoring.score_scan import ScanScore
from coronet.scoring.score_text import NOT_CALIBRATED
from coronet.scoring.uncertainty import DoubtedLesion

_PAGE = "index.html"
_AXIAL_SLICES = 6
_PRESET_NAMES = {
    "paper": "Published method",
    "aha": "ACC/AHA",
    "five": "Rumberger, five groups",
    "cac-drs": "CAC-DRS",
}


@dataclasses.dataclass(frozen=True)
class Notice:
    """A warning beside the score; ``grave`` where the score must not be trusted."""

    title: str
    text: str
    grave: bool


@dataclasses.dataclass(frozen=True)
class Rung:
    """One risk group of a preset."""

    label: str
    state: str  # ``here``, ``possible`` or empty
    probability: float | None  # None where it is not known


def write_scan_result(folder: Path, scored: ScanScore) -> None:
    """Write masks, ``score.json`` and the page into ``folder``."""
    scored.save(folder)
    # the page holds no identifier, file name or path
    calcium = by_vessel(scored.masks.calcium.astype(np.uint8))
    names = {"calcium": "calcium"} | {name: name.upper() for name in ("lm", "lad", "lcx", "rca")}
    write_page(
        Path(folder) / _PAGE,
        "scan.html.j2",
        agatston=scored.result.scores.agatston,
        interval=_interval(scored),
        statement=scored.statement,
        notices=_notices(scored),
        risk_groups=_risk_groups(scored),
        figures=_figures(scored),
        legend=(("heart", "heart"), *((kind, names[kind]) for kind in calcium)),
        pictures=case_pictures(
            scored.ct, scored.masks.heart, calcium=calcium, count=_AXIAL_SLICES, numbers=_numbers(scored)
        ),
        vessels=scored.result.vessels,
        lesions=tuple(
            zip(
                scored.result.lesions,
                scored.places,
                _probabilities(scored),
                scored.vessel_chances or (None,) * len(scored.places),
                strict=True,
            )
        ),
        doubted=_doubted(scored),
        origin=_origin(scored),
    )


def _interval(scored: ScanScore) -> str:
    found = scored.uncertainty
    if found is None:
        return NOT_CALIBRATED
    return f"{number(found.low)} to {number(found.high)} with a probability of {LEVEL:.0%}"


def _probabilities(scored: ScanScore) -> tuple[float | None, ...]:
    """Of each lesion; None where they are not known."""
    known = scored.uncertainty
    return known.lesions if known else (None,) * len(scored.result.lesions)


def _doubted(scored: ScanScore) -> tuple[tuple[DoubtedLesion, str], ...]:
    """Candidates that are not counted but may be calcium, and where they lie in the heart."""
    doubted = scored.uncertainty.doubted if scored.uncertainty else ()
    places = places_in_heart([lesion.centre_voxel for lesion in doubted], scored.masks.heart)
    return tuple(zip(doubted, places, strict=True))


def _notices(scored: ScanScore) -> tuple[Notice, ...]:
    notices = []
    for flag, reason in scored.warnings.items():
        title = "Scored by force." if flag in UNFIT else "With care."
        notices.append(Notice(title, f"{reason[0].upper()}{reason[1:]}.", grave=flag in UNFIT))
    known = scored.uncertainty
    unsure = [_PRESET_NAMES[name] for name in PRESETS if known and not known.sure(name)]
    if unsure:
        text = f"No single group has a probability of {LEVEL:.0%} ({', '.join(unsure)})."
        notices.append(Notice("More than one risk group is possible.", text, grave=False))
    return tuple(notices)


def _risk_groups(scored: ScanScore) -> dict[str, tuple[Rung, ...]]:
    """Risk groups by preset: the score's own is ``here``, others of the likely ones are ``possible``."""
    known, groups = scored.uncertainty, {}
    for name, preset in PRESETS.items():
        # CAC-DRS appends the number of vessels to its label
        own = scored.result.groups[name].split("/")[0]
        likely = known.likely[name] if known else ()
        groups[_PRESET_NAMES[name]] = tuple(
            Rung(
                readable(label),
                "here" if label == own else "possible" if label in likely else "",
                known.groups[name][label] if known else None,
            )
            for label in preset.labels
        )
    return groups


def _figures(scored: ScanScore) -> tuple[Figure, ...]:
    scores, protocol = scored.result.scores, scored.result.protocol
    counted = sum(lesion.agatston > 0 for lesion in scored.result.lesions)
    small = len(scored.result.lesions) - counted
    note = (
        f"and {small} too small to count" if small else f"of at least {protocol.least_area_mm2:g} mm² a slice"
    )
    figures = [
        Figure("lesions", str(counted), note),
        Figure("volume", number(scores.volume_mm3), "at or above 130 HU", "mm³"),
        Figure("weighted volume", number(scores.volume_weighted), "volume × weight of the highest HU", "mm³"),
        Figure("heart", number(scored.segmentation.heart_ml), "as outlined below", "ml"),
    ]
    if scores.mass_mg is not None:
        figures.append(Figure("mass", number(scores.mass_mg, 1), "with the calibration factor given", "mg"))
    return tuple(figures)


def _numbers(scored: ScanScore) -> np.ndarray:
    """Lesion numbers on the scan's grid; lesions are separated as the score does."""
    calcium = find_calcium(scored.ct, scored.masks.calcium, scored.result.protocol)
    centres = np.array([lesion.centre_voxel for lesion in scored.result.lesions])
    numbers = np.zeros(scored.ct.shape, dtype=np.int32)
    for part in range(calcium.lesions):
        index = calcium.index[calcium.lesion == part]
        nearest = np.abs(centres - index.mean(axis=0)).sum(axis=1).argmin()
        numbers[tuple(index.T)] = scored.result.lesions[nearest].number
    return numbers


def _origin(scored: ScanScore) -> tuple[tuple[str, str], ...]:
    rows = []
    for name, origin in scored.segmentation.models.items():
        spec = origin.spec
        encoder = spec.params.network.encoder
        rows += network_facts(name, encoder, spec.cases, spec.fingerprint, origin.weights_sha256)
    protocol, facts = scored.result.protocol, scored.facts
    voxels = " × ".join(str(size) for size in scored.ct.shape)
    spacing = " × ".join(f"{value:.2f}" for value in scored.ct.spacing_mm)
    rows += [
        ("Protocol", f"{protocol.name}: {protocol.source}"),
        ("Scan", f"{voxels} voxels of {spacing} mm, from {facts.source}"),
    ]
    if facts.kernel:
        rows.append(("Kernel", facts.kernel))
    if facts.tube_kv:
        rows.append(("Tube voltage", f"{facts.tube_kv:g} kV"))
    return tuple(rows)
