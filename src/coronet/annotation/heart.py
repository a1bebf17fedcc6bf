"""A heart out of a few strokes.

Seen from the middle of the strokes, most of a heart's surface is where lung begins; a smooth closed surface
is laid through it and bound by the strokes (`shape`). A forest learns from the strokes and from what lies
deep inside and well outside that surface, and from other scans where there are any; it says of every block of
soft tissue how likely it is heart, and the surface moves to where its answer turns. The result is one piece
without holes, drawn on the scan's own voxels.
"""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
from scipy import ndimage

from coronet.annotation import forest as forests
from coronet.annotation import ray_surface
from coronet.annotation.block_features import BlockFeatures, block_features
from coronet.annotation.block_grid import BlockMeans, Body, block_means, chest_box, find_body
from coronet.annotation.draft_mask import DraftMask, uncertainty_of
from coronet.annotation.forest import Forest, Samples
from coronet.annotation.stroke_parts import parts_of
from coronet.annotation.strokes import NO_HEART_STROKE, STROKE_LABELS, Marks, Strokes, mark_strokes
from coronet.errors import InputError
from coronet.io.volume import Volume

logger = logging.getLogger("coronet")

_HEART, _BACKGROUND = 0, 1
_DEEP_MM = 8.0
"""Blocks farther than this inside or outside the first surface teach the forest."""
_NEAR_MM = 45.0
"""Blocks farther outside than this teach little; a quarter of the background's rows is of them."""
_TAUGHT = 700
_OWN_SHARE = 0.4
"""Least share of a scan's own rows among all that its forest learns from."""
_FOREIGN = 5000
"""Rows of other scans at most; more teach little and make every forest slow to grow."""
_SLACK_MM = 8.0
_TRUST = 0.8
_SOFT_MM = 8.0
AIRWAY_HU = -400
_NOTHING = Marks(np.zeros((0, 3), np.int32), np.zeros(0, np.uint8), STROKE_LABELS["heart"])


@dataclasses.dataclass(frozen=True)
class HeartProbability:
    """A scan as the forest sees it: blocks, body and the features of all soft tissue in the chest."""

    blocks: BlockMeans
    body: Body
    described: BlockFeatures


@dataclasses.dataclass(frozen=True)
class PreparedChest:
    """A scan in blocks and the body in it; all that is read of its voxels before a heart is painted."""

    blocks: BlockMeans
    body: Body

    @classmethod
    def of(cls, volume: Volume) -> PreparedChest:
        """Read a scan."""
        blocks = block_means(volume)
        return cls(blocks, find_body(blocks))

    def see(self, wanted: np.ndarray) -> HeartProbability:
        """Describe what lies between the lungs and 60 mm around ``wanted`` (n, 3 voxels)."""
        box = chest_box(self.blocks, self.body, self.blocks.blocks_of(wanted))
        blocks, body = self.blocks.within(box), self.body.within(box)
        return HeartProbability(blocks, body, block_features(blocks, body, body.tissue))


def draw_heart(
    volume: Volume,
    strokes: Strokes | Marks | None,
    *,
    prior: Samples | None = None,
    case: str = "",
    seed: int = 0,
    chest: PreparedChest | None = None,
) -> DraftMask:
    """Draw a heart.

    Args:
        volume: the scan.
        strokes: what a person says of it; None where ``prior`` alone must do.
        prior: what other scans taught.
        case: id under which this scan's samples are kept.
        seed: of the forest.
        chest: `PreparedChest.of` the scan, where it is drawn more than once.

    Raises:
        InputError: nothing to learn from, no stroke says heart, or what is found is no heart.
    """
    marks = _NOTHING if strokes is None else mark_strokes(strokes, volume)
    seen = (chest or PreparedChest.of(volume)).see(marks.of("heart"))
    if prior is not None:
        forests.check_features(prior, seen.described.names)
    if strokes is not None:
        _name_missed(strokes, volume, seen)
    said = _stroke_blocks(marks, seen.blocks)
    blocks, tissue = seen.blocks, seen.described.where
    heart, background = said == _HEART + 1, said == _BACKGROUND + 1
    if heart.any():
        rays = ray_surface.cast_rays(blocks, seen.body, heart, background)
        first = ray_surface.fit_depths(rays)
        own = _taught(seen, ray_surface.depth_of(first, rays, blocks, tissue), said, case=case, seed=seed)
        forest = _grow(own, prior, seed)
        answer = _answer(forest, seen)
    else:
        if prior is None or background.any():
            raise InputError(NO_HEART_STROKE)
        own, forest = _taught(seen, None, said, case=case, seed=seed), forests.fit_forest(prior, seed=seed)
        answer = _answer(forest, seen)
        rays = ray_surface.cast_rays(blocks, seen.body, _core(answer, blocks), background)
        first = ray_surface.fit_depths(rays)
    surface = first
    for _ in range(2):
        found = ray_surface.best_radius(answer, rays, blocks, surface, slack_mm=_SLACK_MM)
        surface = ray_surface.fit_depths(rays, finding=found, trust=_TRUST)
    depth = ray_surface.depth_of(surface, rays, blocks, tissue)
    if heart.any():
        own = _taught(seen, depth, said, case=case, seed=seed)
    level = np.clip(np.float32(0.5) + depth / np.float32(2 * _SOFT_MM), 0, 1)
    box, likely = _on_voxels(level, volume, blocks)
    mask = np.zeros(volume.shape, np.uint8, order="F")
    mask[box] = _whole((likely >= 50) & (volume.array[box] > AIRWAY_HU))

    def maps() -> tuple[np.ndarray, np.ndarray]:
        probability, told = np.zeros((2, *volume.shape), np.uint8)
        probability[box] = likely
        part, answered = _on_voxels(answer, volume, blocks)
        told[part] = answered
        return probability, uncertainty_of(told)

    return DraftMask(mask, maps, own, forest)


def _name_missed(strokes: Strokes | Marks, volume: Volume, seen: HeartProbability) -> None:
    """Warn of strokes that say nothing of what the forest looks at."""
    for part in parts_of(strokes, volume):
        place = seen.blocks.blocks_of(part.index)
        place = place[seen.blocks.inside(place)]
        if part.label == "heart" and not seen.described.where[tuple(place.T)].any():
            logger.warning("%s touches no soft tissue of the body, so it teaches nothing.", part.name)
        elif not len(place):
            logger.warning("%s lies farther from the heart than is looked at.", part.name)


def _stroke_blocks(marks: Marks, blocks: BlockMeans) -> np.ndarray:
    """What strokes say of blocks: int8, 0 nothing, else 1 + index of the label most of its voxels carry."""
    counts = np.zeros((len(marks.names), *blocks.hu.shape), np.int32)
    place = blocks.blocks_of(marks.index)
    kept = blocks.inside(place)
    np.add.at(counts, (marks.label[kept].astype(np.intp) - 1, *place[kept].T), 1)
    return np.where(counts.any(axis=0), counts.argmax(axis=0) + 1, 0).astype(np.int8)


def _taught(
    seen: HeartProbability, depth: np.ndarray | None, said: np.ndarray, *, case: str, seed: int
) -> Samples:
    """Rows of a scan: all stroked blocks, and a sample of those that a surface leaves in little doubt.

    Args:
        seen: the scan.
        depth: mm inside the surface, negative outside; float32 blocks.
        said: of `_stroke_blocks`.
        case: the rows' case.
        seed: of the sample.
    """
    labels = np.where(seen.described.where, said, 0)
    if depth is not None:
        rng = np.random.default_rng([seed, 1])
        near = (depth < -_DEEP_MM) & (depth >= -_NEAR_MM)
        for label, among, most in (
            (_HEART, depth > _DEEP_MM, _TAUGHT),
            (_BACKGROUND, near, _TAUGHT - _TAUGHT // 4),
            (_BACKGROUND, depth < -_NEAR_MM, _TAUGHT // 4),
        ):
            places = np.flatnonzero(among & seen.described.where & (said == 0))
            labels.ravel()[places[rng.permutation(len(places))[:most]]] = label + 1
    rows = labels[seen.described.where]
    chosen = rows > 0
    return Samples(
        seen.described.values[chosen],
        (rows[chosen] - 1).astype(np.uint8),
        np.full(int(chosen.sum()), case, dtype=f"<U{max(len(case), 1)}"),
        seen.described.names,
        STROKE_LABELS["heart"],
    )


def _grow(own: Samples, prior: Samples | None, seed: int) -> Forest:
    if prior is None:
        return forests.fit_forest(own, seed=seed)
    prior = forests.draw_samples(prior, _FOREIGN, seed=seed)
    times = max(1, round(_OWN_SHARE / (1 - _OWN_SHARE) * len(prior.labels) / len(own.labels)))
    return forests.fit_forest(forests.join_samples([prior, *[own] * times]), seed=seed)


def _answer(forest: Forest, seen: HeartProbability) -> np.ndarray:
    answer = np.zeros(seen.described.where.shape, np.float32)
    answer[seen.described.where] = forest.probability(seen.described.values)[:, _HEART]
    return answer


def _core(answer: np.ndarray, blocks: BlockMeans) -> np.ndarray:
    """What the forest holds for heart with tissue of the same kind around it; bool."""
    likely = answer >= 0.5
    parts, count = ndimage.label(likely)
    if not count:
        raise InputError("The forest finds no heart in it; draw it with strokes (`coronet annotate draw`).")
    size = np.bincount(parts.ravel(), minlength=count + 1)
    size[0] = 0
    depth = ndimage.distance_transform_edt(np.pad(parts == size.argmax(), 1), sampling=blocks.spacing_mm)
    depth = depth[1:-1, 1:-1, 1:-1]
    return depth >= np.float32(0.6) * depth.max()


def _on_voxels(
    level: np.ndarray, volume: Volume, blocks: BlockMeans
) -> tuple[tuple[slice, slice, slice], np.ndarray]:
    """Blocks on the scan's voxels, per cent, between their centres in straight lines.

    Returns:
        The box outside of which all is 0, and uint8 of its shape, x running fastest.
    """
    values, box = np.ascontiguousarray(level.T) * np.float32(100), []
    for axis in (2, 1, 0):
        turned = 2 - axis
        filled = np.flatnonzero((level > 0).any(axis=tuple(j for j in range(3) if j != axis)))
        factor, first, count = blocks.factor[axis], blocks.first[axis], level.shape[axis]
        low, high = (int(filled[0]), int(filled[-1])) if filled.size else (0, -2)
        start = max((first + low - 1) * factor, 0)
        stop = max(min((first + high + 2) * factor, volume.shape[axis]), start)
        place = (np.arange(start, stop) - (factor - 1) / 2) / factor - first
        place = np.clip(place, 0, count - 1)
        below = np.minimum(np.floor(place), max(count - 2, 0)).astype(np.intp)
        share = (place - below).astype(np.float32).reshape([-1 if i == turned else 1 for i in range(3)])
        lower = np.take(values, below, axis=turned)
        upper = np.take(values, np.minimum(below + 1, count - 1), axis=turned)
        values = lower + (upper - lower) * share
        box.insert(0, slice(start, stop))
    return tuple(box), np.clip(np.rint(values), 0, 100).astype(np.uint8).T


def _whole(mask: np.ndarray) -> np.ndarray:
    """The largest piece, with holes filled slice by slice; bool.

    Raises:
        InputError: the mask is empty.
    """
    import cc3d

    if not mask.any():
        raise InputError("No heart was found; give more strokes (`coronet annotate draw`).")
    part = cc3d.largest_k(mask, k=1, connectivity=6) > 0
    for index in range(part.shape[2]):
        part[:, :, index] = ndimage.binary_fill_holes(part[:, :, index])
    return part
