"""A person's strokes: points, lines and boxes in millimetres.

A stroke file says what a few places of a scan are, such as «heart» along one line. As JSON it can be reviewed
in git and holds nothing but millimetres in the scan's own RAS+ world; a sparse label volume on the scan's
grid (NIfTI, NRRD, MetaImage, or the ``.seg.nrrd`` of 3D Slicer with its segments' names) says the same in
voxels. Where strokes overlap, the later one holds: a correction is one more stroke.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from coronet.cohort.volume import Volume
from coronet.errors import InputError
from coronet.files import read_json, write_text

Target = Literal["heart", "calcium"]
Kind = Literal["point", "line", "box"]

LABELS: dict[str, tuple[str, ...]] = {
    "heart": ("heart", "background"),
    "calcium": ("coronary", "aorta", "valve", "bone", "noise", "metal", "other"),
}
"""What a stroke may say, by target; a label volume without names counts them from 1."""

FORMAT = "coronet strokes 1"
MOST_MM = 10_000.0
POINTS = {"point": (1, 1), "line": (2, 10_000), "box": (2, 2)}


@dataclasses.dataclass(frozen=True)
class Stroke:
    """One thing that a person says of a place.

    Attributes:
        label: one of `LABELS` of the target.
        kind: a ``point`` has one point, a ``line`` two or more, a ``box`` two opposite corners.
        points_mm: (x, y, z) in the scan's RAS+ world.
        radius_mm: of a point's ball or a line's tube; a box has 0.
    """

    label: str
    kind: Kind
    points_mm: tuple[tuple[float, float, float], ...]
    radius_mm: float = 0.0


@dataclasses.dataclass(frozen=True)
class Strokes:
    """All that a person said of one scan for one mask."""

    target: Target
    strokes: tuple[Stroke, ...]


@dataclasses.dataclass(frozen=True)
class Marks:
    """Voxels about which something is said.

    Attributes:
        index: int32 (n, 3), voxel indices (x, y, z), each once, in the order of the array.
        label: uint8 (n,), from 1; ``names[label - 1]`` is what is said.
        names: the labels of the target.
    """

    index: np.ndarray
    label: np.ndarray
    names: tuple[str, ...]

    def of(self, name: str) -> np.ndarray:
        """Indices (m, 3) of the voxels that carry ``name``."""
        return self.index[self.label == self.names.index(name) + 1]


def read_strokes(path: Path, volume: Volume, *, target: Target) -> Strokes | Marks:
    """Read strokes of a scan.

    Args:
        path: JSON, or a label volume on the scan's own voxels (it may be cropped, flipped or turned).
        volume: the scan.
        target: what the strokes are meant for.

    Returns:
        `Strokes` from JSON, `Marks` from a label volume.

    Raises:
        InputError: the file is for another target or not understood, or a stroke lies outside the scan.
        UnreadableScan: a label volume cannot be read.
    """
    path = Path(path)
    if path.suffix.lower() != ".json":
        return _read_labels(path, volume, target)
    strokes = parse_strokes(read_json(path), where=str(path))
    if strokes.target != target:
        raise InputError(f"{path}: its strokes are for the {strokes.target} mask, not the {target} mask.")
    mark(strokes, volume)
    return strokes


def write_strokes(path: Path, strokes: Strokes) -> None:
    """Write strokes as JSON: one stroke a line, millimetres with two decimals, the same bytes every time."""
    lines = ",\n".join(
        "    "
        + json.dumps(
            {
                "kind": stroke.kind,
                "label": stroke.label,
                "points_mm": [[round(float(v), 2) + 0.0 for v in point] for point in stroke.points_mm],
                "radius_mm": round(float(stroke.radius_mm), 2),
            },
            allow_nan=False,
        )
        for stroke in strokes.strokes
    )
    head = f'  "format": {json.dumps(FORMAT)},\n  "target": {json.dumps(strokes.target)},\n'
    write_text(path, f'{{\n{head}  "strokes": [\n{lines}\n  ]\n}}\n')


def parse_strokes(raw: Any, *, where: str) -> Strokes:
    """Strokes out of plain JSON data.

    Args:
        raw: what `coronet.files.read_json` gave.
        where: the file to name in an error.

    Raises:
        InputError: with the number of the stroke, counted from 1, and what is wrong with it.
    """
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise InputError(f"{where}: no stroke file («format» must be «{FORMAT}»); see docs/annotate.md.")
    target = raw.get("target")
    if target not in get_args(Target) or not isinstance(raw.get("strokes"), list) or len(raw) != 3:
        raise InputError(f"{where}: it must hold «target» (heart or calcium), «strokes» and «format» alone.")
    found = tuple(
        _stroke(item, target, f"{where}: stroke {number}") for number, item in enumerate(raw["strokes"], 1)
    )
    if not found:
        raise InputError(f"{where}: there is no stroke in it.")
    return Strokes(target, found)


def _stroke(item: Any, target: str, where: str) -> Stroke:
    keys = {"label", "kind", "points_mm", "radius_mm"}
    if not isinstance(item, dict) or not {"label", "kind", "points_mm"} <= set(item) <= keys:
        raise InputError(f"{where} must have {', '.join(sorted(keys))} and nothing else.")
    if item["label"] not in LABELS[target]:
        raise InputError(f"{where}: «{item['label']}» is none of {', '.join(LABELS[target])}.")
    if item["kind"] not in POINTS:
        raise InputError(f"{where}: «{item['kind']}» is none of {', '.join(POINTS)}.")
    radius, points = item.get("radius_mm", 0.0), item["points_mm"]
    few, most = POINTS[item["kind"]]
    if not isinstance(points, list) or not few <= len(points) <= most:
        raise InputError(f"{where}: a {item['kind']} has {few if few == most else f'{few} or more'} points.")
    for values in ([radius], *points):
        whole = isinstance(values, list) and len(values) in (1, 3)
        if not whole or not all(_is_millimetres(value) for value in values):
            raise InputError(f"{where}: points are [x, y, z] and radius_mm is a number, in millimetres.")
    if radius < 0 or any(len(point) != 3 for point in points):
        raise InputError(f"{where}: points are [x, y, z], and a radius is not negative.")
    return Stroke(
        item["label"], item["kind"], tuple(tuple(float(v) for v in point) for point in points), float(radius)
    )


def _is_millimetres(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and abs(value) <= MOST_MM


def mark(strokes: Strokes | Marks, volume: Volume) -> Marks:
    """Which voxels the strokes cover.

    A line or point covers the voxels whose centres lie within its radius, and those that it passes through.

    Raises:
        InputError: a stroke lies outside the scan.
    """
    if isinstance(strokes, Marks):
        return strokes
    names = LABELS[strokes.target]
    covered: list[np.ndarray] = []
    for number, stroke in enumerate(strokes.strokes, 1):
        flat = _covered(stroke, volume)
        if not flat.size:
            raise InputError(
                f"stroke {number} ({stroke.label}, {stroke.kind} at {list(stroke.points_mm[0])} mm) lies "
                "outside the scan; strokes are in the scan's RAS+ millimetres."
            )
        covered.append(flat)
    labels = np.array([names.index(stroke.label) + 1 for stroke in strokes.strokes], np.uint8)
    # the later stroke holds, and of equal places the first is kept
    label = np.repeat(labels[::-1], [len(flat) for flat in covered[::-1]])
    flat, kept = np.unique(np.concatenate(covered[::-1]), return_index=True)
    index = np.stack(np.unravel_index(flat, volume.shape), axis=1).astype(np.int32)
    return Marks(index, label[kept], names)


def paint(strokes: Strokes | Marks, volume: Volume) -> tuple[np.ndarray, tuple[str, ...]]:
    """The strokes as a label volume.

    Returns:
        int16 labels of the scan's shape, 0 where nothing is said, and names: label k is ``names[k - 1]``.
    """
    marks = mark(strokes, volume)
    labels = np.zeros(volume.shape, np.int16)
    labels[tuple(marks.index.T)] = marks.label
    return labels, marks.names


def _covered(stroke: Stroke, volume: Volume) -> np.ndarray:
    """Flat indices of the voxels under one stroke, sorted."""
    to_index = np.linalg.inv(volume.affine)
    points = np.asarray(stroke.points_mm, np.float64)
    if stroke.kind == "box":
        low, high = points.min(axis=0), points.max(axis=0)
        corners = np.array(np.meshgrid(*zip(low, high, strict=True), indexing="ij")).reshape(3, -1).T
        index, centres = _voxels_around(corners, 0.0, volume, to_index)
        inside = ((centres >= low - 1e-6) & (centres <= high + 1e-6)).all(axis=1)
        return np.unique(_flat(index[inside], volume.shape))
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


def _read_labels(path: Path, volume: Volume, target: Target) -> Marks:
    from coronet.cohort.masks import read_layers

    names = LABELS[target]
    labels = np.zeros(volume.shape, np.uint8)
    for layer, known in read_layers(path, volume):
        for value in np.unique(layer[layer > 0]).tolist():
            labels[layer == value] = _label_number(known.get(value), value, names, path)
    places = np.nonzero(labels)
    if not places[0].size:
        raise InputError(f"{path}: there is no stroke in it; every voxel is 0.")
    return Marks(np.stack(places, axis=1).astype(np.int32), labels[places], names)


def _label_number(name: str | None, value: int, names: tuple[str, ...], path: Path) -> int:
    """Number from 1 of a segment's name or, where the file names none, of its value."""
    if name is not None and name.strip().lower() in names:
        return names.index(name.strip().lower()) + 1
    if name is None and value <= len(names):
        return value
    said = f"segment «{name}»" if name is not None else f"label {value}"
    raise InputError(
        f"{path}: {said} is none of {', '.join(f'{i} {known}' for i, known in enumerate(names, 1))}."
    )
