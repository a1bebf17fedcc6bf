"""How calcium is turned into a number: every choice that published systems make differently, in one place.

A `Protocol` is applied to voxels of a calcium mask on the scan's own grid, slices along z (axial). Ours is
Agatston et al., J Am Coll Cardiol 1990;15:827, with the choices that the original leaves open written down;
the others reproduce what published programs do with the same mask. None of them resamples the scan.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from coronet.errors import ParamsError
from coronet.text import nearest

_PARTS = ("slice", "lesion slice", "lesion")
_SLICE_FACTORS = ("spacing", "thickness", "none")
_CONNECTIVITY = {"slice": (4, 8), "lesion slice": (6, 18, 26), "lesion": (6, 18, 26)}
_WEIGHTS = ((130.0, 1.0), (200.0, 2.0), (300.0, 3.0), (400.0, 4.0))


@dataclasses.dataclass(frozen=True)
class Protocol:
    """One way to score a calcium mask.

    A *lesion* is a connected component in three dimensions. A *part* is the set of voxels that share one
    highest HU, and so one weight, in the Agatston score; the minimum size applies to parts.

    Attributes:
        name: key in `PROTOCOLS`.
        source: where the rules were published or read.
        threshold_hu: voxels of the mask under it never count; None counts the mask as it is.
        strict: the threshold itself does not count (``>`` in place of ``≥``).
        weights: (lowest HU, weight) with rising HU; each holds up to the next, half-open.
        part: ``slice`` (a 2-D component of an axial slice), ``lesion slice`` (what a lesion has in one
            slice, in one piece or not) or ``lesion``.
        connectivity: 4 or 8 neighbours for ``slice``, else 6, 18 or 26.
        least_area_mm2: parts with a smaller area score nothing.
        least_voxels: parts with fewer voxels score nothing.
        slice_factor: ``spacing`` (distance of slice centres / ``reference_mm``), ``thickness`` (nominal
            slice thickness / ``reference_mm``; the spacing where no thickness is known) or ``none`` (1).
        reference_mm: the slice spacing at which the factor is 1.
        voxel_decimals: decimals that the score of one voxel of weight 1 is rounded to; None keeps all.
        part_decimals: decimals that the score of one part is rounded to; None keeps all.
    """

    name: str
    source: str
    threshold_hu: float | None = 130.0
    strict: bool = False
    weights: tuple[tuple[float, float], ...] = _WEIGHTS
    part: str = "slice"
    connectivity: int = 8
    least_area_mm2: float = 1.0
    least_voxels: int = 1
    slice_factor: str = "spacing"
    reference_mm: float = 3.0
    voxel_decimals: int | None = None
    part_decimals: int | None = None

    def __post_init__(self) -> None:
        if self.part not in _PARTS or self.slice_factor not in _SLICE_FACTORS:
            raise ParamsError(
                f'Protocol "{self.name}": part is one of {_PARTS} and slice_factor one of {_SLICE_FACTORS}, '
                f'not "{self.part}" and "{self.slice_factor}".'
            )
        if self.connectivity not in _CONNECTIVITY[self.part]:
            raise ParamsError(
                f'Protocol "{self.name}": parts of kind "{self.part}" have a connectivity of '
                f"{_CONNECTIVITY[self.part]}, not {self.connectivity}."
            )
        bounds = [bound for bound, _ in self.weights]
        if not bounds or bounds != sorted(set(bounds)):
            raise ParamsError(
                f'Protocol "{self.name}": weights must be listed with rising HU, each bound once.'
            )
        if not (self.reference_mm > 0 and math.isfinite(self.reference_mm)):
            raise ParamsError(f'Protocol "{self.name}": reference_mm must be above 0.')

    @property
    def lesion_connectivity(self) -> int:
        """Neighbours of a voxel within a lesion; every part lies in exactly one lesion."""
        return {4: 6, 8: 26}.get(self.connectivity, self.connectivity)

    def counts(self, hu: np.ndarray) -> np.ndarray:
        """Which voxels of a mask count, by their HU; any shape, boolean result."""
        if self.threshold_hu is None:
            return np.ones(hu.shape, dtype=bool)
        return hu > self.threshold_hu if self.strict else hu >= self.threshold_hu

    def weight(self, peak_hu: np.ndarray) -> np.ndarray:
        """Weights of the highest HU; any shape, 0 under the first bound."""
        bounds, weights = np.array(self.weights, dtype=np.float64).T
        return np.concatenate([[0.0], weights])[np.searchsorted(bounds, peak_hu, side="right")]

    def factor(self, slice_spacing_mm: float, slice_thickness_mm: float | None = None) -> float:
        """What a part's area is multiplied with for the distance of slices."""
        if self.slice_factor == "none":
            return 1.0
        if self.slice_factor == "thickness" and slice_thickness_mm is not None:
            return slice_thickness_mm / self.reference_mm
        return slice_spacing_mm / self.reference_mm


PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            Protocol(
                name="coronet",
                source="Agatston 1990; slice spacing / 3 mm; components of at least 1 mm²",
            ),
            Protocol(
                name="deepcac",
                source="Zeleznik 2021, github.com/AIM-Harvard/DeepCAC, step 4",
                threshold_hu=None,
                least_area_mm2=0.0,
                least_voxels=4,
                voxel_decimals=3,
                part_decimals=3,
            ),
            Protocol(
                name="ai-cac",
                source="Hagopian 2024, github.com/Raffi-Hagopian/AI-CAC, processing.py",
                threshold_hu=None,
                part="lesion",
                connectivity=6,
                least_area_mm2=0.0,
                least_voxels=2,
                slice_factor="thickness",
                part_decimals=0,
            ),
            Protocol(
                name="orcascore",
                source="orCaScore challenge, Wolterink 2016: lesions above 130 HU, 3-D, 6 neighbours",
                strict=True,
                part="lesion slice",
                connectivity=6,
                least_area_mm2=0.0,
            ),
            Protocol(
                name="molloi",
                source="CalciumScoring.jl at 120 kV: above 378·exp(−0.009·kV) HU, no slice correction",
                threshold_hu=128.0,
                strict=True,
                weights=((128.0, 1.0), (199.0, 2.0), (299.0, 3.0), (399.0, 4.0)),
                slice_factor="none",
            ),
        )
    }
)


def find_protocol(name: str | Protocol) -> Protocol:
    """The preset called ``name``; a protocol is returned as it is.

    Raises:
        ParamsError: there is none; the nearest name is given.
    """
    if isinstance(name, Protocol):
        return name
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    raise ParamsError(
        f'There is no scoring protocol "{name}"{nearest(name, PROTOCOLS)} ({", ".join(PROTOCOLS)} are known).'
    )
