"""Ranges of phantoms' traits: those of patients, and far wider ones for networks that must transfer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

_TABLE = """
# trait               patients'          wild
# pose and shape of the whole
turn_deg                  -4        4      -16       16
tilt_deg                  -3        3      -12       12
lean_deg                  -3        3      -10       10
width                    0.9      1.1     0.78      1.2
depth                   0.92     1.17     0.76     1.28
height                  0.92     1.08      0.8      1.2
elastic_mm                 2        6        0       15
squareness              0.15      0.5        0     0.75
# chest wall
fat_mm                     6       30        2       50
brawn_mm                  -4        7       -6       16
breast_mm                -45       55      -60       75
arms_down               -0.9      0.1     -0.7      0.3
kyphosis_mm                3       16       -5       30
scoliosis_mm              -5        5      -15       15
vertebra                0.92      1.1      0.8     1.25
rib_drop                0.85     1.15      0.6      1.4
# heart and mediastinum
heart                   0.87     1.09     0.78     1.22
heart_x                 0.94     1.06     0.86     1.16
heart_y                 0.94     1.06     0.86     1.16
heart_z                 1.02     1.14      0.9     1.24
heart_turn_deg            -6       22      -24       40
heart_tilt_deg           -12       12      -25       25
heart_nod_deg             -8        8      -22       22
heart_left_mm              8       24       -6       34
heart_gap_mm              -2       11       -6       26
heart_rise_mm             -6        8      -20       20
heart_sink_mm              8       22       -2       32
heart_top_mm             -14       -3      -14       -3
left_ventricle          0.92      1.1      0.8     1.25
right_ventricle         0.92      1.1      0.8     1.25
left_atrium             0.88     1.15     0.75     1.35
right_atrium             0.9     1.12     0.75      1.3
wall_mm                    8       13        5       20
epicardial_fat_mm          1        4        0        8
fat_pad_mm                 2       24        0       38
mediastinal_fat_mm       1.5        6      0.5       12
aorta                    0.9      1.2      0.7      1.6
# lungs and abdomen
dome_mm                  -10       14      -30       35
dome_lead_mm               2       20      -20       40
lung_vessels            0.85      1.2      0.6      1.7
effusion_mm              -60      -30     -120       30
lumps                      0        3        0        9
liver_left_mm             20       75        0      110
stomach                  0.7      1.2      0.5      1.5
stomach_gas             -0.2      0.6     -0.4      0.9
# intensities
fat_hu                  -115      -92     -140      -60
muscle_hu                 44       60       20       85
blood_hu                  32       46       15       75
myocardium_lead_hu         1        9      -15       22
liver_hu                  42       64       10       85
spleen_hu                 42       52       20       80
lung_hu                 -885     -800     -950     -600
marrow_hu                110      250       40      420
cortex_hu                380      700      220     1100
"""
"""Lowest and highest value of every trait. Lengths are in mm, angles in degrees, intensities in HU; sizes
without a unit are factors of an average adult's. Signs follow RAS+."""

_ROWS = [line.split() for line in _TABLE.splitlines() if line and not line.startswith("#")]
TRAITS = tuple(name for name, *_ in _ROWS)


@dataclasses.dataclass(frozen=True)
class Ranges:
    """Lowest and highest value of every trait; ``peaked`` makes values near the middle likelier."""

    limits: Mapping[str, tuple[float, float]]
    peaked: bool = True


REALISTIC = Ranges({name: (float(low), float(high)) for name, low, high, *_ in _ROWS})
"""Adults of screening programmes."""

WILD = Ranges({name: (float(low), float(high)) for name, *_, low, high in _ROWS}, peaked=False)
"""Anatomies beyond any patient's, so that a network learns hearts in general and not these ones."""

Traits = dataclasses.make_dataclass("Traits", [(name, float) for name in TRAITS], frozen=True)
"""One phantom's value of every trait."""


def draw_traits(rng: np.random.Generator, ranges: Ranges) -> Traits:
    """Draw every trait, in the order of the table."""
    values = {}
    for name in TRAITS:
        low, high = ranges.limits[name]
        place = float(rng.random())
        other = float(rng.random())
        if ranges.peaked:
            place = (place + other) / 2
        values[name] = round(low + (high - low) * place, 6)
    return Traits(**values)
