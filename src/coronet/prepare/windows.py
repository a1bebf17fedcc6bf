"""Training windows: which case, which place, and what the network gets to see there.

A sample is a function of (seed, epoch, index) and nothing else, so that training that was broken off draws
the same samples as training that was not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from coronet.cohort.volume import AIR_HU
from coronet.config import ModelParams
from coronet.prepare.augmentation import cut, draw_field, draw_intensity, warp
from coronet.prepare.inputs import CALCIUM_HU
from coronet.prepare.store import FAR, TENTHS, PreparedCase

MOST_VOXELS = 20_000
"""Voxels kept to draw from; more would only cost memory."""
LEAST_HARD_VOXELS = 3
"""Smaller bright things are noise, and are met anywhere."""


@dataclasses.dataclass(frozen=True)
class Anchors:
    """Voxels of one case that training windows are placed on, each of shape (n, 3).

    Attributes:
        lesions: the voxels of each connected part of the mask.
        hard: the voxels of each connected bright thing outside of the mask, thinned.
        anywhere: voxels near the heart, thinned; empty where the whole scan is seen.
    """

    lesions: tuple[np.ndarray, ...]
    hard: tuple[np.ndarray, ...]
    anywhere: np.ndarray


def find_anchors(case: PreparedCase) -> Anchors:
    """Where windows of a case may be placed."""
    near = None if case.distance is None else case.distance < FAR
    bright = (case.hu >= CALCIUM_HU) & (case.target == 0)
    return Anchors(
        lesions=_parts(case.target >= 128),
        hard=tuple(_thinned(part) for part in _parts(bright) if len(part) >= LEAST_HARD_VOXELS),
        anywhere=np.empty((0, 3), int) if near is None else _thinned(np.argwhere(near)),
    )


def _parts(mask: np.ndarray) -> tuple[np.ndarray, ...]:
    """Voxels (n, 3) of each connected part of a mask."""
    import cc3d

    labels = cc3d.connected_components(mask, connectivity=26)
    voxels = np.argwhere(labels)
    if not len(voxels):
        return ()
    owner = labels[tuple(voxels.T)]
    order = np.argsort(owner, kind="stable")
    return tuple(np.split(voxels[order], np.flatnonzero(np.diff(owner[order])) + 1))


def _thinned(voxels: np.ndarray) -> np.ndarray:
    return voxels[:: max(1, len(voxels) // MOST_VOXELS)]


class WindowSampler:
    """Draws training samples from prepared cases held in memory."""

    def __init__(self, cases: Sequence[PreparedCase], params: ModelParams, *, seed: int) -> None:
        self._cases = tuple(cases)
        self._anchors = tuple(find_anchors(case) for case in cases)
        self._lesions = [
            (number, voxels) for number, anchors in enumerate(self._anchors) for voxels in anchors.lesions
        ]
        # Things, not voxels, are to be told apart: a stent must be met about as often as the large sternum.
        self._hard_shares = tuple(
            np.cumsum(sizes) / np.sum(sizes)
            if (sizes := [len(part) ** 0.5 for part in anchors.hard])
            else None
            for anchors in self._anchors
        )
        self._params = params
        self._seed = seed

    def sample(self, epoch: int, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Image (1, x, y, z) in −1 … 1 and target (1, x, y, z) in 0 … 1 of one sample."""
        rng = np.random.default_rng([self._seed, epoch, index])
        number, centre = self._place(rng, epoch, index)
        case, spec = self._cases[number], self._params.input
        field = draw_field(rng, self._params.augment, shape=spec.shape, spacing_mm=spec.spacing_mm)
        stack, fills = (case.hu, case.target), (AIR_HU, 0)
        if case.distance is not None:
            stack, fills = (*stack, case.distance), (*fills, FAR)
        pair = cut(stack, centre, spec.shape, fills) if field is None else warp(stack, centre, field, fills)
        if case.distance is not None:
            self._hide(rng, pair)
        image = draw_intensity(
            rng, pair[0], self._params.augment, spacing_mm=spec.spacing_mm, window_hu=spec.window_hu
        )
        return image[None], pair[1:2] / 255.0

    def _hide(self, rng: np.random.Generator, window: torch.Tensor) -> None:
        """Air out what lies beyond the margin of a heart whose surface is moved in or out."""
        surface_mm = rng.uniform(-1, 1) * self._params.augment.surface_mm
        beyond = window[2] > max(self._params.input.margin_mm + surface_mm, 0.0) * TENTHS
        window[0].masked_fill_(beyond, AIR_HU)
        window[1].masked_fill_(beyond, 0)

    def batch(self, epoch: int, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Images and targets (n, 1, x, y, z) of one step."""
        size = self._params.optimiser.batch_size
        images, targets = zip(
            *(self.sample(epoch, step * size + place) for place in range(size)), strict=True
        )
        return torch.stack(images), torch.stack(targets)

    def _place(self, rng: np.random.Generator, epoch: int, index: int) -> tuple[int, list[float]]:
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._cases))
        number = int(order[index % len(order)])
        kind, sampling = rng.random(), self._params.sampling
        anchor: np.ndarray | None = None
        if kind < sampling.positives and self._lesions:
            number, voxels = self._lesions[rng.integers(len(self._lesions))]
            anchor = voxels[rng.integers(len(voxels))]
        elif kind < sampling.positives + sampling.hard_negatives and self._anchors[number].hard:
            things, shares = self._anchors[number].hard, self._hard_shares[number]
            thing = things[int(np.searchsorted(shares[:-1], rng.random() * shares[-1], side="right"))]
            anchor = thing[rng.integers(len(thing))]
        elif len(self._anchors[number].anywhere):
            anchor = self._anchors[number].anywhere[rng.integers(len(self._anchors[number].anywhere))]
        return number, self._centre(rng, self._cases[number].hu.shape, anchor)

    def _centre(
        self, rng: np.random.Generator, scan: Sequence[int], anchor: np.ndarray | None
    ) -> list[float]:
        """Centre of a window that holds ``anchor`` off its rim and lies in the scan as far as it can."""
        centre = []
        for axis, size in enumerate(self._params.input.shape):
            spare = scan[axis] - size
            if spare <= 0:
                start = -((size - scan[axis]) // 2)
            elif anchor is None:
                start = int(rng.integers(spare + 1))
            else:
                start = int(np.clip(anchor[axis] - rng.integers(size // 6, size - size // 6), 0, spare))
            centre.append(start + (size - 1) / 2)
        return centre
