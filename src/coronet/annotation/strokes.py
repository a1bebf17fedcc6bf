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
from collections import Counter
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from coronet.annotation.stroke_voxels import covered_voxels, leaves_scan
from coronet.errors import InputError
from coronet.files import read_json, write_text
from coronet.io.volume import Volume

Target = Literal["heart", "calcium"]
Kind = Literal["point", "line", "box"]

STROKE_LABELS: dict[str, tuple[str, ...]] = {
    "heart": ("heart", "background"),
    "calcium": ("coronary", "aorta", "valve", "bone", "noise", "metal", "other"),
}
"""What a stroke may say, by target; a label volume without names counts them from 1."""

FORMAT = "coronet strokes 1"
SAY_NONE = 'if the scan has no coronary calcium, write "none": true into a JSON stroke file'
NO_HEART_STROKE = "No stroke says heart; one along the inside of the heart is the least."
_BACKGROUND_COVERS_ALL = "Later background strokes cover every heart stroke; the later stroke holds."
_MOST_MM = 10_000.0
_POINTS = {"point": (1, 1), "line": (2, 10_000), "box": (2, 2)}


@dataclasses.dataclass(frozen=True)
class Stroke:
    """One thing that a person says of a place.

    Attributes:
        label: one of `STROKE_LABELS` of the target.
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
    """All that a person said of one scan for one mask.

    Attributes:
        target: the mask.
        strokes: in the order in which they hold.
        none: the scan has no coronary calcium; the strokes then name what else there is.
    """

    target: Target
    strokes: tuple[Stroke, ...]
    none: bool = False


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
    strokes = check_stroke_file(path, target=target) or _read_labels(path, volume, target)
    marks = mark_strokes(strokes, volume)
    if target == "heart" and not len(marks.of("heart")):
        covered = isinstance(strokes, Strokes)
        raise InputError(f"{path}: {_BACKGROUND_COVERS_ALL if covered else NO_HEART_STROKE}")
    return strokes


def check_stroke_file(path: Path, *, target: Target) -> Strokes | None:
    """Check all of a stroke file that can be checked without its scan.

    Returns:
        The strokes of a JSON file; None for a label volume, which cannot be read without its scan.

    Raises:
        InputError: the file is absent, not understood, for another target, or contradicts itself.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is no file; a folder, named pipe or device holds no strokes.")
    if path.suffix.lower() != ".json":
        if not path.exists():
            raise InputError(f"{path} is absent.")
        return None
    strokes = _parse_strokes(read_json(path), where=str(path))
    if strokes.target != target:
        raise InputError(f"{path}: its strokes are for the {strokes.target} mask, not the {target} mask.")
    if target == "heart" and all(stroke.label != "heart" for stroke in strokes.strokes):
        raise InputError(f"{path}: {NO_HEART_STROKE}")
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
    parts = [f'  "format": {json.dumps(FORMAT)}', f'  "target": {json.dumps(strokes.target)}']
    parts += ['  "none": true'] if strokes.none else []
    parts += [f'  "strokes": [\n{lines}\n  ]'] if strokes.strokes else []
    write_text(path, "{\n" + ",\n".join(parts) + "\n}\n")


def _parse_strokes(raw: Any, *, where: str) -> Strokes:
    """Strokes out of plain JSON data.

    Args:
        raw: what `coronet.files.read_json` gave.
        where: the file to name in an error.

    Raises:
        InputError: with the number of the stroke, counted from 1, and what is wrong with it.
    """
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise InputError(f"{where}: no stroke file («format» must be «{FORMAT}»); see docs/annotate.md.")
    target, items = raw.get("target"), raw.get("strokes", [])
    fits = target in get_args(Target) and isinstance(items, list)
    if not fits or not {"strokes", "none"} & set(raw) or set(raw) - {"format", "target", "strokes", "none"}:
        raise InputError(
            f'{where}: it must hold "format", "target" (heart or calcium) and a list "strokes", and may hold '
            '"none" for calcium; nothing else.'
        )
    found = tuple(_stroke(item, target, f"{where}: stroke {number}") for number, item in enumerate(items, 1))
    if "none" in raw:
        _check_none(raw["none"], target, found, where)
    elif not found:
        more = f"; {SAY_NONE}" if target == "calcium" else ""
        raise InputError(f"{where}: there is no stroke in it{more}.")
    return Strokes(target, found, none="none" in raw)


def _check_none(none: Any, target: str, strokes: tuple[Stroke, ...], where: str) -> None:
    """Refuse a ``none`` that says something else, or strokes that contradict it."""
    if target != "calcium":
        raise InputError(f'{where}: "none" is for calcium; a {target} mask is never empty.')
    if none is not True:
        raise InputError(f'{where}: "none" can only be true; leave it out where there is coronary calcium.')
    for number, stroke in enumerate(strokes, 1):
        if stroke.label == "coronary":
            raise InputError(
                f'{where}: "none" says that there is no coronary calcium, and {name_of(number, stroke)} says '
                "coronary; take one of them out."
            )


def name_of(number: int, stroke: Stroke) -> str:
    """How messages name a stroke; ``number`` counts from 1."""
    return f"stroke {number} ({stroke.label}, {stroke.kind} at {list(stroke.points_mm[0])} mm)"


def _stroke(item: Any, target: str, where: str) -> Stroke:
    keys = {"label", "kind", "points_mm", "radius_mm"}
    if not isinstance(item, dict) or not {"label", "kind", "points_mm"} <= set(item) <= keys:
        raise InputError(f"{where} must have {', '.join(sorted(keys))} and nothing else.")
    if item["label"] not in STROKE_LABELS[target]:
        raise InputError(f"{where}: «{item['label']}» is none of {', '.join(STROKE_LABELS[target])}.")
    if item["kind"] not in _POINTS:
        raise InputError(f"{where}: «{item['kind']}» is none of {', '.join(_POINTS)}.")
    radius, points = item.get("radius_mm", 0.0), item["points_mm"]
    few, most = _POINTS[item["kind"]]
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
    return number and math.isfinite(value) and abs(value) <= _MOST_MM


def count_strokes(strokes: Strokes | Marks | None) -> dict[str, int]:
    """How many strokes carry each label; voxels where they came as a label volume."""
    if strokes is None:
        return {}
    if isinstance(strokes, Marks):
        return {name: len(strokes.of(name)) for name in strokes.names if len(strokes.of(name))}
    counts = Counter(stroke.label for stroke in strokes.strokes)
    return dict(sorted(counts.items())) | ({"none": 1} if strokes.none else {})


def mark_strokes(strokes: Strokes | Marks, volume: Volume) -> Marks:
    """Which voxels the strokes cover.

    A line or point covers the voxels whose centres lie within its radius, and those that it passes through.

    Raises:
        InputError: a stroke, or a point of a line, lies outside the scan, or a box holds no voxel.
    """
    if isinstance(strokes, Marks):
        return strokes
    names = STROKE_LABELS[strokes.target]
    if not strokes.strokes:
        return Marks(np.zeros((0, 3), np.int32), np.zeros(0, np.uint8), names)
    covered: list[np.ndarray] = []
    for number, stroke in enumerate(strokes.strokes, 1):
        flat = covered_voxels(stroke, volume)
        if not flat.size or leaves_scan(stroke, volume):
            fault = (
                "holds no voxel: its corners lie too near to each other"
                if stroke.kind == "box" and not leaves_scan(stroke, volume)
                else "lies outside the scan; strokes are in the scan's RAS+ millimetres"
            )
            raise InputError(f"{name_of(number, stroke)} {fault}.")
        covered.append(flat)
    labels = np.array([names.index(stroke.label) + 1 for stroke in strokes.strokes], np.uint8)
    # the later stroke holds, and of equal places the first is kept
    label = np.repeat(labels[::-1], [len(flat) for flat in covered[::-1]])
    flat, kept = np.unique(np.concatenate(covered[::-1]), return_index=True)
    index = np.stack(np.unravel_index(flat, volume.shape), axis=1).astype(np.int32)
    return Marks(index, label[kept], names)


def paint_strokes(strokes: Strokes | Marks, volume: Volume) -> tuple[np.ndarray, tuple[str, ...]]:
    """The strokes as a label volume.

    Returns:
        int16 labels of the scan's shape, 0 where nothing is said, and names: label k is ``names[k - 1]``.
    """
    marks = mark_strokes(strokes, volume)
    labels = np.zeros(volume.shape, np.int16)
    labels[tuple(marks.index.T)] = marks.label
    return labels, marks.names


def _read_labels(path: Path, volume: Volume, target: Target) -> Marks:
    from coronet.io.masks import read_layers

    names = STROKE_LABELS[target]
    labels = np.zeros(volume.shape, np.uint8)
    for layer, known in read_layers(path, volume):
        for value in np.unique(layer[layer > 0]).tolist():
            labels[layer == value] = _label_number(known.get(value), value, names, path)
    places = np.nonzero(labels)
    if not places[0].size:
        more = f"; {SAY_NONE}" if target == "calcium" else ""
        raise InputError(f"{path}: there is no stroke in it, every voxel is 0{more}.")
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
