"""What a training loop trains: a segmentation network, or the autoencoder that one starts from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from coronet.config import ModelParams
from coronet.imaging.mask_metrics import (
    DECISIVE,
    LesionMatch,
    Overlap,
    match_lesions,
    overlap,
    summarise_metrics,
)
from coronet.inference.predict import BATCH, predict_windows, probabilities
from coronet.io.volume import CALCIUM_HU
from coronet.preprocessing.prepared_store import PreparedCase
from coronet.training import processes
from coronet.training.losses import segmentation_loss
from coronet.training.sampling import BrightComponent, WindowSampler

_CERTAIN = 128  # a target of at least this, out of 255, counts as true
_FOCUSED_OF = 4  # one in so many of the components that were classified comes into focus


class SegmentationLearner:
    """Windows of the training cases, the published loss, and the metric on the tune cases."""

    def __init__(
        self,
        model: str,
        params: ModelParams,
        *,
        train_cases: Sequence[PreparedCase],
        tune_cases: Sequence[PreparedCase],
        seed: int,
        device: torch.device,
    ) -> None:
        self.metric = DECISIVE[model]
        self._model, self._params, self._device = model, params, device
        self._sampler = WindowSampler(train_cases, params, seed=seed, device=device)
        self.batch = self._sampler.batch
        self._tune = tuple(tune_cases)
        self.loss = segmentation_loss(params.loss)

    @property
    def focus(self) -> tuple[BrightComponent, ...]:
        """What this epoch meets more often."""
        return self._sampler.focus

    def begin_epoch(self, epoch: int, module: nn.Module) -> None:
        """Find the bright components that the network takes for calcium, for the epoch to meet more often."""
        components = self._sampler.candidates(epoch, self._params.sampling.judged if epoch else 0)
        mine = self._mean_probabilities(module, processes.share(components))
        order = np.argsort(-np.asarray(processes.gathered(mine)), kind="stable")
        self._sampler.focus = tuple(components[number] for number in order[: len(components) // _FOCUSED_OF])

    def _mean_probabilities(self, module: nn.Module, components: Sequence[BrightComponent]) -> list[float]:
        """Mean probability inside of each component."""
        means: list[float] = []
        for start in range(0, len(components), BATCH):
            windows, places = zip(*map(self._sampler.view, components[start : start + BATCH]), strict=True)
            with torch.inference_mode():
                answers = predict_windows(module, torch.stack(windows), device=self._device)[:, 0].cpu()
            means += [float(answer[place].mean()) for answer, place in zip(answers, places, strict=True)]
        return means

    def measure(self, module: nn.Module, loss: float) -> dict[str, float]:
        """The metric over the tune cases on the network's grid.

        The heart's is the mean Dice of the cases. Calcium's is the F1 of all lesions pooled, since many cases
        hold none; what is found in those cases lowers it. Only voxels of at least 130 HU count.
        """
        masks = [self._masks(module, case) for case in processes.share(self._tune)]
        counts = processes.gathered([overlap(truth, predicted) for truth, predicted in masks])
        if self._model == "heart":
            return {self.metric: summarise_metrics(count.dice for count in counts).mean or 0.0}
        pooled = sum(counts, Overlap(0, 0, 0))
        matches = processes.gathered([match_lesions(*pair) for pair in masks])
        lesions = sum(matches, LesionMatch(0, 0, 0, 0))
        return {
            self.metric: lesions.f1 if lesions.f1 is not None else 1.0,
            "f1": pooled.f1 if pooled.f1 is not None else 1.0,
            "false_voxels": float(pooled.predicted_only),
            "missed_voxels": float(pooled.true_only),
        }

    def _masks(self, module: nn.Module, case: PreparedCase) -> tuple[np.ndarray, np.ndarray]:
        """True and predicted mask of a case on the network's grid."""
        scan_input = case.within(self._params.input.margin_mm)
        if self._model == "calcium":
            # only bright voxels count, so windows without any need no answer
            region = scan_input.hu >= CALCIUM_HU
            if scan_input.region is not None:
                region = scan_input.region & region
            scan_input = dataclasses.replace(scan_input, region=region)
        answer = probabilities(module, scan_input, self._params.input, device=self._device, overlap=0.0)
        predicted, truth = answer >= self._params.threshold, case.target >= _CERTAIN
        if self._model == "calcium":
            bright = scan_input.hu >= CALCIUM_HU
            predicted, truth = predicted & bright, truth & bright
        return truth, predicted


class ReconstructionLearner:
    """Windows of the training cases, to be given back as they are."""

    metric = "reconstruction"

    def __init__(self, sampler: WindowSampler) -> None:
        self._sampler = sampler

    def begin_epoch(self, epoch: int, module: nn.Module) -> None:
        """Nothing depends on what was learned so far."""

    def batch(self, epoch: int, numbers: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (n, 1, x, y, z), twice; their masks are not used."""
        images, _ = self._sampler.batch(epoch, numbers)
        return images, images

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean squared difference on the scale −1 … 1."""
        return F.mse_loss(outputs.float(), targets)

    def measure(self, module: nn.Module, loss: float) -> dict[str, float]:
        """Minus the training loss: no other patient is looked at."""
        return {self.metric: -loss}
