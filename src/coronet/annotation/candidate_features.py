"""Features of a bright piece: its size, shape, place and surroundings, in whole numbers.

Everything that reaches a forest is computed from whole numbers or from operations that IEEE 754 rounds
exactly, and is rounded at last, so that the same scan gives the same features on every processor.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np

from coronet.io.volume import CALCIUM_HU

_NEAR_MM = (2.5, 7.0, 20.0)  # how far around a piece's box its surroundings are described
_FAT_HU = (-150, -30)
_LUNG_HU = -400
_METAL_HU = 1500
_SHADOW_HU = (-400, -150)  # darker than fat and no lung: the undershoot beside metal
_LARGE_MM3 = 8.0
FAR_MM = 99.0

_SURROUNDINGS = ("mean_hu", "deviation_hu", "fat", "lung", "bright", "metal", "shadow")
FEATURES = (
    "voxels", "volume_mm3", "peak_hu", "mean_hu", "deviation_hu", "width_mm", "depth_mm", "height_mm",
    "slices", "filled", "reach",
    "place_x", "place_y", "place_z", "under_surface_mm", "under_surface_least_mm", "under_surface_most_mm",
    "to_lung_mm", "at_edge",
    *(f"{name}_{distance:g}" for distance in _NEAR_MM for name in _SURROUNDINGS),
    "contrast", "noise_hu", "slice_spacing_mm", "pixel_mm", "to_large_mm", "large_near", "calcium_near_mm3",
)  # fmt: skip
"""Names of a piece's features, in their order; lengths are in tenths, shares and places in thousandths."""


@dataclasses.dataclass(frozen=True)
class HeartSurroundings:
    """The part of a scan around a heart in which bright pieces are described."""

    hu: np.ndarray  # int16 (x, y, z)
    inside: np.ndarray  # bool, same shape: the heart
    spacing_mm: tuple[float, float, float]
    margin_mm: float  # pieces are cut off farther from the heart than this
    steps: tuple[int, ...]  # voxels of a cell of the coarse grid on which distances are measured, by axis

    def coarse(self, values: np.ndarray) -> np.ndarray:
        """Every value that lies on the coarse grid."""
        return values[tuple(slice(None, None, step) for step in self.steps)]

    def cells(self, place: np.ndarray) -> tuple[np.ndarray, ...]:
        """Index of the coarse cells that hold voxels (n, 3)."""
        return tuple(place[:, axis] // step for axis, step in enumerate(self.steps))

    def distance_mm(self, coarse: np.ndarray) -> np.ndarray:
        """Distance of each cell to the nearest one that is true."""
        from scipy import ndimage

        sampling = [step * size for step, size in zip(self.steps, self.spacing_mm, strict=True)]
        return ndimage.distance_transform_edt(~coarse, sampling=sampling)

    @functools.cached_property
    def outside_mm(self) -> np.ndarray:
        """Distance from the heart's surface on the coarse grid, below 0 inside."""
        heart = self.coarse(self.inside)
        # a heart that fills the view has no voxel outside to measure from
        inner = FAR_MM if heart.all() else self.distance_mm(~heart)
        return np.where(heart, -inner, self.distance_mm(heart))


@dataclasses.dataclass(frozen=True)
class BrightComponents:
    """Bright voxels sorted by piece: places in the view, HU, and where each piece begins."""

    place: np.ndarray
    hu: np.ndarray
    starts: np.ndarray
    counts: np.ndarray

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Of one whole number a voxel, by piece."""
        return np.add.reduceat(values.astype(np.int64), self.starts)

    def least(self, values: np.ndarray) -> np.ndarray:
        """The same, the least."""
        return np.minimum.reduceat(values, self.starts)

    def most(self, values: np.ndarray) -> np.ndarray:
        """The same, the most."""
        return np.maximum.reduceat(values, self.starts)


def sort_components(labels: np.ndarray, hu: np.ndarray) -> BrightComponents:
    """Gather the voxels of pieces numbered from 1; ``labels`` and int16 ``hu`` have one shape (x, y, z)."""
    flat = np.flatnonzero(labels)
    of = labels.reshape(-1)[flat]
    order = np.argsort(of, kind="stable")
    flat, of = flat[order], of[order]
    counts = np.bincount(of)[1:]
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    place = np.stack(np.unravel_index(flat, labels.shape), axis=1)
    return BrightComponents(place, hu.reshape(-1)[flat].astype(np.int64), starts, counts)


def component_features(
    pieces: BrightComponents, view: HeartSurroundings
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Describe all pieces of a view.

    Returns:
        All `FEATURES` by name before they are rounded, and the centres (pieces, 3) as places in the view.
    """
    hu, spacing_mm = view.hu, view.spacing_mm
    count, place = pieces.counts, pieces.place
    voxel_mm3 = spacing_mm[0] * spacing_mm[1] * spacing_mm[2]
    volume = count * voxel_mm3
    low = np.stack([pieces.least(place[:, axis]) for axis in range(3)], axis=1)
    high = np.stack([pieces.most(place[:, axis]) for axis in range(3)], axis=1)
    size = high - low + 1
    centre = np.stack([pieces.sum(place[:, axis]) / count for axis in range(3)], axis=1)
    spread = sum(
        (pieces.sum(place[:, axis] ** 2) / count - centre[:, axis] ** 2) * spacing_mm[axis] ** 2
        for axis in range(3)
    )
    mean = pieces.sum(pieces.hu) / count
    features = {
        "voxels": count,
        "volume_mm3": 10 * volume,
        "peak_hu": pieces.most(pieces.hu),
        "mean_hu": mean,
        "deviation_hu": _deviation(pieces.sum(pieces.hu**2) / count, mean),
        "width_mm": 10 * size[:, 0] * spacing_mm[0],
        "depth_mm": 10 * size[:, 1] * spacing_mm[1],
        "height_mm": 10 * size[:, 2] * spacing_mm[2],
        "slices": size[:, 2],
        "filled": 1000 * count / (size[:, 0] * size[:, 1] * size[:, 2]),
        # 0.77 for a ball whatever its size, and the higher the longer or the more scattered
        "reach": 100 * np.sqrt(np.maximum(spread, 0)) / np.round(np.cbrt(volume), 6),
    }
    features |= _place(pieces, centre, view)
    features |= _surroundings(hu, low, high, pieces, spacing_mm)
    noise = _noise(hu, view.inside)
    features |= {
        "to_lung_mm": _to_lung(pieces, view),
        "contrast": 10 * (features["peak_hu"] - features[f"mean_hu_{_NEAR_MM[0]:g}"]) / max(noise, 1.0),
        "noise_hu": np.full(len(count), 10 * noise),
        "slice_spacing_mm": np.full(len(count), 100 * spacing_mm[2]),
        "pixel_mm": np.full(len(count), 100 * spacing_mm[0]),
    }
    return features | _company(centre * np.asarray(spacing_mm), volume), centre


def _deviation(mean_square: np.ndarray, mean: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(mean_square - mean * mean, 0))


def _place(pieces: BrightComponents, centre: np.ndarray, view: HeartSurroundings) -> dict[str, np.ndarray]:
    """Where a piece lies in the heart's box (thousandths of it) and under its surface."""
    found = {}
    for axis, name in enumerate(("place_x", "place_y", "place_z")):
        others = tuple(other for other in range(3) if other != axis)
        # The middle nine tenths of the mask: a drawn mask's ends are its least certain part.
        filled = np.cumsum(np.count_nonzero(view.inside, axis=others))
        first = np.searchsorted(filled, 0.05 * filled[-1])
        last = np.searchsorted(filled, 0.95 * filled[-1])
        found[name] = 1000 * (centre[:, axis] - first) / max(last - first, 1)
    tenths = np.rint(-10 * view.outside_mm[view.cells(pieces.place)]).astype(np.int64)
    found |= {
        "under_surface_mm": pieces.sum(tenths) / pieces.counts,
        "under_surface_least_mm": pieces.least(tenths),
        "under_surface_most_mm": pieces.most(tenths),
        "at_edge": 1000 * pieces.sum(tenths <= 20 - 10 * view.margin_mm) / pieces.counts,
    }
    return found


def _to_lung(pieces: BrightComponents, view: HeartSurroundings) -> np.ndarray:
    """Least distance of a piece from lung, in tenths of a millimetre."""
    from scipy import ndimage

    air = ndimage.binary_opening(view.coarse(view.hu) < _LUNG_HU, iterations=1)
    if not air.any():
        return np.full(len(pieces.counts), 10 * FAR_MM)
    tenths = np.rint(10 * view.distance_mm(air)[view.cells(pieces.place)])
    return pieces.least(tenths.astype(np.int64))


def _noise(hu: np.ndarray, inside: np.ndarray) -> float:
    """Noise in the heart: from the median step between neighbours along x, in HU."""
    pair = inside[1:] & inside[:-1]
    step = np.abs(hu[1:][pair].astype(np.int32) - hu[:-1][pair])
    # half of all steps of Gaussian noise are smaller than 0.954 standard deviations of it
    return float(np.searchsorted(np.cumsum(np.bincount(step)), step.size // 2)) / 0.954 if step.size else 0.0


def _surroundings(
    hu: np.ndarray, low: np.ndarray, high: np.ndarray, pieces: BrightComponents, spacing_mm: tuple[float, ...]
) -> dict[str, np.ndarray]:
    """What lies in boxes around a piece, the piece itself left out; shares are thousandths."""
    clipped = np.clip(hu, -1000, _METAL_HU)
    # squares are of tenths, so that their sum over a box stays below 2³¹
    rough = clipped.astype(np.int32) // 10
    fields = {
        "hu": (clipped, np.clip(pieces.hu, -1000, _METAL_HU)),
        "rough": (rough, np.clip(pieces.hu, -1000, _METAL_HU) // 10),
        "square": (rough * rough, (np.clip(pieces.hu, -1000, _METAL_HU) // 10) ** 2),
        "fat": ((hu >= _FAT_HU[0]) & (hu <= _FAT_HU[1]), None),
        "lung": (hu < _LUNG_HU, None),
        "bright": (hu >= CALCIUM_HU, np.ones_like(pieces.hu)),
        "metal": (hu >= _METAL_HU, pieces.hu >= _METAL_HU),
        "shadow": ((hu >= _SHADOW_HU[0]) & (hu < _SHADOW_HU[1]), None),
    }
    boxes = []
    for distance in _NEAR_MM:
        rim = np.asarray([math.ceil(distance / step) for step in spacing_mm])
        boxes.append((np.maximum(low - rim, 0), np.minimum(high + rim + 1, hu.shape)))
    sums: dict[tuple[str, int], np.ndarray] = {}
    for name, (field, own) in fields.items():
        running = _running_sum(field)
        for number, (first, last) in enumerate(boxes):
            inner = 0 if own is None else pieces.sum(own)
            sums[name, number] = _box_sums(running, first, last) - inner
    found: dict[str, np.ndarray] = {}
    for number, (distance, (first, last)) in enumerate(zip(_NEAR_MM, boxes, strict=True)):
        voxels = np.maximum((last - first).prod(axis=1) - pieces.counts, 1)
        mean = {name: sums[name, number] / voxels for name in fields}
        values = {name: 1000 * mean[name] for name in ("fat", "lung", "bright", "metal", "shadow")}
        values |= {"mean_hu": mean["hu"], "deviation_hu": 10 * _deviation(mean["square"], mean["rough"])}
        found |= {f"{name}_{distance:g}": values[name] for name in _SURROUNDINGS}
    return found


def _running_sum(values: np.ndarray) -> np.ndarray:
    """Sums of ``values`` over all that lies before each corner, int32; they may wrap around."""
    total = np.zeros(tuple(size + 1 for size in values.shape), np.int32)
    total[1:, 1:, 1:] = values
    for axis in (2, 1, 0):
        np.cumsum(total, axis=axis, out=total, dtype=np.int32)
    return total


def _box_sums(running: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Sums over boxes out of running sums; differences undo any wrapping around."""
    sums = np.zeros(len(first), np.int32)
    for corner in range(8):
        ends = [(corner >> axis) & 1 for axis in range(3)]
        at = tuple(np.where(end, last[:, axis], first[:, axis]) for axis, end in enumerate(ends))
        sums = sums - running[at] if (3 - sum(ends)) % 2 else sums + running[at]
    return sums.astype(np.int64)


def _company(centre_mm: np.ndarray, volume_mm3: np.ndarray) -> dict[str, np.ndarray]:
    """How near other large pieces are: plaques follow each other along a vessel, noise does not."""
    large = np.flatnonzero(volume_mm3 >= _LARGE_MM3)
    nearest = np.full(len(centre_mm), FAR_MM)
    near = np.zeros(len(centre_mm))
    held = np.zeros(len(centre_mm))
    for other in large:
        step = centre_mm - centre_mm[other]
        away = np.sqrt(step[:, 0] ** 2 + step[:, 1] ** 2 + step[:, 2] ** 2)
        away[other] = np.inf
        nearest = np.minimum(nearest, away)
        near += away <= 20
        held += np.where(away <= 20, volume_mm3[other], 0)
    return {"to_large_mm": 10 * nearest, "large_near": near, "calcium_near_mm3": held}
