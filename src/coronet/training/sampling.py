"""Training windows: which case, which place, and what the network gets to see there.

A sample is a function of (seed, epoch, index) and nothing else, so that training that was broken off draws
the same samples as training that was not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch

from coronet.config import ModelParams
from coronet.imaging.cropping import crop_window
from coronet.io.volume import AIR_HU, CALCIUM_HU
from coronet.preprocessing.intensity import scale_intensity
from coronet.preprocessing.prepared_store import FAR, TENTHS, PreparedCase
from coronet.training.augmentation import CPU, cut_window, draw_field, draw_intensity, draw_metal, warp_volume

_MOST_VOXELS = 20_000  # voxels kept to draw from; more would only cost memory
_CANDIDATES = 2**31  # sets the draw of candidates apart from those of samples, whose index is smaller
_LEAST_HARD_VOXELS = 3  # smaller bright components are noise, and are met anywhere
_FOCUS_SHARE = 0.5  # share of the windows on bright components drawn from the focus, where there is one


@dataclasses.dataclass(frozen=True)
class BrightComponent:
    """A connected part of a case that windows are placed on; its voxels have shape (n, 3)."""

    number: int
    voxels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Anchors:
    """What training windows of one case are placed on."""

    lesions: tuple[BrightComponent, ...]  # the connected parts of the mask
    hard: tuple[BrightComponent, ...]  # the connected bright ones outside of the mask, thinned
    anywhere: np.ndarray  # voxels near the heart, thinned, shape (n, 3); empty where the trunk is seen


def find_anchors(case: PreparedCase, number: int = 0) -> Anchors:
    """Where windows of a case may be placed; ``number`` is its place among the cases."""
    near = None if case.distance is None else case.distance < FAR
    bright = (case.hu >= CALCIUM_HU) & (case.target == 0)
    return Anchors(
        lesions=tuple(BrightComponent(number, part) for part in _parts(case.target >= 128)),
        hard=tuple(
            BrightComponent(number, _thinned(part))
            for part in _parts(bright)
            if len(part) >= _LEAST_HARD_VOXELS
        ),
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
    return voxels[:: max(1, len(voxels) // _MOST_VOXELS)]


def _shares(components: Sequence[BrightComponent]) -> np.ndarray:
    """Running sums of how often each component is met, by the root of its size.

    Components, not voxels, are to be classified: a stent must be met about as often as the large sternum.
    Yet a large lesion is met more often than a small one: in drawn masks many of the smallest are noise.
    """
    return np.cumsum([len(component.voxels) ** 0.5 for component in components])


def _draw(
    rng: np.random.Generator, components: Sequence[BrightComponent], shares: np.ndarray
) -> BrightComponent:
    return components[int(np.searchsorted(shares[:-1], rng.random() * shares[-1], side="right"))]


class WindowSampler:
    """Draws training samples from prepared cases held in memory; ``device`` is where they are made.

    Attributes:
        focus: bright components that the network took for calcium when this epoch began; none by default.
            Lesions that it did not believe in are not met more often: in masks that a person drew, most of
            those are none.
    """

    def __init__(
        self, cases: Sequence[PreparedCase], params: ModelParams, *, seed: int, device: torch.device = CPU
    ) -> None:
        self.focus: tuple[BrightComponent, ...] = ()
        self._cases = tuple(cases)
        self._anchors = tuple(find_anchors(case, number) for number, case in enumerate(cases))
        self._lesions = tuple(lesion for anchors in self._anchors for lesion in anchors.lesions)
        self._lesion_shares = _shares(self._lesions)
        self._hard_shares = tuple(_shares(anchors.hard) for anchors in self._anchors)
        self._params = params
        self._seed = seed
        self._device = device

    def sample(self, epoch: int, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Image (1, x, y, z) in −1 … 1 and target (1, x, y, z) in 0 … 1 of one sample."""
        rng = np.random.default_rng([self._seed, epoch, index])
        number, centre = self._place(rng, epoch, index)
        case, spec = self._cases[number], self._params.input
        field = draw_field(rng, self._params.augment, shape=spec.shape, spacing_mm=spec.spacing_mm)
        pair = self._cutout(
            case,
            lambda stack, fills: (
                cut_window(stack, centre, spec.shape, fills, device=self._device)
                if field is None
                else warp_volume(stack, centre, field, spec.shape, fills, device=self._device)
            ),
        )
        if self._params.augment.metal and rng.random() < self._params.augment.metal:
            draw_metal(rng, pair[0], spacing_mm=spec.spacing_mm)
        if self._params.augment.crop and rng.random() < self._params.augment.crop:
            pair = crop_window(rng, pair, spacing_mm=spec.spacing_mm)
        if case.distance is not None:
            self._hide(pair, rng.uniform(-1, 1) * self._params.augment.surface_mm)
        image = draw_intensity(
            rng, pair[0], self._params.augment, spacing_mm=spec.spacing_mm, window_hu=spec.window_hu
        )
        return image[None], pair[1:2] / 255.0

    @staticmethod
    def _cutout(case: PreparedCase, read: Callable[..., torch.Tensor]) -> torch.Tensor:
        """Image, target and, where there is one, distance of a window that ``read`` cuts."""
        if case.distance is None:
            return read((case.hu, case.target), (AIR_HU, 0))
        return read((case.hu, case.target, case.distance), (AIR_HU, 0, FAR))

    def _hide(self, cutout: torch.Tensor, surface_mm: float) -> None:
        """Air out what lies beyond the margin of a heart whose surface is moved out by ``surface_mm``."""
        beyond = cutout[2] > max(self._params.input.margin_mm + surface_mm, 0.0) * TENTHS
        cutout[0].masked_fill_(beyond, AIR_HU)
        cutout[1].masked_fill_(beyond, 0)

    def batch(self, epoch: int, numbers: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Images and targets (n, 1, x, y, z) of the samples with these numbers."""
        images, targets = zip(*(self.sample(epoch, number) for number in numbers), strict=True)
        return torch.stack(images), torch.stack(targets)

    def _place(self, rng: np.random.Generator, epoch: int, index: int) -> tuple[int, list[float]]:
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._cases))
        number = int(order[index % len(order)])
        kind, sampling = rng.random(), self._params.sampling
        anchor: np.ndarray | None = None
        if kind < sampling.positives and self._lesions:
            component = _draw(rng, self._lesions, self._lesion_shares)
            number, anchor = component.number, component.voxels[rng.integers(len(component.voxels))]
        elif kind < sampling.positives + sampling.hard_negatives and self._anchors[number].hard:
            component = self._draw_hard(rng, number, self.focus)
            number, anchor = component.number, component.voxels[rng.integers(len(component.voxels))]
        elif len(self._anchors[number].anywhere):
            anchor = self._anchors[number].anywhere[rng.integers(len(self._anchors[number].anywhere))]
        return number, self._centre(rng, self._cases[number].hu.shape, anchor)

    def _draw_hard(
        self, rng: np.random.Generator, number: int, focus: Sequence[BrightComponent] = ()
    ) -> BrightComponent:
        """A bright component of the case, by the root of its size, but for the focus."""
        if focus and rng.random() < _FOCUS_SHARE:
            return focus[int(rng.integers(len(focus)))]
        return _draw(rng, self._anchors[number].hard, self._hard_shares[number])

    def candidates(self, epoch: int, count: int) -> tuple[BrightComponent, ...]:
        """``count`` bright components, drawn as an epoch without a focus draws them."""
        rng = np.random.default_rng([self._seed, epoch, _CANDIDATES])
        bright = [number for number, anchors in enumerate(self._anchors) if anchors.hard]
        return tuple(
            self._draw_hard(rng, bright[rng.integers(len(bright))]) for _ in range(count if bright else 0)
        )

    def view(self, component: BrightComponent) -> tuple[torch.Tensor, torch.Tensor]:
        """A component as scoring sees it.

        Returns:
            The window around it, shape (1, x, y, z) in −1 … 1, and where in the window it lies, boolean of
            shape (x, y, z).
        """
        case, spec = self._cases[component.number], self._params.input
        middle = component.voxels[len(component.voxels) // 2]
        low = [
            min(max(int(place) - size // 2, 0), max(n - size, 0))
            for place, size, n in zip(middle, spec.shape, case.hu.shape, strict=True)
        ]
        centre = [start + (size - 1) / 2 for start, size in zip(low, spec.shape, strict=True)]
        cutout = self._cutout(case, lambda stack, fills: cut_window(stack, centre, spec.shape, fills))
        if case.distance is not None:
            self._hide(cutout, 0.0)
        inside = component.voxels - low
        inside = inside[(inside < spec.shape).all(axis=1) & (inside >= 0).all(axis=1)]
        place = torch.zeros(spec.shape, dtype=torch.bool)
        place[tuple(inside.T)] = True
        return scale_intensity(cutout[:1], spec.window_hu), place

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
