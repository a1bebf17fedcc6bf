"""From the training in ``build/`` to a registered version: checked, packed, logged."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coronet import config
from coronet.errors import InputError, LedgerError, StageError
from coronet.files import read_json, sha256_file
from coronet.fingerprint import canonical, dvc_md5
from coronet.networks.calibration import calibration_path
from coronet.networks.quality import read_quality
from coronet.registry import promotion_log
from coronet.registry.model_card import model_card, statement
from coronet.registry.packaging import CARD, PATCH, build_network_folder
from coronet.registry.version_quality import record_calibration, record_evaluation
from coronet.registry.versions import (
    CALIBRATION_TAG,
    CHALLENGER,
    Version,
    aliases,
    create_version,
    versions,
)
from coronet.tracking import mlflow_client, runs
from coronet.tracking.dvc_lock import LOCK, read_lock
from coronet.tracking.git_state import GitState, read_git_state

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclasses.dataclass(frozen=True)
class Registration:
    """``created`` is False if the training had a version already."""

    version: Version
    created: bool


def register_version(model: str, project: Path = Path(), *, allow_dirty: bool = False) -> Registration:
    """Make a version of the training in ``build/`` and let ``challenger`` name it; twice gives the same.

    Weights, specification, signature, input example, model card, reference output, ``dvc.lock`` and
    ``params.yaml`` go to MLflow, and a line to the promotion log. ``allow_dirty`` registers from code that is
    not committed, and keeps the difference with the version.

    Raises:
        InputError: no such model; code that is not committed.
        StageError: there is no training, or it is of other code, parameters or data than are there.
        LedgerError: MLflow cannot be reached, or lacks versions that the log names.
    """
    project = Path(project)
    config.check_model(model)
    fit = project / "build" / model / "fit"
    _check_training(model, project, fit)
    code = read_git_state(project, patch=True)
    _check_code(code, allow_dirty=allow_dirty)
    fingerprint = read_json(fit / "model.json")["fingerprint"]
    weights = sha256_file(fit / "weights.safetensors")
    with mlflow_client.open_client(project / "mlruns") as client:
        runs.sync_runs(client, project, models=[model])
        same = [
            item
            for item in versions(client, model)
            if (item.fingerprint, item.weights_sha256) == (fingerprint, weights)
        ]
        if same:
            version = same[0]
            record_evaluation(client, version, read_quality(fit, model, weights))
            record_calibration(client, version, fit)
        else:
            version = _create(client, project, model, fit, code)
            _check_number(client, project, version)
        _log(client, project, version)
    return Registration(version, created=not same)


def _check_number(client: MlflowClient, project: Path, version: Version) -> None:
    """Refuse a number that the log has given before, as MLflow gives it again after its database was lost."""
    line = promotion_log.find_registration(promotion_log.read(project), version.model, version.number)
    if line is None:
        return
    client.delete_model_version(version.model, str(version.number))
    raise LedgerError(
        f"{promotion_log.LOG} has another {version.model}/{version.number}, which MLflow lacks. Bring back "
        f"mlruns/ from its backup, or start a new log (`git mv {promotion_log.LOG} promotions-old.jsonl`) "
        "and register anew."
    )


def _check_training(model: str, project: Path, fit: Path) -> None:
    if not (fit / "model.json").exists():
        raise StageError(f"{fit} holds no training; `dvc repro train@{model}` makes one.")
    description = read_json(fit / "model.json")
    weights = fit / "weights.safetensors"
    if not weights.exists() or sha256_file(weights) != description["weights_sha256"]:
        raise StageError(
            f"{weights} is not what model.json beside it describes; `dvc checkout --force {fit}` restores it."
        )
    if canonical(config.load_params(project / "params.yaml").model(model)) != description["params"]:
        raise StageError(
            f"{fit} was trained with other parameters than params.yaml has now; `dvc repro` trains anew."
        )
    locked = read_lock(project).output(f"train@{model}", f"build/{model}/fit")
    if locked and locked != dvc_md5(fit):
        raise StageError(f"{fit} is not what dvc.lock says; `dvc repro` or `dvc checkout` restores it.")


def _check_code(code: GitState, *, allow_dirty: bool) -> None:
    if not code.dirty or allow_dirty:
        return
    if not code.commit:
        raise InputError(f"{code.reason} Or say --allow-dirty, which registers without a commit.")
    named = ", ".join(code.changed[:5]) + (" and others" if len(code.changed) > 5 else "")
    raise InputError(
        f"The working tree differs from its commit ({named}); `git commit` first, or say --allow-dirty, "
        "which keeps the difference with the version."
    )


def _create(client: MlflowClient, project: Path, model: str, fit: Path, code: GitState) -> Version:
    description = read_json(fit / "model.json")
    experiment = mlflow_client.experiment_id(client, model, project / "mlruns")
    run = runs.find_runs(client, experiment, description["fingerprint"])[0]
    kept = {
        key: value
        for key, value in run.data.tags.items()
        if not key.startswith(("mlflow.", "coronet.", "git_", "dirty"))
    }
    calibration = calibration_path(fit, description["weights_sha256"])
    lock = project / LOCK
    patch = code.patch.encode("utf-8", "surrogateescape")
    tags = kept | {
        "git_commit": code.commit,
        "dirty": str(code.dirty).lower(),
        "trained_at_commit": run.data.tags.get("git_commit", ""),
        "changed": " ".join(code.changed)[:5000],
        "patch_sha256": hashlib.sha256(patch).hexdigest() if patch else "",
        CALIBRATION_TAG: sha256_file(calibration) if calibration else "",
    }
    tags = {key: value for key, value in tags.items() if value}
    evaluated = any(key.startswith("test/") for key in run.data.metrics)
    metrics = read_json(project / "build" / model / "evaluation" / "metrics.json") if evaluated else None
    files = {
        CARD: model_card(model, description, metrics=metrics, tags=tags, changed=code.changed).encode(),
        LOCK: lock.read_bytes() if lock.exists() else b"",
        "params.yaml": (project / "params.yaml").read_bytes(),
        PATCH: patch,
    }
    quality = read_quality(fit, model, description["weights_sha256"])
    about = f"{_headline(model, metrics)} {statement(description['cases'])} Not a medical device."
    with tempfile.TemporaryDirectory() as staging:
        folder = build_network_folder(fit, Path(staging) / "model", quality=quality, files=files)
        return create_version(
            client, model, folder, run_id=run.info.run_id, tags=tags, about=about.replace("**", "")
        )


def _headline(model: str, metrics: Mapping[str, Any] | None) -> str:
    if metrics is None:
        return "Not evaluated."
    name = "Mean Dice" if model == "heart" else "F1 of all voxels"
    found = metrics["dice"]["mean"] if model == "heart" else metrics["pooled"]["f1"]
    value = "–" if found is None else f"{found:.3f}"
    return f"{name} {value} on {metrics['cases']} test cases."


def _log(client: MlflowClient, project: Path, version: Version) -> None:
    """Set the alias and add the line of a version, unless it is there; after a kill the next call does it."""
    if promotion_log.find_registration(promotion_log.read(project), version.model, version.number):
        return
    newest = max(item.number for item in versions(client, version.model))
    if version.number == newest and newest not in aliases(client, version.model).values():
        client.set_registered_model_alias(version.model, CHALLENGER, str(version.number))
    event = promotion_log.Event(promotion_log.REGISTERED, version.model, version.number, dict(version.tags))
    promotion_log.append(project, event)
