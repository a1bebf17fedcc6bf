"""Distances to tubes on a grid."""

from __future__ import annotations

import numpy as np

from coronet.phantom.curves import Tube
from coronet.phantom.signed_distance import OUTSIDE_MM, Coordinates, capsule


class PlacedTubes:
    """Tubes laid on a grid as rods, to be measured from the lowest slices upwards.

    A rod is measured once, in the whole box that it fills, when the first slab asks for it, and is forgotten
    after the last: many small boxes cost more than few.
    """

    def __init__(self, tubes: tuple[Tube, ...], lines: Coordinates, *, margin_mm: float) -> None:
        """Cut the tubes into rods.

        Args:
            lines: ascending positions (x), (y), (z) of the grid in mm.
            margin_mm: how far a rod's box reaches beyond its surface.
        """
        rods = [(tube, slice(i, i + 2)) for tube in tubes for i in range(len(tube.points) - 1)]
        self._ends = np.asarray([tube.points[pair] for tube, pair in rods]).reshape(-1, 2, 3)
        self._radii = np.asarray([tube.radii[pair] for tube, pair in rods]).reshape(-1, 2)
        self._flats = np.asarray([tube.flat for tube, _ in rods]).reshape(-1, 3)
        reach = (self._radii.max(axis=1, initial=0.0)[:, None] + margin_mm) / self._flats
        low, high = self._ends.min(axis=1) - reach, self._ends.max(axis=1) + reach
        first = [np.searchsorted(line, low[:, i], "left") for i, line in enumerate(lines)]
        last = [np.searchsorted(line, high[:, i], "right") for i, line in enumerate(lines)]
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
        return capsule(at, self._ends[i].tolist(), self._radii[i].tolist(), self._flats[i].tolist())


def distance_to(tubes: tuple[Tube, ...], lines: Coordinates, *, margin_mm: float) -> np.ndarray:
    """Distance to the nearest tube on a grid.

    Args:
        lines: ascending positions (x), (y), (z) in mm.
        margin_mm: how far from the surface distances are wanted.

    Returns:
        float32 (z, y, x), exact within the margin and `OUTSIDE_MM` elsewhere.
    """
    out = np.full([len(line) for line in reversed(lines)], np.float32(OUTSIDE_MM))
    found = PlacedTubes(tubes, lines, margin_mm=margin_mm).between(0, len(lines[2]))
    if found is not None:
        sides, distance = found
        out[sides] = distance
    return out
