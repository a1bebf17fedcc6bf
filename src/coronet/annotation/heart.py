"""A heart mask from a few strokes.

Along rays from the middle of the strokes, most of a heart's surface is where lung begins; a smooth closed
surface is fitted to it and bound by the strokes (`ray_surface`). A forest learns from the strokes and from
what lies deep inside and well outside that surface, and from other scans where there are any; it gives every
block of soft tissue a probability of heart, and the surface moves to where that crosses one half. The result
is one piece without holes, on the scan's own voxels.
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
from coronet.annotation.stroke_voxels import Marks, mark_strokes, parts_of
from coronet.annotation.strokes import NO_HEART_STROKE, STROKE_LABELS, Strokes
from coronet.errors import InputError
from coronet.io.volume import Volume, triple

logger = logging.getLogger("coronet")

_HEART, _BACKGROUND = 0, 1
_DEEP_MM = 8.0  # blocks farther than this inside or outside the surface are training rows
_NEAR_MM = 45.0  # blocks farther outside than this add little; a quarter of the background's rows is of them
_SURFACE_ROWS = 700
_OWN_SHARE = 0.4  # least share of a scan's own rows among all that its forest learns from
_LIBRARY_ROWS = 5000  # rows of other scans at most; more add little and make every forest slow to grow
_SLACK_MM = 8.0
_TRUST = 0.8
_SOFT_MM = 8.0
AIRWAY_HU = -400
_NO_MARKS = Marks(np.zeros((0, 3), np.int32), np.zeros(0, np.uint8), STROKE_LABELS["heart"])


@dataclasses.dataclass(frozen=True)
class PreparedChest:
    """A scan in blocks and the body in it; all that is read of its voxels before a heart is drawn."""

    blocks: BlockMeans
    body: Body

    @classmethod
    def of(cls, volume: Volume) -> PreparedChest:
        """Read a scan."""
        blocks = block_means(volume)
        return cls(blocks, find_body(blocks))

    def describe(self, wanted: np.ndarray) -> BlockFeatures:
        """Describe what lies between the lungs and 60 mm around ``wanted`` (n, 3 voxels)."""
        box = chest_box(self.blocks, self.body, self.blocks.blocks_of(wanted))
        blocks, body = self.blocks.within(box), self.body.within(box)
        return block_features(blocks, body, body.tissue)


def draw_heart(
    volume: Volume,
    strokes: Strokes | Marks | None,
    *,
    prior: Samples | None = None,
    case: str = "",
    chest: PreparedChest | None = None,
) -> DraftMask:
    """Draw a heart.

    Args:
        strokes: of this scan; None draws with ``prior`` alone.
        case: id under which this scan's samples are kept.
        chest: `PreparedChest.of` the scan, where it is drawn more than once.

    Raises:
        InputError: nothing to learn from, no stroke has the label heart, or no heart is found.
    """
    marks = _NO_MARKS if strokes is None else mark_strokes(strokes, volume)
    near = (chest or PreparedChest.of(volume)).describe(marks.of("heart"))
    blocks, tissue = near.blocks, near.where
    if prior is not None:
        forests.check_features(prior, near.names)
    if strokes is not None:
        _warn_of_missed(strokes, volume, near)
    labels = _label_blocks(marks, blocks)
    heart, background = labels == _HEART + 1, labels == _BACKGROUND + 1
    if heart.any():
        rays = ray_surface.cast_rays(blocks, near.body, heart, background)
        surface = ray_surface.fit_depths(rays)
        depth = ray_surface.depth_of(surface, rays, blocks, tissue)
        forest = _fit(_samples(near, depth, labels, case=case), prior)
        probability = _probability(forest, near)
    else:
        if prior is None or background.any():
            raise InputError(NO_HEART_STROKE)
        forest = forests.fit_forest(prior)
        probability = _probability(forest, near)
        rays = ray_surface.cast_rays(blocks, near.body, _core(probability, blocks), background)
        surface = ray_surface.fit_depths(rays)
    for _ in range(2):
        found = ray_surface.best_radius(probability, rays, blocks, surface, slack_mm=_SLACK_MM)
        surface = ray_surface.fit_depths(rays, finding=found, trust=_TRUST)
    depth = ray_surface.depth_of(surface, rays, blocks, tissue)
    own = _samples(near, depth if heart.any() else None, labels, case=case)
    level = np.clip(np.float32(0.5) + depth / np.float32(2 * _SOFT_MM), 0, 1)
    box, percent = _on_voxels(level, volume, blocks)
    mask = np.zeros(volume.shape, np.uint8, order="F")
    mask[box] = _one_piece((percent >= 50) & (volume.array[box] > AIRWAY_HU))

    def maps() -> tuple[np.ndarray, np.ndarray]:
        drawn, predicted = np.zeros((2, *volume.shape), np.uint8)
        drawn[box] = percent
        part, forest_percent = _on_voxels(probability, volume, blocks)
        predicted[part] = forest_percent
        return drawn, uncertainty_of(predicted)

    return DraftMask(mask, maps, own, forest)


def _warn_of_missed(strokes: Strokes | Marks, volume: Volume, near: BlockFeatures) -> None:
    """Warn of strokes that label nothing of what the forest learns from."""
    for part in parts_of(strokes, volume):
        place = near.blocks.blocks_of(part.index)
        place = place[near.blocks.inside(place)]
        if part.label == "heart" and not near.where[tuple(place.T)].any():
            logger.warning("%s touches no soft tissue of the body, so it has no effect.", part.name)
        elif not len(place):
            logger.warning("%s lies too far from the heart to have an effect.", part.name)


def _label_blocks(marks: Marks, blocks: BlockMeans) -> np.ndarray:
    """Labels of blocks: int8, 0 without strokes, else 1 + index of the label most of its voxels carry."""
    counts = np.zeros((len(marks.names), *blocks.hu.shape), np.int32)
    place = blocks.blocks_of(marks.index)
    kept = blocks.inside(place)
    np.add.at(counts, (marks.label[kept].astype(np.intp) - 1, *place[kept].T), 1)
    return np.where(counts.any(axis=0), counts.argmax(axis=0) + 1, 0).astype(np.int8)


def _samples(near: BlockFeatures, depth: np.ndarray | None, labels: np.ndarray, *, case: str) -> Samples:
    """Rows of a scan: all labelled blocks, and a sample of those far from the surface.

    Args:
        depth: mm inside the surface, negative outside; float32 blocks.
    """
    tissue, chosen = near.where, np.where(near.where, labels, 0)
    if depth is not None:
        rng = np.random.default_rng([forests.SEED, 1])
        beside = (depth < -_DEEP_MM) & (depth >= -_NEAR_MM)
        for label, among, most in (
            (_HEART, depth > _DEEP_MM, _SURFACE_ROWS),
            (_BACKGROUND, beside, _SURFACE_ROWS - _SURFACE_ROWS // 4),
            (_BACKGROUND, depth < -_NEAR_MM, _SURFACE_ROWS // 4),
        ):
            places = np.flatnonzero(among & tissue & (labels == 0))
            chosen.ravel()[places[rng.permutation(len(places))[:most]]] = label + 1
    rows = chosen[tissue]
    kept = rows > 0
    return Samples(
        near.values[kept],
        (rows[kept] - 1).astype(np.uint8),
        np.full(int(kept.sum()), case, dtype=f"<U{max(len(case), 1)}"),
        near.names,
        STROKE_LABELS["heart"],
    )


def _fit(own: Samples, prior: Samples | None) -> Forest:
    if prior is None:
        return forests.fit_forest(own)
    prior = forests.draw_samples(prior, _LIBRARY_ROWS)
    times = max(1, round(_OWN_SHARE / (1 - _OWN_SHARE) * len(prior.labels) / len(own.labels)))
    return forests.fit_forest(forests.join_samples([prior, *[own] * times]))


def _probability(forest: Forest, near: BlockFeatures) -> np.ndarray:
    """Probability of heart in each block, 0 outside soft tissue; float32."""
    probability = np.zeros(near.where.shape, np.float32)
    probability[near.where] = forest.probability(near.values)[:, _HEART]
    return probability


def _core(probability: np.ndarray, blocks: BlockMeans) -> np.ndarray:
    """Blocks that are heart with heart all around them; bool."""
    likely = probability >= 0.5
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
    """Blocks on the scan's voxels, linearly: the box that is not 0, and uint8 per cent, x running fastest."""
    values = np.ascontiguousarray(level.T) * np.float32(100)
    box: list[slice] = []
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
    return triple(box), np.clip(np.rint(values), 0, 100).astype(np.uint8).T


def _one_piece(mask: np.ndarray) -> np.ndarray:
    """The largest piece, with holes filled slice by slice; bool."""
    import cc3d

    if not mask.any():
        raise InputError("No heart was found; give more strokes (`coronet annotate draw`).")
    part = cc3d.largest_k(mask, k=1, connectivity=6) > 0
    for index in range(part.shape[2]):
        part[:, :, index] = ndimage.binary_fill_holes(part[:, :, index])
    return part
