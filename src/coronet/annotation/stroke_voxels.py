"""Which voxels of a scan strokes cover, and strokes that come as a label volume.

A sparse label volume on the scan's grid (NIfTI, NRRD, MetaImage, or the ``.seg.nrrd`` of 3D Slicer with its
segments' names) holds the same labels as a JSON file, voxel by voxel.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from coronet.annotation.strokes import (
    NO_HEART_STROKE,
    NONE_HINT,
    STROKE_LABELS,
    Stroke,
    Strokes,
    Target,
    check_stroke_file,
    describe_stroke,
)
from coronet.errors import InputError
from coronet.io.volume import Volume

_BACKGROUND_COVERS_ALL = "Later background strokes cover every heart stroke; the later stroke holds."


@dataclasses.dataclass(frozen=True)
class Marks:
    """Voxels with a label."""

    index: np.ndarray  # int32 (n, 3), voxel indices (x, y, z), each once, in the order of the array
    label: np.ndarray  # uint8 (n,), from 1; ``names[label - 1]`` is the label's name
    names: tuple[str, ...]  # the labels of the target

    def painted(self, shape: tuple[int, ...]) -> np.ndarray:
        """The labels as uint8 of the scan's shape, 0 where there is none."""
        labels = np.zeros(shape, np.uint8)
        labels[tuple(self.index.T)] = self.label
        return labels

    def of(self, name: str) -> np.ndarray:
        """Indices (m, 3) of the voxels that carry ``name``."""
        return self.index[self.label == self.names.index(name) + 1]


def read_strokes(path: Path, volume: Volume, *, target: Target) -> Strokes | Marks:
    """Read strokes of a scan.

    Args:
        path: JSON, or a label volume on the scan's own voxels (it may be cropped, flipped or turned).
        target: the mask that the strokes are meant for.

    Returns:
        `Strokes` from JSON, `Marks` from a label volume.

    Raises:
        InputError: the file is for another target or not understood, or a stroke lies outside the scan.
        UnreadableScan: a label volume cannot be read.
    """
    path = Path(path)
    strokes = check_stroke_file(path, target=target) or _read_labels(path, volume, target)
    marks = mark_strokes(strokes, volume)
    if target == "heart" and not len(marks.of("heart")):
        covered = isinstance(strokes, Strokes)
        raise InputError(f"{path}: {_BACKGROUND_COVERS_ALL if covered else NO_HEART_STROKE}")
    return strokes


def mark_strokes(strokes: Strokes | Marks, volume: Volume) -> Marks:
    """Which voxels the strokes cover.

    A line or point covers the voxels whose centres lie within its radius, and those that it passes through. A
    piece that is not placed yet (`coronet.annotation.named_pieces.place_pieces`) covers none.

    Raises:
        InputError: a stroke, or a point of a line, lies outside the scan, or a box holds no voxel.
    """
    if isinstance(strokes, Marks):
        return strokes
    names = STROKE_LABELS[strokes.target]
    numbered = [(n, stroke) for n, stroke in enumerate(strokes.strokes, 1) if stroke.kind != "piece"]
    if not numbered:
        return Marks(np.zeros((0, 3), np.int32), np.zeros(0, np.uint8), names)
    covered: list[np.ndarray] = []
    for number, stroke in numbered:
        flat, outside = _covered_voxels(stroke, volume), _is_outside(stroke, volume)
        if not flat.size or outside:
            fault = (
                "holds no voxel: its corners lie too near to each other"
                if stroke.kind == "box" and not outside
                else "lies outside the scan; strokes are in the scan's RAS+ millimetres"
            )
            raise InputError(f"{describe_stroke(number, stroke)} {fault}.")
        covered.append(flat)
    labels = np.array([names.index(stroke.label) + 1 for _, stroke in numbered], np.uint8)
    # the later stroke holds, and of equal places the first is kept
    label = np.repeat(labels[::-1], [len(flat) for flat in covered[::-1]])
    flat, kept = np.unique(np.concatenate(covered[::-1]), return_index=True)
    index = np.stack(np.unravel_index(flat, volume.shape), axis=1).astype(np.int32)
    return Marks(index, label[kept], names)


def count_strokes(strokes: Strokes | Marks | None) -> dict[str, int]:
    """How many strokes carry each label; voxels where they came as a label volume.

    ``none`` is 1 where strokes state that there is no calcium.
    """
    if strokes is None:
        return {}
    if isinstance(strokes, Marks):
        return {name: len(strokes.of(name)) for name in strokes.names if len(strokes.of(name))}
    counts = Counter(stroke.label for stroke in strokes.strokes)
    return dict(sorted(counts.items())) | ({"none": 1} if strokes.none else {})


@dataclasses.dataclass(frozen=True)
class StrokePart:
    """Voxels (n, 3) that one stroke, or one painted spot, covers, with its label and its name for messages.

    A box (`is_box`) holds only the pieces that lie wholly in it.
    """

    name: str
    label: str
    index: np.ndarray
    is_box: bool = False


def parts_of(strokes: Strokes | Marks, volume: Volume) -> Iterator[StrokePart]:
    """The strokes in their order; of a label volume its connected spots, label by label."""
    if isinstance(strokes, Strokes):
        for number, item in enumerate(strokes.strokes, 1):
            index = mark_strokes(Strokes(strokes.target, (item,)), volume).index
            yield StrokePart(describe_stroke(number, item), item.label, index, item.kind == "box")
        return
    for name in strokes.names:
        for spot in _spots(strokes.of(name)):
            x, y, z = (round(float(value), 1) for value in (volume.affine @ [*spot.mean(axis=0), 1])[:3])
            yield StrokePart(f"the painted spot of {name} at ({x:g}, {y:g}, {z:g}) mm", name, spot)


def _spots(index: np.ndarray) -> list[np.ndarray]:
    """Connected voxels (n, 3), spot by spot."""
    import cc3d

    if not len(index):
        return []
    low = index.min(axis=0)
    painted = np.zeros(index.max(axis=0) - low + 1, np.uint8)
    painted[tuple((index - low).T)] = 1
    spot = cc3d.connected_components(painted, connectivity=26)[tuple((index - low).T)]
    order = np.argsort(spot, kind="stable")
    return np.split(index[order], np.flatnonzero(np.diff(spot[order])) + 1)


def _read_labels(path: Path, volume: Volume, target: Target) -> Marks:
    from coronet.io.masks import read_layers

    names = STROKE_LABELS[target]
    labels = np.zeros(volume.shape, np.uint8)
    for layer, segment_names in read_layers(path, volume):
        for value in np.unique(layer[layer > 0]).tolist():
            labels[layer == value] = _label_number(segment_names.get(value), value, names, path)
    places = np.nonzero(labels)
    if not places[0].size:
        hint = f"; {NONE_HINT}" if target == "calcium" else ""
        raise InputError(f"{path}: there is no stroke in it, every voxel is 0{hint}.")
    return Marks(np.stack(places, axis=1).astype(np.int32), labels[places], names)


def _label_number(name: str | None, value: int, names: tuple[str, ...], path: Path) -> int:
    """Number from 1 of a segment's name or, where the file names none, of its value."""
    if name is not None and name.strip().lower() in names:
        return names.index(name.strip().lower()) + 1
    if name is None and value <= len(names):
        return value
    found = f'segment "{name}"' if name is not None else f"label {value}"
    choices = ", ".join(f"{number} {choice}" for number, choice in enumerate(names, 1))
    raise InputError(f"{path}: {found} is none of {choices}.")


def _is_outside(stroke: Stroke, volume: Volume) -> bool:
    """Whether a point lies farther outside the scan than its radius; for a box, whether all of it does."""
    places = _transform(np.linalg.inv(volume.affine), np.asarray(stroke.points_mm, np.float64))
    rim = 0.5 + 1e-6 + stroke.radius_mm / np.asarray(volume.spacing_mm)
    low, high = -rim, np.asarray(volume.shape) - 1 + rim
    if stroke.kind == "box":
        return bool(((places.max(axis=0) < low) | (places.min(axis=0) > high)).any())
    return bool(((places < low) | (places > high)).any())


def _covered_voxels(stroke: Stroke, volume: Volume) -> np.ndarray:
    """Flat indices of the voxels under one stroke, sorted."""
    to_index = np.linalg.inv(volume.affine)
    points = np.asarray(stroke.points_mm, np.float64)
    if stroke.kind == "box":
        low, high = points.min(axis=0), points.max(axis=0)
        corners = np.array(np.meshgrid(*zip(low, high, strict=True), indexing="ij")).reshape(3, -1).T
        index, centres = _voxels_around(corners, 0.0, volume, to_index)
        inside = ((centres >= low - 1e-6) & (centres <= high + 1e-6)).all(axis=1)
        return _flat(index[inside], volume.shape)
    found = []
    for start, end in zip(points, points[1:] if len(points) > 1 else points, strict=False):
        index, centres = _voxels_around(np.stack([start, end]), stroke.radius_mm, volume, to_index)
        along, length = end - start, float(((end - start) ** 2).sum())
        share = np.clip(_dot(centres - start, along) / length, 0.0, 1.0) if length else np.zeros(len(centres))
        gap = centres - (start + share[:, None] * along)
        found.append(_flat(index[_dot(gap, gap) <= stroke.radius_mm**2 + 1e-6], volume.shape))
        steps = max(1, math.ceil(2 * math.sqrt(length) / min(volume.spacing_mm)))
        passed = start + np.linspace(0, 1, steps + 1)[:, None] * along
        nearest = np.rint(_transform(to_index, passed)).astype(np.int64)
        within = ((nearest >= 0) & (nearest < volume.shape)).all(axis=1)
        found.append(_flat(nearest[within], volume.shape))
    return np.unique(np.concatenate(found))


def _voxels_around(
    points: np.ndarray, margin_mm: float, volume: Volume, to_index: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Indices (n, 3) and centres in mm of the voxels in the box around ``points``, widened."""
    places = _transform(to_index, points)
    wide = margin_mm / np.asarray(volume.spacing_mm)
    low = np.maximum(np.floor(places.min(axis=0) - wide), 0).astype(int)
    high = np.minimum(np.ceil(places.max(axis=0) + wide) + 1, volume.shape).astype(int)
    grid = np.meshgrid(*(np.arange(a, max(a, b)) for a, b in zip(low, high, strict=True)), indexing="ij")
    index = np.stack([axis.ravel() for axis in grid], axis=1)
    return index, _transform(np.asarray(volume.affine), index.astype(np.float64))


def _transform(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Affine map of points (n, 3), as sums in a fixed order."""
    return np.stack([_dot(points, affine[row, :3]) + affine[row, 3] for row in range(3)], axis=1)


def _dot(vectors: np.ndarray, others: np.ndarray) -> np.ndarray:
    return vectors[:, 0] * others[..., 0] + vectors[:, 1] * others[..., 1] + vectors[:, 2] * others[..., 2]


def _flat(index: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.ravel_multi_index(tuple(index.T), shape)
