"""Distances to tubes on a grid."""

from __future__ import annotations

import dataclasses

import numpy as np

from coronet.phantom.curves import Tube
from coronet.phantom.signed_distance import OUTSIDE_MM, Coordinates, capsule


@dataclasses.dataclass(frozen=True)
class Rods:
    """The rods of many tubes, with the boxes that they fill."""

    ends: np.ndarray  # (n, 2, 3) mm
    radii: np.ndarray  # (n, 2) mm
    flats: np.ndarray  # (n, 3) factors
    low: np.ndarray  # (n, 3) lowest corner of each box, margin included
    high: np.ndarray  # (n, 3) highest corner


def rods_of(tubes: tuple[Tube, ...], margin_mm: float) -> Rods:
    """Cut tubes into rods; boxes reach ``margin_mm`` beyond the surface."""
    ends, radii, flats = [], [], []
    for tube in tubes:
        ends.append(np.stack([tube.points[:-1], tube.points[1:]], axis=1))
        radii.append(np.stack([tube.radii[:-1], tube.radii[1:]], axis=1))
        flats.append(np.tile(np.asarray(tube.flat), (len(tube.points) - 1, 1)))
    if not ends:
        none = np.zeros((0, 3))
        return Rods(np.zeros((0, 2, 3)), np.zeros((0, 2)), none, none, none)
    end, radius, flat = np.concatenate(ends), np.concatenate(radii), np.concatenate(flats)
    reach = (radius.max(axis=1)[:, None] + margin_mm) / flat
    return Rods(end, radius, flat, end.min(axis=1) - reach, end.max(axis=1) + reach)


class PlacedTubes:
    """Rods laid on a grid, to be measured from the lowest slices upwards.

    A rod is measured once, in the whole box that it fills, when the first slab asks for it, and is forgotten
    after the last: many small boxes cost more than few.
    """

    def __init__(self, rods: Rods, lines: Coordinates) -> None:
        first = [np.searchsorted(line, rods.low[:, i], "left") for i, line in enumerate(lines)]
        last = [np.searchsorted(line, rods.high[:, i], "right") for i, line in enumerate(lines)]
        self._rods = rods
        self._lines = tuple(line.astype(np.float32) for line in lines)
        self._first, self._last = np.stack(first, axis=1), np.stack(last, axis=1)
        self._in_view = (self._first < self._last).all(axis=1)
        self._tiles: dict[int, np.ndarray] = {}

    def between(self, start: int, stop: int) -> tuple[tuple[slice, slice, slice], np.ndarray] | None:
        """Distance to the nearest rod in the slices from ``start`` up to ``stop``.

        Returns:
            Where in these slices (z, y, x) the rods' boxes lie, and there the distances, float32 (z, y, x),
            `OUTSIDE_MM` outside the boxes; None where no box is touched.
        """
        hit = np.flatnonzero(self._in_view & (self._first[:, 2] < stop) & (self._last[:, 2] > start))
        if not hit.size:
            return None
        first, last = self._first[hit], self._last[hit]
        low, high = first.min(axis=0).tolist(), last.max(axis=0).tolist()
        low[2], high[2] = max(low[2], start), min(high[2], stop)
        out = np.full([high[i] - low[i] for i in (2, 1, 0)], np.float32(OUTSIDE_MM))
        for i, (x, y, z), (to_x, to_y, to_z) in zip(hit.tolist(), first.tolist(), last.tolist(), strict=True):
            tile = self._tiles.pop(i, None)
            if tile is None:
                tile = self._measured(i)
            if to_z > stop:
                self._tiles[i] = tile
            bottom, top = max(z, low[2]), min(to_z, high[2])
            part = out[bottom - low[2] : top - low[2], y - low[1] : to_y - low[1], x - low[0] : to_x - low[0]]
            np.minimum(part, tile[bottom - z : top - z], out=part)
        z = slice(low[2] - start, high[2] - start)
        return (z, slice(low[1], high[1]), slice(low[0], high[0])), out

    def _measured(self, i: int) -> np.ndarray:
        """Distances (z, y, x) to one rod in its box."""
        x, y, z = (line[a:b] for line, a, b in zip(self._lines, self._first[i], self._last[i], strict=True))
        at = (x[None, None, :], y[None, :, None], z[:, None, None])
        rods = self._rods
        return capsule(at, rods.ends[i].tolist(), rods.radii[i].tolist(), rods.flats[i].tolist())


def distance_to(rods: Rods, lines: Coordinates) -> np.ndarray:
    """Distance to the nearest rod on a grid.

    Args:
        rods: what to measure from.
        lines: ascending positions (x), (y), (z) in mm.

    Returns:
        float32 (z, y, x), exact within the rods' boxes and `OUTSIDE_MM` elsewhere.
    """
    out = np.full([len(line) for line in reversed(lines)], np.float32(OUTSIDE_MM))
    found = PlacedTubes(rods, lines).between(0, len(lines[2]))
    if found is not None:
        sides, distance = found
        out[sides] = distance
    return out
