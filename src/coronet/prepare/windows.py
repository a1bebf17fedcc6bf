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
from coronet.prepare.store import PreparedCase

MOST_HARD_VOXELS = 20_000
"""Bright voxels kept per case to draw from; more would only cost memory."""


@dataclasses.dataclass(frozen=True)
class Anchors:
    """Voxels of one case that training windows are placed on, each of shape (n, 3).

    Attributes:
        lesions: the voxels of each connected part of the mask.
        hard: bright voxels outside of the mask.
        anywhere: voxels of the region, thinned; empty where the region is the whole scan.
    """

    lesions: tuple[np.ndarray, ...]
    hard: np.ndarray
    anywhere: np.ndarray


def find_anchors(case: PreparedCase) -> Anchors:
    """Where windows of a case may be placed."""
    import cc3d

    parts = cc3d.connected_components(case.target >= 128, connectivity=26)
    bright = (case.hu >= CALCIUM_HU) & (case.target == 0)
    if case.region is None:
        anywhere = np.empty((0, 3), int)
    else:
        bright &= case.region
        anywhere = _thinned(np.argwhere(case.region))
    voxels = np.argwhere(parts)
    labels = parts[tuple(voxels.T)]
    return Anchors(
        lesions=tuple(voxels[labels == label] for label in range(1, int(parts.max(initial=0)) + 1)),
        hard=_thinned(np.argwhere(bright)),
        anywhere=anywhere,
    )


def _thinned(voxels: np.ndarray) -> np.ndarray:
    return voxels[:: max(1, len(voxels) // MOST_HARD_VOXELS)]


class WindowSampler:
    """Draws training samples from prepared cases held in memory."""

    def __init__(self, cases: Sequence[PreparedCase], params: ModelParams, *, seed: int) -> None:
        self._cases = tuple(cases)
        self._anchors = tuple(find_anchors(case) for case in cases)
        self._lesions = [
            (number, voxels) for number, anchors in enumerate(self._anchors) for voxels in anchors.lesions
        ]
        self._params = params
        self._seed = seed

    def sample(self, epoch: int, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Image (1, x, y, z) in −1 … 1 and target (1, x, y, z) in 0 … 1 of one sample."""
        rng = np.random.default_rng([self._seed, epoch, index])
        number, centre = self._place(rng, epoch, index)
        case, spec = self._cases[number], self._params.input
        field = draw_field(rng, self._params.augment, shape=spec.shape, spacing_mm=spec.spacing_mm)
        stack, fills = (case.hu, case.target), (AIR_HU, 0)
        pair = cut(stack, centre, spec.shape, fills) if field is None else warp(stack, centre, field, fills)
        image = draw_intensity(
            rng, pair[0], self._params.augment, spacing_mm=spec.spacing_mm, window_hu=spec.window_hu
        )
        return image[None], pair[1:] / 255.0

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
        elif kind < sampling.positives + sampling.hard_negatives and len(self._anchors[number].hard):
            anchor = self._anchors[number].hard[rng.integers(len(self._anchors[number].hard))]
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
