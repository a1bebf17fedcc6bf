"""A simulated reader who annotates phantoms: few strokes, imprecise, with pieces overlooked and mistaken.

The reader corrects what the forest has drawn. The truth decides the label of a stroke and never where each
voxel belongs: a stroke is a coarse line or one click. Every choice is seeded and every coordinate rounded to
a tenth of a millimetre, so that strokes are the same on every processor.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from coronet.annotation.calcium import ClassifiedCandidates, visibility
from coronet.annotation.named_pieces import NAMES, UNLABELLED
from coronet.annotation.ray_surface import BEFORE_BACKGROUND_MM, BEHIND_HEART_MM
from coronet.annotation.strokes import Stroke, Strokes
from coronet.imaging.resampling import mask_slices
from coronet.io.volume import Volume, triple
from coronet.phantom.curves import norms
from coronet.phantom.random_draws import bell, between, chance, generator, turn

_HEART, _CALCIUM = 1, 2  # purposes of the generators

_INSIDE = 0.72  # how far out the line inside reaches, as a share of the way from the middle to the surface
_OUTSIDE_MM = (5.0, 12.0)  # how far from the surface the first lines outside run
HEART_REVIEWS, LINES_A_REVIEW = 2, 3
"""How often a drawn heart is reviewed, and how many lines correct it each time."""
_AXIAL = tuple(number / 10 + 0.05 for number in range(10))
_CORONAL = (0.2, 0.35, 0.5, 0.65, 0.8)  # slices that are reviewed, as shares of the heart's height and depth
APART_MM = 25.0  # between the middles of two corrections of one review
_HAND_MM = 1.2  # standard deviation of each point's error in each direction; never more than `HAND_MOST_MM`
HAND_MOST_MM = 3.0
_RADIUS_MM = 1.0  # of the pen

MOST_CLICKS = 5
TRAINING_CLICKS = 12  # clicks on a scan that the forest is trained with
NEVER_OVERLOOKED = 2600.0  # `visibility` from which no piece is overlooked
MISTAKEN = {"valve": 0.05, "metal": 0.05, "aorta": 0.02, "noise": 0.05}
"""How often a wrongly drawn piece of this kind is taken for coronary."""
_MISTAKEN_MM3 = 600.0
"""No larger piece is taken for coronary, nor one that goes on away from the heart: drawing warns of it."""


def simulated_heart_strokes(volume: Volume, truth: np.ndarray, *, seed: int) -> Strokes:
    """Four lines to begin with: inside in an axial and a coronal slice, one below the heart and one above.

    Args:
        truth: heart mask, shape of ``volume``.
    """
    rng = generator(seed, _HEART)
    low, high = _ends(truth)[2]
    z = low + round((high - low) * between(rng, 0.44, 0.56))
    return Strokes("heart", (_inside(volume, truth[:, :, z] > 0, z, rng), *_coronal(volume, truth, rng)))


def simulated_heart_corrections(
    volume: Volume, truth: np.ndarray, draft: np.ndarray, *, seed: int, review: int
) -> tuple[Stroke, ...]:
    """A line along each of the largest patches that are drawn wrongly.

    The reader allows for how far the surface keeps from strokes (`coronet.annotation.ray_surface`), and draws
    so far from where the heart ends.

    Args:
        truth: heart mask, shape of ``volume``.
        draft: what was drawn, same shape.
        review: 0 for the first review of the heart.

    Returns:
        At most `LINES_A_REVIEW` lines.
    """
    rng = generator(seed, _HEART, 1 + review)
    lines: list[Stroke] = []
    middles: list[np.ndarray] = []
    for patch in _wrong_patches(volume, truth, draft):
        places = patch.along()
        middle = np.asarray(places[1]) * volume.spacing_mm
        if all(norms((middle - other)[None])[0] >= APART_MM for other in middles):
            middles.append(middle)
            lines.append(_hand(patch.label, places, volume, rng))
        if len(lines) == LINES_A_REVIEW:
            break
    return tuple(lines)


@dataclasses.dataclass(frozen=True)
class _Patch:
    """Connected voxels of one slice that are drawn wrongly."""

    label: str  # what they are
    axis: int  # across the slice
    at: int  # number of the slice
    exact: np.ndarray  # bool, the heart in the slice
    index: np.ndarray  # the voxels (n, 2) along the two other axes
    sides_mm: tuple[float, float]  # of a voxel along them

    @property
    def mm2(self) -> float:
        return len(self.index) * self.sides_mm[0] * self.sides_mm[1]

    def along(self) -> list[tuple[float, float, float]]:
        """Three voxels of the scan along its longer side."""
        low, high = self.index.min(axis=0), self.index.max(axis=0)
        extent = (high - low) * self.sides_mm
        longer = int(extent[1] > extent[0])
        places = []
        for share in (0.15, 0.5, 0.85):
            want = int(low[longer]) + round(share * int(high[longer] - low[longer]))
            across = np.sort(self.index[self.index[:, longer] == want, 1 - longer])
            # a bent patch may have a gap there
            across = across if across.size else np.sort(self.index[:, 1 - longer])
            line = np.take(self.exact, want, longer)
            flat = [float(want), self._beside(across, line, self.sides_mm[1 - longer])]
            place = flat if longer == 0 else flat[::-1]
            place.insert(self.axis, float(self.at))
            places.append(triple(place))
        return places

    def _beside(self, across: np.ndarray, line: np.ndarray, step_mm: float) -> float:
        """Where to draw across a line of voxels: as far from the heart's end as the surface keeps."""
        first, last = int(across[0]), int(across[-1])
        below, above = (0 <= place < len(line) and bool(line[place]) for place in (first - 1, last + 1))
        if below == above:
            return int(across.sum()) / across.size
        outside = self.label == "background"
        apart = (BEFORE_BACKGROUND_MM if outside else BEHIND_HEART_MM) / step_mm
        return first + apart if below == outside else last - apart


def _wrong_patches(volume: Volume, truth: np.ndarray, draft: np.ndarray) -> list[_Patch]:
    """The two largest of each kind in each slice that is reviewed, the largest of all first."""
    import cc3d

    found = []
    ends = _ends(truth)
    for axis, shares in ((2, _AXIAL), (1, _CORONAL)):
        low, high = ends[axis]
        first, second = (step for other, step in enumerate(volume.spacing_mm) if other != axis)
        for share in shares:
            at = low + round((high - low) * share)
            exact, there = (mask[(slice(None),) * axis + (at,)] > 0 for mask in (truth, draft))
            for label, wrong in (("heart", exact & ~there), ("background", there & ~exact)):
                parts = cc3d.connected_components(np.ascontiguousarray(wrong), connectivity=8)
                size = np.bincount(parts.ravel())[1:]
                for part in np.argsort(-size, kind="stable")[:2].tolist():
                    found.append(
                        _Patch(label, axis, at, exact, np.argwhere(parts == part + 1), (first, second))
                    )
    return sorted(found, key=lambda patch: -patch.mm2)


def _ends(mask: np.ndarray) -> list[tuple[int, int]]:
    """First and last slice that holds something, along x, y and z."""
    sides = mask_slices(mask)
    assert sides is not None, "a phantom's heart is not empty"
    return [(side.start, side.stop - 1) for side in sides]


def _inside(volume: Volume, mask: np.ndarray, z: int, rng: np.random.Generator) -> Stroke:
    """A line inside a slice's mask (x, y)."""
    steps = volume.spacing_mm[:2]
    index = np.argwhere(mask)
    centre = [int(index[:, axis].sum()) / len(index) * steps[axis] for axis in range(2)]
    start = between(rng, 0.0, 360.0)
    places = []
    for angle, share in ((0, 1), (80, 0.5), (170, 1)):
        way = turn(start + angle)
        reach = _INSIDE * share * _radius(mask, centre, way, steps)
        x, y = ((c + reach * part) / step for c, part, step in zip(centre, way, steps, strict=True))
        places.append((x, y, z))
    return _hand("heart", places, volume, rng, flat=True)


def _radius(
    mask: np.ndarray, centre_mm: Sequence[float], way: tuple[float, float], steps_mm: Sequence[float]
) -> float:
    """How far a slice's mask (x, y) reaches from a centre in a direction, in mm."""
    marks = np.arange(1, 400) * 0.5
    x, y = (
        np.rint((middle + marks * part) / step).astype(int)
        for middle, part, step in zip(centre_mm, way, steps_mm, strict=True)
    )
    within = (x >= 0) & (x < mask.shape[0]) & (y >= 0) & (y < mask.shape[1])
    hit = np.flatnonzero(mask[x[within], y[within]])
    return float(marks[within][hit[-1]]) if hit.size else 5.0


def _coronal(volume: Volume, truth: np.ndarray, rng: np.random.Generator) -> list[Stroke]:
    """One line from top to bottom inside, one below and one above."""
    first, last = _ends(truth)[1]
    y = int(first + (last - first) * between(rng, 0.4, 0.6))
    plane = truth[:, y] > 0
    columns = np.flatnonzero(plane.any(axis=1))
    middle = int(columns[0] + (columns[-1] - columns[0]) * between(rng, 0.42, 0.58))
    step_x, step_z = volume.spacing_mm[0], volume.spacing_mm[2]

    def ends(column: int) -> tuple[int, int]:
        filled = np.flatnonzero(plane[min(max(column, int(columns[0])), int(columns[-1]))])
        return (int(filled[0]), int(filled[-1])) if filled.size else ends(middle)

    low, high = ends(middle)
    rim = 0.15 * (high - low)
    inner = [(middle, y, low + rim), (middle, y, (low + high) / 2), (middle, y, high - rim)]
    lines = [_hand("heart", inner, volume, rng)]
    for side in (0, 1):
        reach, apart = between(rng, 14.0, 22.0) / step_x, between(rng, *_OUTSIDE_MM) / step_z
        places = [round(middle + share * reach) for share in (-1, 0, 1)]
        level = [ends(column)[side] + (apart if side else -apart) for column in places]
        lines.append(
            _hand("background", [(x, y, z) for x, z in zip(places, level, strict=True)], volume, rng)
        )
    return lines


def _hand(
    label: str,
    places: Sequence[tuple[float, float, float]],
    volume: Volume,
    rng: np.random.Generator,
    *,
    flat: bool = False,
) -> Stroke:
    """A line through places (voxel indices), imprecise as one drawn by hand, kept inside the scan."""
    spacing, points = volume.spacing_mm, []
    for place in places:
        point = []
        for axis in range(3):
            error = bell(rng, 0.0, _HAND_MM, -HAND_MOST_MM, HAND_MOST_MM)
            still = flat and axis == 2
            moved = place[axis] + (0.0 if still else error / spacing[axis])
            point.append(min(max(moved, 1.0), volume.shape[axis] - 2.0))
        points.append(_world(volume, point))
    return Stroke(label, "line", tuple(points), _RADIUS_MM)


def _world(volume: Volume, place: Sequence[float]) -> tuple[float, float, float]:
    affine = np.asarray(volume.affine, np.float64)
    return triple(
        round(float(sum(affine[row, axis] * place[axis] for axis in range(3)) + affine[row, 3]), 1) + 0.0
        for row in range(3)
    )


def simulated_calcium_strokes(
    volume: Volume,
    classified: ClassifiedCandidates,
    truth: Sequence[str],
    *,
    seed: int,
    most: int = MOST_CLICKS,
    review: int = 0,
) -> Strokes | None:
    """Clicks on pieces that are drawn wrongly, the most visible first.

    A piece is overlooked the more often the smaller and fainter it is, and some kinds are now and then taken
    for coronary (`MISTAKEN`). Where more flecks of noise are drawn than clicks are allowed, a box of noise
    encloses them all, and clicks label the plaques in it.

    Args:
        truth: true label of each piece (`coronet.phantom.reader_sessions.true_labels`).
        most: clicks at most.
        review: 0 for the first review of the scan; labelled pieces are not clicked again.

    Returns:
        The strokes; None where there is nothing to correct.
    """
    rng = generator(seed, _CALCIUM, review)
    pieces = classified.candidates
    if not pieces.count:
        return None
    visible = visibility(pieces)
    wrong, coronary = [], []
    for at in np.argsort(-visible, kind="stable").tolist():
        noticed = chance(rng, visible[at] / NEVER_OVERLOOKED)
        assumed = truth[at]
        plausible = pieces.volume_mm3[at] <= _MISTAKEN_MM3 and not pieces.cut[at]
        if chance(rng, MISTAKEN.get(assumed, 0.0)) and plausible:
            assumed = "coronary"
        if not noticed or classified.user_labels.piece[at] != UNLABELLED:
            continue
        if assumed == "coronary":
            coronary.append(at)
        if (NAMES[classified.label[at]] == "coronary") != (assumed == "coronary"):
            wrong.append((at, assumed))
    flecks = [at for at, assumed in wrong if assumed == "noise"]
    if len(flecks) > MOST_CLICKS:
        return Strokes("calcium", _boxed(volume, classified, flecks, coronary, rng))
    clicks = tuple(_click(volume, classified, at, assumed, rng) for at, assumed in wrong[:most])
    return Strokes("calcium", clicks) if clicks else None


def _boxed(
    volume: Volume,
    classified: ClassifiedCandidates,
    flecks: Sequence[int],
    coronary: Sequence[int],
    rng: np.random.Generator,
) -> tuple[Stroke, ...]:
    """A box of noise around flecks, then a click on each coronary piece that it touches."""
    pieces = classified.candidates
    voxels = np.argwhere(np.isin(pieces.labels, np.asarray(flecks) + 1))
    low, high = voxels.min(axis=0), voxels.max(axis=0)
    inside = pieces.labels[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))]
    corners = (_world_of(volume, classified, low - 0.5), _world_of(volume, classified, high + 0.5))
    touched = [at for at in coronary if (inside == at + 1).any()]
    clicks = (_click(volume, classified, at, "coronary", rng) for at in touched)
    return (Stroke("noise", "box", corners), *clicks)


def _click(
    volume: Volume, classified: ClassifiedCandidates, at: int, label: str, rng: np.random.Generator
) -> Stroke:
    """A click on one of the voxels of a piece."""
    pieces = classified.candidates
    places = np.argwhere(pieces.labels == at + 1)
    chosen = places[int(rng.integers(len(places)))]
    return Stroke(label, "point", (_world_of(volume, classified, chosen),), 0.0)


def _world_of(
    volume: Volume, classified: ClassifiedCandidates, place: np.ndarray
) -> tuple[float, float, float]:
    """Where a place in the box of the pieces lies in the world."""
    start = [side.start for side in classified.candidates.box]
    return _world(volume, [a + b for a, b in zip(place, start, strict=True)])
