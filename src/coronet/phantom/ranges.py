"""Ranges of phantoms' traits: those of patients, and far wider ones for networks that must transfer."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Annotated

import numpy as np


@dataclasses.dataclass(frozen=True)
class Traits:
    """One phantom's value of every trait, each with its lowest and highest value in patients and in the wild.

    Lengths are in mm, angles in degrees, intensities in HU; sizes without a unit are factors of an average
    adult's. Signs follow RAS+.
    """

    # pose and shape of the whole
    turn_deg: Annotated[float, (-4, 4), (-16, 16)]
    tilt_deg: Annotated[float, (-3, 3), (-12, 12)]
    lean_deg: Annotated[float, (-3, 3), (-10, 10)]
    width: Annotated[float, (0.9, 1.1), (0.78, 1.2)]
    depth: Annotated[float, (0.92, 1.17), (0.76, 1.28)]
    height: Annotated[float, (0.92, 1.08), (0.8, 1.2)]
    elastic_mm: Annotated[float, (2, 6), (0, 15)]
    squareness: Annotated[float, (0.15, 0.5), (0, 0.75)]
    # chest wall
    fat_mm: Annotated[float, (6, 30), (2, 50)]
    brawn_mm: Annotated[float, (-4, 7), (-6, 16)]
    breast_mm: Annotated[float, (-45, 55), (-60, 75)]
    arms_down: Annotated[float, (-0.9, 0.1), (-0.7, 0.3)]
    kyphosis_mm: Annotated[float, (3, 16), (-5, 30)]
    scoliosis_mm: Annotated[float, (-5, 5), (-15, 15)]
    vertebra: Annotated[float, (0.92, 1.1), (0.8, 1.25)]
    rib_drop: Annotated[float, (0.85, 1.15), (0.6, 1.4)]
    # heart and mediastinum
    heart: Annotated[float, (0.87, 1.09), (0.78, 1.22)]
    heart_x: Annotated[float, (0.94, 1.06), (0.86, 1.16)]
    heart_y: Annotated[float, (0.94, 1.06), (0.86, 1.16)]
    heart_z: Annotated[float, (1.02, 1.14), (0.9, 1.24)]
    heart_turn_deg: Annotated[float, (-6, 22), (-24, 40)]
    heart_tilt_deg: Annotated[float, (-12, 12), (-25, 25)]
    heart_nod_deg: Annotated[float, (-8, 8), (-22, 22)]
    heart_left_mm: Annotated[float, (8, 24), (-6, 34)]
    heart_gap_mm: Annotated[float, (-2, 11), (-6, 26)]
    heart_rise_mm: Annotated[float, (-6, 8), (-20, 20)]
    heart_sink_mm: Annotated[float, (8, 22), (-2, 32)]
    heart_top_mm: Annotated[float, (-14, -3), (-14, -3)]
    left_ventricle: Annotated[float, (0.92, 1.1), (0.8, 1.25)]
    right_ventricle: Annotated[float, (0.92, 1.1), (0.8, 1.25)]
    left_atrium: Annotated[float, (0.88, 1.15), (0.75, 1.35)]
    right_atrium: Annotated[float, (0.9, 1.12), (0.75, 1.3)]
    wall_mm: Annotated[float, (8, 13), (5, 20)]
    epicardial_fat_mm: Annotated[float, (1, 4), (0, 8)]
    fat_pad_mm: Annotated[float, (2, 24), (0, 38)]
    mediastinal_fat_mm: Annotated[float, (1.5, 6), (0.5, 12)]
    aorta: Annotated[float, (0.9, 1.2), (0.7, 1.6)]
    # lungs and abdomen
    dome_mm: Annotated[float, (-10, 14), (-30, 35)]
    dome_lead_mm: Annotated[float, (2, 20), (-20, 40)]
    lung_vessels: Annotated[float, (0.85, 1.2), (0.6, 1.7)]
    effusion_mm: Annotated[float, (-60, -30), (-120, 30)]
    lumps: Annotated[float, (0, 3), (0, 9)]
    liver_left_mm: Annotated[float, (20, 75), (0, 110)]
    stomach: Annotated[float, (0.7, 1.2), (0.5, 1.5)]
    stomach_gas: Annotated[float, (-0.2, 0.6), (-0.4, 0.9)]
    # intensities
    fat_hu: Annotated[float, (-115, -92), (-140, -60)]
    muscle_hu: Annotated[float, (44, 60), (20, 85)]
    blood_hu: Annotated[float, (32, 46), (15, 75)]
    myocardium_lead_hu: Annotated[float, (1, 9), (-15, 22)]
    liver_hu: Annotated[float, (42, 64), (10, 85)]
    spleen_hu: Annotated[float, (42, 52), (20, 80)]
    lung_hu: Annotated[float, (-885, -800), (-950, -600)]
    marrow_hu: Annotated[float, (110, 250), (40, 420)]
    cortex_hu: Annotated[float, (380, 700), (220, 1100)]


@dataclasses.dataclass(frozen=True)
class Ranges:
    """Lowest and highest value of every trait; ``peaked`` makes values near the middle likelier."""

    limits: Mapping[str, tuple[float, float]]
    peaked: bool = True


def _limits(column: int) -> dict[str, tuple[float, float]]:
    hints = typing.get_type_hints(Traits, include_extras=True)
    rows = {name: hint.__metadata__[column] for name, hint in hints.items()}
    return {name: (float(low), float(high)) for name, (low, high) in rows.items()}


REALISTIC = Ranges(_limits(0))  # adults of screening programmes

WILD = Ranges(_limits(1), peaked=False)
"""Anatomies beyond any patient's, so that a network learns hearts in general and not these ones."""

WILD_COHORT = Ranges(
    {
        **WILD.limits,
        "heart": (0.84, 1.1),
        "heart_x": (0.9, 1.1),
        "heart_y": (0.9, 1.1),
        "heart_z": (0.96, 1.18),
        "left_atrium": (0.8, 1.25),
        "right_atrium": (0.85, 1.2),
        "epicardial_fat_mm": (0.0, 6.0),
    },
    peaked=False,
)
"""The same with hearts of a size that `coronet.dataset.heart_check` takes for one: others train nothing."""


def draw_traits(rng: np.random.Generator, ranges: Ranges) -> Traits:
    """Draw every trait, in the order of their definition."""
    values = {}
    for name in REALISTIC.limits:
        low, high = ranges.limits[name]
        place = float(rng.random())
        other = float(rng.random())
        if ranges.peaked:
            place = (place + other) / 2
        values[name] = round(low + (high - low) * place, 6)
    return Traits(**values)
