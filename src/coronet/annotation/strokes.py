"""Strokes of a reader: points, lines, boxes and bright pieces, each with a label, as a JSON file.

A stroke file labels a few places of a scan. It holds nothing but millimetres in the scan's RAS+ world (and
numbers of bright pieces), so that it can be reviewed in git. Where strokes overlap, the later one holds: a
correction is one more stroke.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from coronet.errors import InputError
from coronet.files import read_json, write_text

Target: TypeAlias = Literal["heart", "calcium"]

STROKE_LABELS: dict[str, tuple[str, ...]] = {
    "heart": ("heart", "background"),
    "calcium": ("coronary", "aorta", "valve", "bone", "noise", "metal", "other"),
}
"""Labels of strokes, by target; a label volume without names counts them from 1."""

FORMAT = "coronet strokes 1"
NONE_HINT = 'if the scan has no coronary calcium, write "none": true into a JSON stroke file'
NO_HEART_STROKE = "No stroke has the label heart; one along the inside of the heart is the least."
_MAX_MM = 10_000.0
_POINTS = {"point": (1, 1), "line": (2, 10_000), "box": (2, 2)}


@dataclasses.dataclass(frozen=True)
class Stroke:
    """A labelled place."""

    label: str  # one of `STROKE_LABELS` of the target
    # a ``point`` has one point, a ``line`` two or more, a ``box`` two opposite corners; a ``piece`` is a
    # bright piece named by its number, without points until it is placed
    kind: Literal["point", "line", "box", "piece"]
    points_mm: tuple[tuple[float, float, float], ...]  # (x, y, z) in the scan's RAS+ world
    radius_mm: float = 0.0  # of a point's ball or a line's tube; 0 for a box
    piece: int | None = None  # number of the bright piece, from 1, where the stroke names one


@dataclasses.dataclass(frozen=True)
class Strokes:
    """All strokes of one scan for one mask."""

    target: Target
    strokes: tuple[Stroke, ...]
    none: bool = False  # the scan has no coronary calcium; the strokes then label what else is bright


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
    lines = ",\n".join(f"    {json.dumps(_plain(stroke), allow_nan=False)}" for stroke in strokes.strokes)
    parts = [f'  "format": {json.dumps(FORMAT)}', f'  "target": {json.dumps(strokes.target)}']
    parts += ['  "none": true'] if strokes.none else []
    parts += [f'  "strokes": [\n{lines}\n  ]'] if strokes.strokes else []
    write_text(path, "{\n" + ",\n".join(parts) + "\n}\n")


def _plain(stroke: Stroke) -> dict[str, Any]:
    """A stroke as JSON data; a piece that was placed is written as the point in it."""
    if stroke.kind == "piece":
        return {"label": stroke.label, "piece": stroke.piece}
    return {
        "kind": stroke.kind,
        "label": stroke.label,
        "points_mm": [[round(float(value), 2) + 0.0 for value in point] for point in stroke.points_mm],
        "radius_mm": round(float(stroke.radius_mm), 2),
    }


def describe_stroke(number: int, stroke: Stroke) -> str:
    """How messages name a stroke; ``number`` counts from 1."""
    kind = stroke.kind if stroke.piece is None else f"piece {stroke.piece}"
    place = f" at {list(stroke.points_mm[0])} mm" if stroke.points_mm else ""
    return f"stroke {number} ({stroke.label}, {kind}{place})"


def _parse_strokes(raw: Any, *, where: str) -> Strokes:
    """Strokes out of JSON data; errors name the stroke by its number, counted from 1."""
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise InputError(f'{where}: no stroke file ("format" must be "{FORMAT}"); see docs/annotate.md.')
    items = raw.get("strokes", [])
    fits = raw.get("target") in get_args(Target) and isinstance(items, list)
    if not fits or not {"strokes", "none"} & set(raw) or set(raw) - {"format", "target", "strokes", "none"}:
        raise InputError(
            f'{where}: it must hold "format", "target" (heart or calcium) and a list "strokes", and may hold '
            '"none" for calcium; nothing else.'
        )
    target = raw["target"]
    strokes = tuple(
        _parse_stroke(item, target, f"{where}: stroke {number}") for number, item in enumerate(items, 1)
    )
    if "none" in raw:
        _check_none(raw["none"], target, strokes, where)
    elif not strokes:
        hint = f"; {NONE_HINT}" if target == "calcium" else ""
        raise InputError(f"{where}: there is no stroke in it{hint}.")
    return Strokes(target, strokes, none="none" in raw)


def _check_none(none: Any, target: str, strokes: tuple[Stroke, ...], where: str) -> None:
    """Refuse another value than true, and strokes that contradict it."""
    if target != "calcium":
        raise InputError(f'{where}: "none" is for calcium; a {target} mask is never empty.')
    if none is not True:
        raise InputError(f'{where}: "none" can only be true; leave it out where there is coronary calcium.')
    for number, stroke in enumerate(strokes, 1):
        if stroke.label == "coronary":
            raise InputError(
                f'{where}: "none" states that there is no coronary calcium, but '
                f"{describe_stroke(number, stroke)} labels some; take one of them out."
            )


def _parse_stroke(item: Any, target: str, where: str) -> Stroke:
    keys = {"label", "kind", "points_mm", "radius_mm"}
    by_number = isinstance(item, dict) and set(item) == {"label", "piece"}
    if not by_number and not (isinstance(item, dict) and keys - {"radius_mm"} <= set(item) <= keys):
        raise InputError(
            f'{where} must have {", ".join(sorted(keys))} and nothing else, or "label" and "piece" alone.'
        )
    if item["label"] not in STROKE_LABELS[target]:
        raise InputError(f'{where}: "{item["label"]}" is none of {", ".join(STROKE_LABELS[target])}.')
    if by_number:
        return _parse_piece(item["label"], item["piece"], target, where)
    if item["kind"] not in _POINTS:
        raise InputError(f'{where}: "{item["kind"]}" is none of {", ".join(_POINTS)}.')
    radius, points = item.get("radius_mm", 0.0), item["points_mm"]
    least, most = _POINTS[item["kind"]]
    if not isinstance(points, list) or not least <= len(points) <= most:
        raise InputError(
            f"{where}: a {item['kind']} has {least if least == most else f'{least} or more'} points."
        )
    for values in ([radius], *points):
        listed = isinstance(values, list) and len(values) in (1, 3)
        if not listed or not all(_is_millimetres(value) for value in values):
            raise InputError(f"{where}: points are [x, y, z] and radius_mm is a number, in millimetres.")
    if radius < 0 or any(len(point) != 3 for point in points):
        raise InputError(f"{where}: points are [x, y, z], and a radius is not negative.")
    placed = tuple((float(x), float(y), float(z)) for x, y, z in points)
    return Stroke(item["label"], item["kind"], placed, float(radius))


def _parse_piece(label: str, piece: Any, target: str, where: str) -> Stroke:
    if target != "calcium":
        raise InputError(f"{where}: only strokes of the calcium mask can name a bright piece by its number.")
    if not isinstance(piece, int) or isinstance(piece, bool) or piece < 1:
        raise InputError(
            f'{where}: "piece" is a number that `coronet annotate pieces CASE` lists, not {piece!r}.'
        )
    return Stroke(label, "piece", (), piece=piece)


def _is_millimetres(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and abs(value) <= _MAX_MM
