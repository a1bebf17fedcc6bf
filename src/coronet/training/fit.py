"""Training one model: the function behind the stage ``train`` and behind every search trial."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from coronet import files
from coronet.config import ModelParams
from coronet.errors import StageError
from coronet.imaging.mask_metrics import (
    DECISIVE,
    LesionMatch,
    Overlap,
    match_lesions,
    overlap,
    summarise_metrics,
)
from coronet.inference.devices import pick_device
from coronet.inference.predict import BATCH, predict_windows, probabilities
from coronet.io.volume import CALCIUM_HU
from coronet.networks.factory import LEARNING_PARTS, SPEC, WEIGHTS, ModelSpec, build_network, save_model
from coronet.preprocessing.prepared_store import (
    PreparedCase,
    load_prepared,
    prepared_attributions,
    prepared_scans,
    prepared_sources,
)
from coronet.training import checkpoint
from coronet.training.learning_curves import HISTORY, draw_curves, write_history
from coronet.training.losses import segmentation_loss
from coronet.training.sampling import BrightComponent, WindowSampler
from coronet.training.trainer import OnEpoch, TrainingOutcome, train_epochs

logger = logging.getLogger("coronet")
METRICS, _CURVES = "metrics.json", "curves.png"
_CERTAIN = 128  # a target of at least this, out of 255, counts as true
_FOCUSED_OF = 4  # one in so many of the components that were classified comes into focus


@dataclasses.dataclass(frozen=True)
class FitResult:
    """What a training gave."""

    # holds ``weights.safetensors``, ``model.json``, ``history.csv``, ``metrics.json`` and ``curves.png``
    folder: Path
    metric: str  # the name of what decided: one of `coronet.imaging.mask_metrics.DECISIVE`
    best: float  # its best value on the tune cases
    best_epoch: int  # the epoch of the weights kept, counted from 1
    epochs: int  # how many were trained


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
        order = np.argsort(-self._mean_probabilities(module, components), kind="stable")
        self._sampler.focus = tuple(components[number] for number in order[: len(components) // _FOCUSED_OF])

    def _mean_probabilities(self, module: nn.Module, components: Sequence[BrightComponent]) -> np.ndarray:
        """Mean probability inside of each component."""
        means: list[float] = []
        for start in range(0, len(components), BATCH):
            windows, places = zip(*map(self._sampler.view, components[start : start + BATCH]), strict=True)
            with torch.inference_mode():
                answers = predict_windows(module, torch.stack(windows), device=self._device)[:, 0].cpu()
            means += [float(answer[place].mean()) for answer, place in zip(answers, places, strict=True)]
        return np.asarray(means)

    def measure(self, module: nn.Module, loss: float) -> dict[str, float]:
        """The metric over the tune cases on the network's grid.

        The heart's is the mean Dice of the cases. Calcium's is the F1 of all lesions pooled, since many cases
        hold none; what is found in those cases lowers it. Only voxels of at least 130 HU count.
        """
        masks = [self._masks(module, case) for case in self._tune]
        counts = [overlap(truth, predicted) for truth, predicted in masks]
        if self._model == "heart":
            return {self.metric: summarise_metrics(count.dice for count in counts).mean or 0.0}
        pooled = sum(counts, Overlap(0, 0, 0))
        lesions = sum((match_lesions(*pair) for pair in masks), LesionMatch(0, 0, 0, 0))
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


def fit_model(
    model: str,
    prepared: Path,
    params: ModelParams,
    *,
    train_cases: Sequence[str],
    tune_cases: Sequence[str],
    seed: int,
    out: Path,
    work: Path,
    pretrained: Path | None = None,
    start: Path | None = None,
    fingerprint: str = "",
    on_epoch: OnEpoch | None = None,
) -> FitResult:
    """Train a model, or resume a training that was interrupted.

    Args:
        prepared: what `coronet.preprocessing.prepared_store.prepare_model` wrote; only the cases named are
            opened.
        train_cases: ids to learn from.
        tune_cases: ids to choose the best epoch by.
        work: folder of the checkpoints, for this run alone. A finished one gives its result at once.
        pretrained: an autoencoder's encoder, for ``network.encoder: autoencoder``.
        start: folder of a trained model of the same network, to go on from.
        fingerprint: kept in ``model.json``.
        on_epoch: called with (epoch, what was measured) after every epoch; may raise to give up.

    Raises:
        StageError: no cases, cases of both parts, or a work folder of another run.
        Busy: another process trains in ``work``.
    """
    _check_cases(train_cases, tune_cases)
    if pretrained is not None and params.network.encoder != "autoencoder":
        raise StageError(
            f"network.encoder is {params.network.encoder}; a pretrained encoder is for autoencoder alone."
        )
    work = Path(work)
    data_sha256 = files.sha256_file(Path(prepared) / "index.json")
    with files.exclusive(work / "lock"):
        checkpoint.claim_folder(
            work,
            {
                "model": model,
                "params": params,
                "train_cases": list(train_cases),
                "tune_cases": list(tune_cases),
                "seed": seed,
                "prepared": data_sha256,
                "pretrained": files.sha256_file(pretrained) if pretrained else None,
                "start": files.sha256_file(start / WEIGHTS) if start else None,
            },
        )
        device = pick_device()
        module = build_network(
            params.network,
            shape=params.input.shape,
            seed=seed,
            pretrained=pretrained,
            start=start / WEIGHTS if start else None,
        )
        learner = SegmentationLearner(
            model,
            params,
            train_cases=load_prepared(prepared, train_cases, params.input),
            tune_cases=load_prepared(prepared, tune_cases, params.input),
            seed=seed,
            device=device,
        )
        outcome = train_epochs(
            module,
            learner,
            params.optimiser,
            seed=seed,
            work=work,
            device=device,
            title=model,
            on_epoch=on_epoch,
        )
        module.load_state_dict(outcome.weights)
        sources = prepared_sources(prepared, train_cases)
        scans = _scans(prepared, train_cases, tune_cases, start)
        said = set(prepared_attributions(prepared, [*train_cases, *tune_cases]))
        if start is not None:
            said |= set(files.read_json(start / SPEC).get("attributions", ()))
        spec = ModelSpec(model, params, fingerprint, sources, data_sha256, scans, sorted(said))
        _write(out, module, spec, outcome, learner.metric)
    return FitResult(Path(out), learner.metric, outcome.best, outcome.best_epoch, len(outcome.history))


def _scans(
    prepared: Path, train_cases: Sequence[str], tune_cases: Sequence[str], start: Path | None
) -> Mapping[str, Sequence[str]] | None:
    """Hashes of the scans that shaped the weights, those of ``start`` too; None where it names none."""
    used = {
        part: set(prepared_scans(prepared, cases))
        for part, cases in zip(LEARNING_PARTS, (train_cases, tune_cases), strict=True)
    }
    if start is not None:
        before = files.read_json(start / SPEC).get("scans")
        if before is None:
            return None
        for part in LEARNING_PARTS:
            used[part] |= set(before[part])
    return {part: sorted(scans) for part, scans in used.items()}


def _check_cases(train_cases: Sequence[str], tune_cases: Sequence[str]) -> None:
    if not train_cases or not tune_cases:
        raise StageError("Training needs at least one train case and one tune case.")
    shared = sorted(set(train_cases) & set(tune_cases))
    if shared:
        raise StageError(f"{shared[0]} is among both the train cases and the tune cases.")


def _write(out: Path, module: nn.Module, spec: ModelSpec, outcome: TrainingOutcome, metric: str) -> None:
    with files.replacing_folder(out) as folder:
        save_model(folder, module, spec)
        write_history(folder / HISTORY, outcome.history)
        files.write_json(
            folder / METRICS,
            {
                "metric": metric,
                f"tune_{metric}": outcome.best,
                "best_epoch": outcome.best_epoch,
                "epochs": len(outcome.history),
                "parameters": sum(parameter.numel() for parameter in module.parameters()),
            },
        )
        draw_curves(folder / _CURVES, outcome.history, metric=metric, title=spec.model)
