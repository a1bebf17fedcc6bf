"""A score as lines of text: the number, its risk group, how sure it is, and the lesions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from coronet.imaging.slice_names import slice_span
from coronet.io.scan_facts import ScanFacts
from coronet.scoring.calcium_score import ScoreResult
from coronet.scoring.score_distribution import LEVEL

if TYPE_CHECKING:
    from coronet.scoring.uncertainty import ScoreUncertainty

TUBE_VOLTAGE = "tube_voltage"
"""Warning of a scan at another tube voltage than 120 kV."""
_USUAL_KV = 120.0
_UNITS = {"volume_weighted": " mm³", "volume": " mm³", "mass": " mg"}


NOT_CALIBRATED = "no interval, since the calcium network is not calibrated"


def score_lines(
    result: ScoreResult,
    preset: str,
    *,
    uncertainty: ScoreUncertainty | None = None,
    networks: bool = False,
    vessel_chances: Sequence[float] | None = None,
) -> list[str]:
    """A score as text, with the risk group by ``preset``.

    Args:
        result: the score.
        preset: of the risk group.
        uncertainty: of the score, where it is known.
        networks: whether networks found the calcium, so that no word of uncertainty needs a reason.
        vessel_chances: of each lesion, that it lies in its vessel; None where a reader named it.
    """
    scores = result.scores
    chances = uncertainty.lesions if uncertainty else (None,) * len(result.lesions)
    mass = "" if scores.mass_mg is None else f", mass {scores.mass_mg:.2f} mg"
    lines = [
        f"{result.method.replace('_', ' ')} {result.value:.1f}{_UNITS.get(result.method, '')} by protocol "
        f"{result.protocol.name}; group {result.groups[preset]} ({preset})",
        *uncertainty_lines(uncertainty, preset, networks=networks),
        f"agatston {scores.agatston:.1f}, weighted volume {scores.volume_weighted:.1f} mm³, "
        f"volume {scores.volume_mm3:.1f} mm³{mass}",
    ]
    if result.vessels is not None:
        lines.append(", ".join(f"{vessel} {score:.1f}" for vessel, score in result.vessels.items()))
    sure = vessel_chances or (None,) * len(result.lesions)
    for lesion, chance, certain in zip(result.lesions, chances, sure, strict=True):
        vessel = f", {lesion.vessel}" if lesion.vessel else ""
        vessel += "" if certain is None else f" ({certain:.0%} sure)"
        vessel += "" if chance is None else f", probability {chance:.2f}"
        lines.append(
            f"lesion {lesion.number}: agatston {lesion.agatston:.1f}, {lesion.volume_mm3:.1f} mm³, highest "
            f"{lesion.peak_hu:.0f} HU, slices {slice_span(*lesion.slices)}{vessel}"
        )
    return lines


def uncertainty_lines(uncertainty: ScoreUncertainty | None, preset: str, *, networks: bool) -> list[str]:
    """How sure a score is, as text; of an expert's mask nothing."""
    if uncertainty is None:
        return [f"uncertainty: {NOT_CALIBRATED}"] if networks else []
    groups = ", ".join(f"{label} {chance:.0%}" for label, chance in uncertainty.groups[preset].items())
    method = uncertainty.method.replace("_", " ")
    doubted = [item for item in uncertainty.doubted if item.probability >= 0.1]
    lines = [
        f"uncertainty: {method} {uncertainty.low:.1f} to {uncertainty.high:.1f} "
        f"({LEVEL:.0%} interval); group {groups}"
    ]
    if doubted:
        names = ", ".join(f"{item.agatston:.1f} with probability {item.probability:.2f}" for item in doubted)
        lines.append(f"not counted, but may be calcium: {names}")
    return lines


def warning_lines(warnings: Mapping[str, str]) -> list[str]:
    """Warnings as sentences to print below a score."""
    return [f"Beware: {text}." for text in warnings.values()]


def voltage_warnings(facts: ScanFacts) -> dict[str, str]:
    """The warning of a scan at another tube voltage than 120 kV; empty where the voltage is not known."""
    if facts.tube_kv in (None, _USUAL_KV):
        return {}
    return {
        TUBE_VOLTAGE: f"the scan was made at {facts.tube_kv:g} kV; 130 HU and the weights hold for "
        f"{_USUAL_KV:g} kV"
    }


def facts_json(facts: ScanFacts) -> dict[str, Any]:
    """What ``score.json`` repeats of a scan's header."""
    return {"source": facts.source, "kernel": facts.kernel, "tube_kv": facts.tube_kv}
