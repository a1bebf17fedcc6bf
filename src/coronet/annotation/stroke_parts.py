"""Strokes one by one, and what a label volume paints spot by spot, so that messages can name them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from coronet.annotation.strokes import Marks, Strokes, mark_strokes, name_of
from coronet.io.volume import Volume


@dataclasses.dataclass(frozen=True)
class StrokePart:
    """Voxels that one stroke, or one painted spot, covers.

    Attributes:
        name: how messages name it.
        label: what it says.
        index: (n, 3) voxels of the scan.
        is_box: a box holds only the pieces that lie wholly in it.
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
            yield StrokePart(name_of(number, item), item.label, index, item.kind == "box")
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
