"""A score as lines of text: the number, its risk group, its uncertainty and the lesions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coronet.imaging.slice_names import slice_span
from coronet.io.scan_facts import ScanFacts
from coronet.scoring.calcium_score import ScoreResult
from coronet.scoring.uncertainty import Intervals

_USUAL_KV = 120.0
_UNITS = {"volume_weighted": " mm³", "volume": " mm³", "mass": " mg"}


def score_lines(result: ScoreResult, spread: Intervals, preset: str) -> list[str]:
    """A score as text, with the risk group by ``preset``."""
    scores = result.scores
    graded = spread.method.replace("_", " ")
    changes = "moved by one voxel"
    if spread.at_threshold:
        low, high = spread.at_threshold[0][0], spread.at_threshold[-1][0]
        changes = f"cut at a probability from {low:g} to {high:g} or {changes}"
    groups = spread.groups[preset]
    mass = "" if scores.mass_mg is None else f", mass {scores.mass_mg:.2f} mg"
    lines = [
        f"{result.method.replace('_', ' ')} {result.value:.1f}{_UNITS.get(result.method, '')} by protocol "
        f"{result.protocol.name}; group {result.groups[preset]} ({preset})",
        f"uncertainty: {graded} {spread.low:.1f} to {spread.high:.1f} if the mask is {changes}; "
        + ("the group stays the same" if len(groups) == 1 else f"the group could be {' or '.join(groups)}"),
        f"agatston {scores.agatston:.1f}, weighted volume {scores.volume_weighted:.1f} mm³, "
        f"volume {scores.volume_mm3:.1f} mm³{mass}",
    ]
    if result.vessels is not None:
        lines.append(", ".join(f"{vessel} {score:.1f}" for vessel, score in result.vessels.items()))
    for lesion in result.lesions:
        vessel = f", {lesion.vessel}" if lesion.vessel else ""
        lines.append(
            f"lesion {lesion.number}: agatston {lesion.agatston:.1f}, {lesion.volume_mm3:.1f} mm³, highest "
            f"{lesion.peak_hu:.0f} HU, slices {slice_span(*lesion.slices)}{vessel}"
        )
    return lines


def warning_lines(warnings: Mapping[str, str]) -> list[str]:
    """Warnings as sentences to print below a score."""
    return [f"Beware: {text}." for text in warnings.values()]


def voltage_warnings(facts: ScanFacts) -> dict[str, str]:
    """The warning of a scan at another tube voltage than 120 kV; empty where the voltage is not known."""
    if facts.tube_kv in (None, _USUAL_KV):
        return {}
    return {
        "tube_voltage": f"the scan was made at {facts.tube_kv:g} kV; 130 HU and the weights hold for "
        f"{_USUAL_KV:g} kV"
    }


def facts_json(facts: ScanFacts) -> dict[str, Any]:
    """What ``score.json`` repeats of a scan's header."""
    return {"source": facts.source, "kernel": facts.kernel, "tube_kv": facts.tube_kv}
