"""Where the coronary arteries of a real scan may run: a phantom's courses, moved into the scan's own fat.

Without contrast agent an artery is soft tissue beside fat, in the grooves between the chambers. Each course
of a registered phantom is cut into stations; dynamic programming chooses an offset at right angles for each
of them, at most `REACH_MM`, so that the whole course lies in fat within the pericardium and bends little.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from coronet.imaging.resampling import box_grid, grid_of, margin_voxels, mask_box, regrid
from coronet.io.volume import AIR_HU, LUNG_HU, Volume
from coronet.phantom.curves import Tube, frame, lengths_along, norms, smooth
from coronet.real_backgrounds.registration import Registered

REACH_MM = 8.0
"""Farthest that a station is moved from where the phantom has it."""
_STATION_MM = 1.5
_FINE_MM = 1.0  # grid of the costs, and of the offsets
_MARGIN_MM = 14.0
_LUNG_GAP_MM = 3.5  # an artery and its fat keep this far from the lung
_RIM_MM = 2.0  # partial volume at the lung looks like fat
_BULGE_MM = 3.0  # how far outside the heart mask an artery may lie before it costs
_BRIGHT_HU = 150.0  # bone, or what else is no vessel
_TURN = 0.06  # cost of one offset step between neighbouring stations
_FADE_MM = 10.0  # over which a branch is led to the end of the left main artery
_BRANCHES = ("LAD", "LCX")


@dataclasses.dataclass(frozen=True)
class Course:
    """One artery in a scan.

    Attributes:
        tube: centre line and radii in the scan's mm.
        fat_share: mean share of fat around it, 0..1.
        moved_mm: mean distance from where the phantom had it.
    """

    tube: Tube
    fat_share: float
    moved_mm: float


@dataclasses.dataclass(frozen=True)
class GrooveMap:
    """What it costs an artery to lie at a place.

    Attributes:
        cost: (x, y, z) float32, 1 in soft tissue, near 0 in fat with a vessel in it.
        fat: (x, y, z) float32, share of fat around a place.
        affine: 4 × 4, of both.
    """

    cost: np.ndarray
    fat: np.ndarray
    affine: np.ndarray


def map_grooves(ct: Volume, heart: np.ndarray) -> GrooveMap:
    """Find the fat in which arteries run.

    Args:
        ct: axis-aligned, HU.
        heart: boolean, shape of ``ct``, not empty.
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    box = mask_box(heart, margin_voxels(_MARGIN_MM, ct.spacing_mm))
    if box is None:
        raise ValueError("the heart mask is empty")
    grid = box_grid(grid_of(ct), *box, (_FINE_MM,) * 3)
    hu = np.clip(regrid(ct, grid, fill=AIR_HU), AIR_HU, 300)
    inside = regrid(Volume(heart.astype(np.uint8), ct.affine), grid) >= 0.5
    calm = gaussian_filter(hu, 1.0 / _FINE_MM)
    lung_mm = distance_transform_edt(calm > LUNG_HU) * _FINE_MM
    outside_mm = distance_transform_edt(~inside) * _FINE_MM
    fatty = np.clip((10.0 - calm) / 60.0, 0, 1) * (lung_mm > _RIM_MM)
    fat = gaussian_filter(fatty.astype(np.float32), 2.0 / _FINE_MM)
    soft = np.clip(calm, -120, 60)
    core = np.clip((soft - gaussian_filter(soft, 2.5 / _FINE_MM)) / 50.0, 0, 1) * np.clip(fat / 0.25, 0, 1)
    cost = 1.0 - 0.8 * np.minimum(fat / 0.5, 1) - 0.4 * core
    cost += 1.5 * np.clip(_LUNG_GAP_MM - lung_mm, 0, None) / _LUNG_GAP_MM
    cost += 0.15 * np.clip(outside_mm - _BULGE_MM, 0, None)
    cost += (calm > _BRIGHT_HU) * 1.0
    return GrooveMap(cost.astype(np.float32), fat, grid.affine)


def find_courses(registered: Registered, grooves: GrooveMap) -> dict[str, Course]:
    """The courses of LM, LAD, LCX and RCA in a scan, by name."""
    found: dict[str, Course] = {}
    for name in ("LM", *(name for name in registered.anatomy.coronaries if name != "LM")):
        artery = registered.anatomy.coronaries[name]
        start = found["LM"].tube.points[-1] if name in _BRANCHES else None
        found[name] = _settle(artery.moved(registered.to_scan(artery.points)), grooves, start)
    return found


def _settle(artery: Tube, grooves: GrooveMap, start: np.ndarray | None) -> Course:
    """Move an artery into the fat; a branch begins where the left main artery ends, at ``start``."""
    line, marks = artery.points, lengths_along(artery.points)
    count = max(4, round(float(marks[-1]) / _STATION_MM) + 1)
    wanted = np.linspace(0, float(marks[-1]), count)
    stations = np.stack([np.interp(wanted, marks, line[:, axis]) for axis in range(3)], axis=1)
    stations = smooth(stations, 2)
    radii = np.interp(wanted, marks, artery.radii)
    across, up = _frames(stations)
    size = round(REACH_MM / _FINE_MM)
    steps = np.arange(-size, size + 1) * _FINE_MM
    u, v = np.meshgrid(steps, steps, indexing="ij")
    places = (
        stations[:, None, None]
        + across[:, None, None] * u[None, ..., None]
        + up[:, None, None] * v[None, ..., None]
    )
    far = u * u + v * v
    cost = _sample(grooves.cost, grooves.affine, places) + 0.5 * far / REACH_MM**2
    cost[:, far > REACH_MM**2] = np.inf
    if start is not None:
        lead = start - stations[0]
        cost[0] += 0.1 * ((u - lead @ across[0]) ** 2 + (v - lead @ up[0]) ** 2)
    chosen = _cheapest(cost)
    moved = places[np.arange(count), chosen[:, 0], chosen[:, 1]]
    if start is not None:
        fade = np.clip(1 - wanted / _FADE_MM, 0, None)
        moved = moved + (start - moved[0]) * fade[:, None]
    moved = np.round(smooth(moved, 3), 3)
    fat = _sample(grooves.fat, grooves.affine, moved)
    return Course(
        tube=Tube(moved, radii),
        fat_share=round(float(fat.mean()), 3),
        moved_mm=round(float(norms(moved - stations).mean()), 2),
    )


def _frames(stations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors (n, 3) at right angles to the line at each station, carried along without a twist."""
    ways = np.gradient(stations, axis=0)
    ways /= np.maximum(norms(ways), 1e-9)[:, None]
    across = np.empty_like(ways)
    side, _ = frame(ways[0])
    for place, way in enumerate(ways):
        side = side - way * (side @ way)
        side = side / max(math.sqrt(float(side @ side)), 1e-9)
        across[place] = side
    return across, np.cross(ways, across)


def _sample(values: np.ndarray, affine: np.ndarray, places_mm: np.ndarray) -> np.ndarray:
    """Values at places (…, 3), between voxels."""
    from scipy.ndimage import map_coordinates

    index = (places_mm.reshape(-1, 3) - affine[:3, 3]) / np.diag(affine)[:3]
    return (
        map_coordinates(values, index.T, order=1, mode="nearest").reshape(places_mm.shape[:-1]).astype(float)
    )


def _cheapest(cost: np.ndarray) -> np.ndarray:
    """The offsets, as indices (n, 2), whose sum of costs along (n, u, v) is least.

    Neighbouring stations differ by at most one step in either direction.
    """
    moves = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)]
    total, came = cost[0], []
    for own in cost[1:]:
        wide = np.pad(total, 1, constant_values=np.inf)
        ways = np.stack(
            [
                wide[1 + a : 1 + a + own.shape[0], 1 + b : 1 + b + own.shape[1]] + _TURN * (a * a + b * b)
                for a, b in moves
            ]
        )
        best = ways.argmin(axis=0)
        came.append(best)
        total = own + np.take_along_axis(ways, best[None], axis=0)[0]
    at = np.unravel_index(int(total.argmin()), total.shape)
    path = [at]
    for best in reversed(came):
        a, b = moves[best[at]]
        at = (at[0] + a, at[1] + b)
        path.append(at)
    return np.asarray(path[::-1])
