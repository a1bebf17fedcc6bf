"""The autoencoder, on training patients alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from coronet import files
from coronet.config import ModelParams, Params, PretrainParams, SamplingParams
from coronet.inference.devices import pick_device
from coronet.networks.factory import build_autoencoder, save_encoder
from coronet.preprocessing.prepared_store import PreparedCase, load_prepared, prepared_cases
from coronet.training import checkpoint
from coronet.training.fit import METRICS
from coronet.training.learning_curves import HISTORY, write_history
from coronet.training.sampling import WindowSampler
from coronet.training.trainer import train_epochs

if TYPE_CHECKING:
    from coronet.dataset.split import Split

ENCODER = "encoder.safetensors"


class ReconstructionLearner:
    """Windows of the training cases, to be given back as they are."""

    metric = "reconstruction"

    def __init__(self, sampler: WindowSampler) -> None:
        self._sampler = sampler

    def begin_epoch(self, epoch: int, module: nn.Module) -> None:
        """Nothing depends on what was learned so far."""

    def batch(self, epoch: int, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (n, 1, x, y, z), twice; their masks are not used."""
        images, _ = self._sampler.batch(epoch, step)
        return images, images

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean squared difference on the scale −1 … 1."""
        return F.mse_loss(outputs.float(), targets)

    def measure(self, module: nn.Module, loss: float) -> dict[str, float]:
        """Minus the training loss: no other patient is looked at."""
        return {self.metric: -loss}


def pretrain_model(
    model: str,
    prepared: Path,
    split: Split,
    params: Params,
    out: Path,
    *,
    work: Path,
) -> Path | None:
    """Train an autoencoder whose encoder the segmentation network starts from.

    Args:
        prepared: what `coronet.preprocessing.prepared_store.prepare_model` wrote; only train cases are
            opened.
        params: all parameters; the model's ``pretrain`` is read.
        out: folder of the results; replaced as a whole. Where the network asks for no autoencoder it holds
            ``metrics.json`` alone, which says so.
        work: folder of the checkpoints, for this run alone.

    Returns:
        The encoder's weights, or None where the network asks for none.
    """
    chosen = params.model(model)
    if chosen.network.encoder != "autoencoder":
        with files.replacing_folder(out) as folder:
            reason = f"network.encoder is {chosen.network.encoder}"
            files.write_json(folder / METRICS, {"pretrained": False, "reason": reason})
        return None
    learners = set(split.cases("train"))
    cases = tuple(case for case in prepared_cases(prepared, "train") if case in learners)
    spec = _as_model_params(chosen.pretrain, params, model)
    work = Path(work)
    with files.exclusive(work / "lock"):
        checkpoint.claim_folder(
            work,
            {
                "model": model,
                "params": spec,
                "train_cases": list(cases),
                "seed": params.seed,
                "prepared": files.sha256_file(Path(prepared) / "index.json"),
            },
        )
        loaded: tuple[PreparedCase, ...] = load_prepared(prepared, cases, spec.input)
        device = pick_device()
        module = build_autoencoder(spec.network, shape=spec.input.shape, seed=params.seed)
        outcome = train_epochs(
            module,
            ReconstructionLearner(WindowSampler(loaded, spec, seed=params.seed, device=device)),
            spec.optimiser,
            seed=params.seed,
            work=work,
            device=device,
            title=f"{model} autoencoder",
        )
        module.load_state_dict(outcome.weights)
        with files.replacing_folder(out) as folder:
            save_encoder(folder / ENCODER, module)
            write_history(folder / HISTORY, outcome.history)
            metrics = {
                "pretrained": True,
                "squared_error": -outcome.best,
                "cases": list(cases),
                "epochs": len(outcome.history),
            }
            files.write_json(folder / METRICS, metrics)
    return Path(out) / ENCODER


def _as_model_params(pretrain: PretrainParams, params: Params, model: str) -> ModelParams:
    """The model's parameters with the autoencoder's schedule; no early stop, and plain windows."""
    chosen = params.model(model)
    optimiser = dataclasses.replace(
        chosen.optimiser,
        epochs=pretrain.epochs,
        patches_per_epoch=pretrain.patches_per_epoch,
        batch_size=pretrain.batch_size,
        learning_rate=pretrain.learning_rate,
        stop_patience=0,
        averaging=0.0,
    )
    return dataclasses.replace(
        chosen,
        optimiser=optimiser,
        sampling=SamplingParams(0.0, 0.0, judged=0),
        augment=dataclasses.replace(chosen.augment, metal=0.0),
    )
