"""The autoencoder, on training patients alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from coronet import files
from coronet.config import ModelParams, Params, PretrainParams, SamplingParams
from coronet.networks.factory import save_encoder
from coronet.networks.unet import Autoencoder
from coronet.preprocessing.prepared_store import prepared_cases
from coronet.training import checkpoint
from coronet.training.fit import METRICS
from coronet.training.job import TrainingJob, train
from coronet.training.learning_curves import HISTORY, write_history

if TYPE_CHECKING:
    from coronet.dataset.split import Split

ENCODER = "encoder.safetensors"


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
    job = TrainingJob(
        model=model,
        params=spec,
        train_cases=cases,
        tune_cases=(),
        seed=params.seed,
        prepared=str(prepared),
        autoencoder=True,
        resources=params.resources,
    )
    with files.exclusive(work / "lock"):
        checkpoint.claim_folder(work, job.identity)
        module, outcome = train(job, work)
        with files.replacing_folder(out) as folder:
            assert isinstance(module, Autoencoder)
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
