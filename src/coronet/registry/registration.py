"""From the training in ``build/`` to a version: checked, packed, logged; and the same again from the log."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coronet import config
from coronet.config import MODELS
from coronet.errors import InputError, StageError
from coronet.files import read_json, sha256_file
from coronet.fingerprint import canonical, dvc_md5
from coronet.networks.quality import read_quality
from coronet.registry import aliases as standing
from coronet.registry import model_pair, promotion_log
from coronet.registry.model_card import model_card, statement
from coronet.registry.packaging import VersionFiles, build_network_folder
from coronet.registry.reference_output import GOLDEN
from coronet.registry.version_quality import record_evaluation
from coronet.registry.versions import (
    CHALLENGER,
    RegisteredVersions,
    Version,
    aliases,
    create_version,
    set_alias,
    versions,
)
from coronet.tracking import mlflow_client, runs
from coronet.tracking.dvc_lock import read_lock
from coronet.tracking.git_state import GitState, read_git_state

if TYPE_CHECKING:
    from mlflow import MlflowClient


def register_version(model: str, project: Path = Path(), *, allow_dirty: bool = False) -> RegisteredVersions:
    """Make a version of the training in ``build/`` and let ``challenger`` name it; twice gives the same.

    The version's weights, specification, signature, input example, model card, golden answer, ``dvc.lock``
    and ``params.yaml`` lie in MLflow; what is needed to bring it back goes to the promotion log.

    Args:
        model: ``heart`` or ``calcium``.
        project: the folder of ``dvc.yaml``.
        allow_dirty: register from code that is not committed, and keep the difference with the version.

    Raises:
        InputError: no such model; code that is not committed.
        StageError: there is no training, or it is of other code, parameters or data than are there.
        LedgerError: MLflow is away.
    """
    project = Path(project)
    if model not in MODELS:
        raise InputError(f"There is no model «{model}»; the models are {' and '.join(MODELS)}.")
    fit = project / "build" / model / "fit"
    _check_training(model, project, fit)
    code = read_git_state(project, patch=True)
    _check_code(code, allow_dirty=allow_dirty)
    fingerprint = read_json(fit / "model.json")["fingerprint"]
    weights = sha256_file(fit / "weights.safetensors")
    with mlflow_client.open_client(project / "mlruns") as client:
        runs.sync_runs(client, project, models=[model])
        known = [
            item
            for item in versions(client, model)
            if (item.fingerprint, item.weights_sha256) == (fingerprint, weights)
        ]
        version = known[0] if known else _create(client, project, model, fit, code)
        if known:
            record_evaluation(client, version, read_quality(fit, model, weights))
        _log(client, project, version)
        model_pair.refresh(client, project)
    return RegisteredVersions(version, created=not known)


def _check_training(model: str, project: Path, fit: Path) -> None:
    if not (fit / "model.json").exists():
        raise StageError(f"{fit} holds no training; `dvc repro train@{model}` makes one.")
    description = read_json(fit / "model.json")
    weights = fit / "weights.safetensors"
    if not weights.exists() or sha256_file(weights) != description["weights_sha256"]:
        raise StageError(
            f"{weights} is not what model.json beside it describes; `dvc checkout --force {fit}` mends it."
        )
    if canonical(config.load_params(project / "params.yaml").model(model)) != description["params"]:
        raise StageError(
            f"{fit} was trained with other parameters than params.yaml has now; `dvc repro` trains anew."
        )
    locked = read_lock(project).output(f"train@{model}", f"build/{model}/fit")
    if locked and locked != dvc_md5(fit):
        raise StageError(f"{fit} is not what dvc.lock says; `dvc repro` or `dvc checkout` mends it.")


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
    run = _run_of(client, project, model, read_json(fit / "model.json")["fingerprint"])
    kept = {
        key: value
        for key, value in run.data.tags.items()
        if not key.startswith(("mlflow.", "coronet.", "git_"))
    }
    lock = project / "dvc.lock"
    patch = code.patch.encode("utf-8", "surrogateescape")
    tags = kept | {
        "git_commit": code.commit,
        "git_dirty": str(code.dirty).lower(),
        "dirty": str(code.dirty).lower(),
        "trained_at_commit": run.data.tags.get("git_commit", ""),
        "trained_dirty": run.data.tags.get("git_dirty", ""),
        "changed": " ".join(code.changed)[:5000],
        "patch_sha256": hashlib.sha256(patch).hexdigest() if patch else "",
        "dvc_lock_file_sha256": sha256_file(lock) if lock.exists() else "",
        "params_file_sha256": sha256_file(project / "params.yaml"),
    }
    evaluation = project / "build" / model / "evaluation"
    if not any(key.startswith("test/") for key in run.data.metrics):
        evaluation = None
    else:
        tags["evaluation_md5"] = dvc_md5(evaluation)
    quality = read_quality(fit, model, sha256_file(fit / "weights.safetensors"))
    papers = VersionFiles(
        card="",
        lock=lock.read_bytes() if lock.exists() else b"",
        params=(project / "params.yaml").read_bytes(),
        patch=code.patch,
        quality=quality,
    )
    tags = {key: value for key, value in tags.items() if value}
    with is_packed(model, fit, tags=tags, evaluation=evaluation, papers=papers) as (folder, about):
        tags["golden_mean"] = f"{read_json(folder / GOLDEN)['mean']:.7f}"
        version = create_version(client, model, folder, run_id=run.info.run_id, tags=tags, about=about)
    set_alias(client, model, CHALLENGER, version.number)
    return version


@contextlib.contextmanager
def is_packed(
    model: str, fit: Path, *, tags: Mapping[str, str], evaluation: Path | None, papers: VersionFiles
) -> Iterator[tuple[Path, str]]:
    """The folder of a version while it is needed, and the version's description.

    Args:
        model: ``heart`` or ``calcium``.
        fit: the training.
        tags: of the version, for the card.
        evaluation: what evaluating it gave, for the card.
        papers: what lies beside the weights; the card is written here.
    """
    description = read_json(fit / "model.json")
    metrics = read_json(evaluation / "metrics.json") if evaluation else None
    changed = tuple(tags.get("changed", "").split())
    card = model_card(model, description, metrics=metrics, tags=tags, changed=changed)
    about = f"{_headline(model, metrics)} {statement(description['cases'])} Not a medical device."
    with tempfile.TemporaryDirectory() as staging:
        papers = dataclasses.replace(papers, card=card)
        yield build_network_folder(fit, Path(staging) / "model", papers=papers), about.replace("**", "")


def _headline(model: str, metrics: Mapping[str, Any] | None) -> str:
    if metrics is None:
        return "Not evaluated."
    name = "Mean Dice" if model == "heart" else "F1 of all voxels"
    found = metrics["dice"]["mean"] if model == "heart" else metrics["pooled"]["f1"]
    value = "–" if found is None else f"{found:.3f}"
    return f"{name} {value} on {metrics['cases']} test cases."


def _log(client: MlflowClient, project: Path, version: Version) -> None:
    """Tell the promotion log, unless it knows; a kill between version and line is mended by the next call."""
    if standing.registered(promotion_log.read(project), version.model, version.number):
        return
    newest = max(item.number for item in versions(client, version.model))
    if version.number == newest and newest not in aliases(client, version.model).values():
        set_alias(client, version.model, CHALLENGER, version.number)
    promotion_log.append(
        project,
        promotion_log.Event(promotion_log.REGISTERED, version.model, version.number, dict(version.tags)),
    )


def _run_of(client: MlflowClient, project: Path, model: str, fingerprint: str) -> Any:
    experiment = mlflow_client.experiment_id(client, model, project / "mlruns")
    return runs.find_runs(client, experiment, fingerprint)[0]
