"""What figures on test scans mean: kind and number of the scans, limits of phantoms, the gate's floors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from coronet.config import MODELS
from coronet.config.floors import FLOOR_WORDS, NETWORK_FLOORS, SCORE_FLOORS, Floor
from coronet.files import read_json
from coronet.networks.quality import network_figures, score_figures
from coronet.text import counted

PHANTOM_LIMITS = (
    "Phantoms have stents, calcified valves, pacemaker leads and plaques smeared by motion; they lack "
    "breathing, contrast agent, scatter, true beam hardening and most diseases of the lungs, and their "
    "shapes and rates follow the literature, not measured patients."
)
"""For model cards of networks that learned from phantoms."""
_FEW = 30  # fewer test scans than this leave every figure a wide interval


def describe_test_set(sources: Mapping[str, int]) -> tuple[str, str]:
    """A title and a sentence on what the test scans are.

    Args:
        sources: how many test scans are of each source; empty where that is not recorded.
    """
    count, phantoms = sum(sources.values()), sources.get("phantom", 0)
    all_of_them = "The test scan is a phantom" if count == 1 else f"All {count} test scans are phantoms"
    if not count:
        return "Unknown test scans.", (
            "It is not recorded whether the test scans are phantoms; `dvc repro score` records it."
        )
    if phantoms == count:
        return "Synthetic data.", (
            f"{all_of_them}: synthetic. The figures show that the machinery works from end to end; they say "
            "nothing about patients."
        )
    if phantoms:
        return "Partly synthetic data.", (
            f"{phantoms} of the {count} test scans are synthetic phantoms; on those the figures say nothing "
            "about patients."
        )
    scans = counted(count, "test scan")
    if count < _FEW:
        return "Few test scans.", (
            f"The figures are of {scans}, none of them a phantom; with so few, other scans may give quite "
            "other figures."
        )
    return "Test scans.", f"The figures are of {scans}, none of them a phantom."


def describe_floors(build: Path) -> str:
    """Which of the gate's default floors the results in ``build`` miss; empty where none is."""
    found = []
    for model in MODELS:
        path = build / model / "evaluation" / "metrics.json"
        if path.exists():
            found += missed_floors(NETWORK_FLOORS[model], network_figures(model, read_json(path)))
    path = build / "scores" / "metrics.json"
    if path.exists():
        found += missed_floors(SCORE_FLOORS, score_figures(read_json(path)))
    return f"Below the default floors of the gate: {', '.join(found)}." if found else ""


def missed_floors(floors: tuple[Floor, ...], figures: Mapping[str, float | None]) -> list[str]:
    """Each figure that misses its floor, with what is wanted."""
    return [
        f"{FLOOR_WORDS[floor.name]} {figures[floor.name]:.3g} ({floor.key} wants {floor.text})"
        for floor in floors
        if floor.holds(figures[floor.name]) is False
    ]
