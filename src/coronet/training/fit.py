"""Training one model: the function behind the stage ``train`` and behind every search trial."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import nn

from coronet import files
from coronet.config import ModelParams, ResourceParams
from coronet.errors import StageError
from coronet.imaging.mask_metrics import DECISIVE
from coronet.networks.factory import LEARNING_PARTS, SPEC, ModelSpec, save_model
from coronet.preprocessing.prepared_store import (
    prepared_attributions,
    prepared_scans,
    prepared_sources,
)
from coronet.training import checkpoint
from coronet.training.job import TrainingJob, train
from coronet.training.learning_curves import HISTORY, draw_curves, write_history
from coronet.training.trainer import OnEpoch, TrainingOutcome

METRICS, _CURVES = "metrics.json", "curves.png"


@dataclasses.dataclass(frozen=True)
class FitResult:
    """What a training gave."""

    # holds ``weights.safetensors``, ``model.json``, ``history.csv``, ``metrics.json`` and ``curves.png``
    folder: Path
    metric: str  # the name of what decided: one of `coronet.imaging.mask_metrics.DECISIVE`
    best: float  # its best value on the tune cases
    best_epoch: int  # the epoch of the weights kept, counted from 1
    epochs: int  # how many were trained


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
    resources: ResourceParams = ResourceParams(),
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
        resources: how many processes train, and how they share a batch.
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
    job = TrainingJob(
        model=model,
        params=params,
        train_cases=tuple(train_cases),
        tune_cases=tuple(tune_cases),
        seed=seed,
        prepared=str(prepared),
        pretrained=str(pretrained or ""),
        start=str(start or ""),
        resources=resources,
    )
    with files.exclusive(work / "lock"):
        identity = job.identity
        checkpoint.claim_folder(work, identity)
        module, outcome = train(job, work, on_epoch)
        sources = prepared_sources(prepared, train_cases)
        scans = _scans(prepared, train_cases, tune_cases, start)
        said = set(prepared_attributions(prepared, [*train_cases, *tune_cases]))
        if start is not None:
            said |= set(files.read_json(start / SPEC).get("attributions", ()))
        spec = ModelSpec(model, params, fingerprint, sources, identity["prepared"], scans, sorted(said))
        _write(out, module, spec, outcome, DECISIVE[model])
    return FitResult(Path(out), DECISIVE[model], outcome.best, outcome.best_epoch, len(outcome.history))


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
