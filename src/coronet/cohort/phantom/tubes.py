"""Tubes: chains of rods with round ends, for vessels, airways, ribs and nodes."""

from __future__ import annotations

import dataclasses

import numpy as np

from coronet.cohort.phantom.shapes import FAR_MM, Coordinates, Vector, capsule


@dataclasses.dataclass(frozen=True)
class Tube:
    """A chain of rods.

    Attributes:
        points: (n, 3) in mm, n at least 2.
        radii: (n,) in mm.
        flat: factors on the axes; 0.6 along z makes the tube 1 / 0.6 as high as wide.
    """

    points: np.ndarray
    radii: np.ndarray
    flat: Vector = (1.0, 1.0, 1.0)

    def moved(self, points: np.ndarray) -> Tube:
        """The same tube along other points."""
        return dataclasses.replace(self, points=points)

    def narrowed(self, wall_mm: float) -> Tube:
        """The inside of a tube whose wall is ``wall_mm`` thick."""
        return dataclasses.replace(self, radii=np.maximum(self.radii - wall_mm, 0.0))


@dataclasses.dataclass(frozen=True)
class Rods:
    """The rods of many tubes, with the boxes that they fill.

    Attributes:
        ends: (n, 2, 3) mm.
        radii: (n, 2) mm.
        flats: (n, 3) factors.
        low: (n, 3) lowest corner of each box, margin included.
        high: (n, 3) highest corner.
    """

    ends: np.ndarray
    radii: np.ndarray
    flats: np.ndarray
    low: np.ndarray
    high: np.ndarray


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
    ends, radii, flats = np.concatenate(ends), np.concatenate(radii), np.concatenate(flats)
    reach = (radii.max(axis=1)[:, None] + margin_mm) / flats
    return Rods(ends, radii, flats, ends.min(axis=1) - reach, ends.max(axis=1) + reach)


def distance_to(rods: Rods, lines: Coordinates) -> np.ndarray | None:
    """Distance to the nearest rod on a grid.

    Args:
        rods: what to measure from.
        lines: ascending positions (x), (y), (z) in mm.

    Returns:
        float32 (z, y, x), exact within the rods' boxes and `FAR_MM` elsewhere; None where no box is touched.
    """
    first = [np.searchsorted(line, rods.low[:, i], "left") for i, line in enumerate(lines)]
    last = [np.searchsorted(line, rods.high[:, i], "right") for i, line in enumerate(lines)]
    hit = np.flatnonzero((first[0] < last[0]) & (first[1] < last[1]) & (first[2] < last[2]))
    if not hit.size:
        return None
    x, y, z = (line.astype(np.float32) for line in lines)
    out = np.full((len(z), len(y), len(x)), np.float32(FAR_MM))
    for i in hit:
        sx, sy, sz = (slice(int(a[i]), int(b[i])) for a, b in zip(first, last, strict=True))
        ends = tuple(tuple(float(v) for v in end) for end in rods.ends[i])
        radii = (float(rods.radii[i, 0]), float(rods.radii[i, 1]))
        flat = tuple(float(v) for v in rods.flats[i])
        part = out[sz, sy, sx]
        at = (x[None, None, sx], y[None, sy, None], z[sz, None, None])
        np.minimum(part, capsule(at, ends, radii, flat), out=part)
    return out
