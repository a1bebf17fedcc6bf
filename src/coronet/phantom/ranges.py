"""How far phantoms may differ: what patients are like, and far beyond, for networks that must transfer."""

from __future__ import annotations

import dataclasses

import numpy as np

TraitRange = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Ranges:
    """Lowest and highest value of every trait of a phantom; the defaults are realistic.

    Lengths are in mm, angles in degrees, intensities in HU; sizes without a unit are factors of an average
    adult's. Signs follow RAS+.

    Attributes:
        peaked: whether values near the middle of a range are likelier than those at its ends.
    """

    peaked: bool = True
    # pose and shape of the whole
    turn_deg: TraitRange = (-4.0, 4.0)
    tilt_deg: TraitRange = (-3.0, 3.0)
    lean_deg: TraitRange = (-3.0, 3.0)
    width: TraitRange = (0.9, 1.1)
    depth: TraitRange = (0.92, 1.17)
    height: TraitRange = (0.92, 1.08)
    elastic_mm: TraitRange = (2.0, 6.0)
    squareness: TraitRange = (0.15, 0.5)
    # chest wall
    fat_mm: TraitRange = (6.0, 30.0)
    brawn_mm: TraitRange = (-4.0, 7.0)
    breast_mm: TraitRange = (-45.0, 55.0)
    arms_down: TraitRange = (-0.9, 0.1)
    kyphosis_mm: TraitRange = (3.0, 16.0)
    scoliosis_mm: TraitRange = (-5.0, 5.0)
    vertebra: TraitRange = (0.92, 1.1)
    rib_drop: TraitRange = (0.85, 1.15)
    # heart and mediastinum
    heart: TraitRange = (0.87, 1.09)
    heart_x: TraitRange = (0.94, 1.06)
    heart_y: TraitRange = (0.94, 1.06)
    heart_z: TraitRange = (1.02, 1.14)
    heart_turn_deg: TraitRange = (-6.0, 22.0)
    heart_tilt_deg: TraitRange = (-12.0, 12.0)
    heart_nod_deg: TraitRange = (-8.0, 8.0)
    heart_left_mm: TraitRange = (8.0, 24.0)
    heart_gap_mm: TraitRange = (-2.0, 11.0)
    heart_rise_mm: TraitRange = (-6.0, 8.0)
    heart_sink_mm: TraitRange = (8.0, 22.0)
    heart_top_mm: TraitRange = (-14.0, -3.0)
    left_ventricle: TraitRange = (0.92, 1.1)
    right_ventricle: TraitRange = (0.92, 1.1)
    left_atrium: TraitRange = (0.88, 1.15)
    right_atrium: TraitRange = (0.9, 1.12)
    wall_mm: TraitRange = (8.0, 13.0)
    epicardial_fat_mm: TraitRange = (1.0, 4.0)
    fat_pad_mm: TraitRange = (2.0, 24.0)
    mediastinal_fat_mm: TraitRange = (1.5, 6.0)
    aorta: TraitRange = (0.9, 1.2)
    # lungs and abdomen
    dome_mm: TraitRange = (-10.0, 14.0)
    dome_lead_mm: TraitRange = (2.0, 20.0)
    lung_vessels: TraitRange = (0.85, 1.2)
    effusion_mm: TraitRange = (-60.0, -30.0)
    lumps: TraitRange = (0.0, 3.0)
    liver_left_mm: TraitRange = (20.0, 75.0)
    stomach: TraitRange = (0.7, 1.2)
    stomach_gas: TraitRange = (-0.2, 0.6)
    # intensities
    fat_hu: TraitRange = (-115.0, -92.0)
    muscle_hu: TraitRange = (44.0, 60.0)
    blood_hu: TraitRange = (32.0, 46.0)
    myocardium_lead_hu: TraitRange = (1.0, 9.0)
    liver_hu: TraitRange = (42.0, 64.0)
    spleen_hu: TraitRange = (42.0, 52.0)
    lung_hu: TraitRange = (-885.0, -800.0)
    marrow_hu: TraitRange = (110.0, 250.0)
    cortex_hu: TraitRange = (380.0, 700.0)


REALISTIC = Ranges()
"""Adults as screening programmes see them."""

WILD = Ranges(
    peaked=False,
    turn_deg=(-16.0, 16.0),
    tilt_deg=(-12.0, 12.0),
    lean_deg=(-10.0, 10.0),
    width=(0.78, 1.2),
    depth=(0.76, 1.28),
    height=(0.8, 1.2),
    elastic_mm=(0.0, 15.0),
    squareness=(0.0, 0.75),
    fat_mm=(2.0, 50.0),
    brawn_mm=(-6.0, 16.0),
    breast_mm=(-60.0, 75.0),
    arms_down=(-0.7, 0.3),
    kyphosis_mm=(-5.0, 30.0),
    scoliosis_mm=(-15.0, 15.0),
    vertebra=(0.8, 1.25),
    rib_drop=(0.6, 1.4),
    heart=(0.78, 1.22),
    heart_x=(0.86, 1.16),
    heart_y=(0.86, 1.16),
    heart_z=(0.9, 1.24),
    heart_turn_deg=(-24.0, 40.0),
    heart_tilt_deg=(-25.0, 25.0),
    heart_nod_deg=(-22.0, 22.0),
    heart_left_mm=(-6.0, 34.0),
    heart_gap_mm=(-6.0, 26.0),
    heart_rise_mm=(-20.0, 20.0),
    heart_sink_mm=(-2.0, 32.0),
    heart_top_mm=(-14.0, -3.0),
    left_ventricle=(0.8, 1.25),
    right_ventricle=(0.8, 1.25),
    left_atrium=(0.75, 1.35),
    right_atrium=(0.75, 1.3),
    wall_mm=(5.0, 20.0),
    epicardial_fat_mm=(0.0, 8.0),
    fat_pad_mm=(0.0, 38.0),
    mediastinal_fat_mm=(0.5, 12.0),
    aorta=(0.7, 1.6),
    dome_mm=(-30.0, 35.0),
    dome_lead_mm=(-20.0, 40.0),
    lung_vessels=(0.6, 1.7),
    effusion_mm=(-120.0, 30.0),
    lumps=(0.0, 9.0),
    liver_left_mm=(0.0, 110.0),
    stomach=(0.5, 1.5),
    stomach_gas=(-0.4, 0.9),
    fat_hu=(-140.0, -60.0),
    muscle_hu=(20.0, 85.0),
    blood_hu=(15.0, 75.0),
    myocardium_lead_hu=(-15.0, 22.0),
    liver_hu=(10.0, 85.0),
    spleen_hu=(20.0, 80.0),
    lung_hu=(-950.0, -600.0),
    marrow_hu=(40.0, 420.0),
    cortex_hu=(220.0, 1100.0),
)
"""Anatomies beyond any patient's, so that a network learns what a heart is and not what ours look like."""

Traits = dataclasses.make_dataclass(
    "Traits",
    [(field.name, float) for field in dataclasses.fields(Ranges) if field.name != "peaked"],
    frozen=True,
)
"""One phantom's value of every trait of `Ranges`."""


def draw_traits(rng: np.random.Generator, ranges: Ranges) -> Traits:
    """Draw every trait, in the order of the fields of `Ranges`."""
    values = {}
    for field in dataclasses.fields(Traits):
        low, high = getattr(ranges, field.name)
        place = float(rng.random())
        other = float(rng.random())
        if ranges.peaked:
            place = (place + other) / 2
        values[field.name] = round(low + (high - low) * place, 6)
    return Traits(**values)
