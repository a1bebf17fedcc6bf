"""The section of the cohort's page on how sure scores are: reliability diagrams, coverage of intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coronet.files import read_json
from coronet.networks.calibration import CALIBRATION
from coronet.report import charts
from coronet.report.html_page import Figure, number


@dataclasses.dataclass(frozen=True)
class CertaintySection:
    """What the section shows; ``reason`` alone where there are no intervals."""

    reason: str = ""
    figures: tuple[Figure, ...] = ()
    diagrams: tuple[tuple[str, str], ...] = ()  # title and drawing


def certainty_section(build: Path, found: Mapping[str, Any] | None) -> CertaintySection:
    """Gather the section.

    Args:
        build: results of the stages; ``calcium/calibration.json`` among them.
        found: ``certainty`` of ``scores/metrics.json``; None where the network was not calibrated.
    """
    path = build / "calcium" / CALIBRATION
    calibration = read_json(path) if path.exists() else {}
    if found is None or not calibration.get("fitted"):
        return CertaintySection(reason=calibration.get("reason", "there is no calibration"))
    interval, groups = found["interval"], found["groups"]
    tune, test = calibration, found
    return CertaintySection(
        figures=(
            Figure(
                "90 % interval holds the reference",
                f"{interval['covered']} of {interval['cases']}",
                f"median width {number(interval['median_width'])}, repeatability limit of two scans "
                f"{number(interval['median_limit'])}",
            ),
            Figure(
                "90 % set of risk groups holds the reference",
                f"{groups['held']} of {interval['cases']}",
                f"{groups['sure']} sets are one group, {groups['sure_and_right']} of these right",
            ),
            Figure("Brier score, test", *_pair(test, "brier")),
            Figure("Calibration error, test", *_pair(test, "error")),
            Figure("Calibration error, tune", *_pair(tune, "error")),
            Figure(
                "Lesions that are no candidate",
                str(found["missed"]["lesions"]),
                f"on test scans; {calibration['missed_per_scan']:.2f} a scan are expected",
            ),
        ),
        diagrams=(
            (f"Tune patients, {tune['calibrated']['candidates']} candidates", _diagram(tune, "tune")),
            (f"Test patients, {test['calibrated']['candidates']} candidates", _diagram(test, "test")),
        ),
    )


def _pair(found: Mapping[str, Any], name: str) -> tuple[str, str]:
    return number(found["calibrated"][name], 3), f"{number(found['network'][name], 3)} of the network's own"


def _diagram(found: Mapping[str, Any], part: str) -> str:
    bins = {
        name: [(item["predicted"], item["observed"], item["candidates"]) for item in found[key]["bins"]]
        for name, key in (("calibrated", "calibrated"), ("network", "network"))
    }
    return charts.reliability_chart(bins, title=f"reliability on {part} patients")
