"""One MLflow run for every training, found by its fingerprint and rebuilt from DVC's results."""

from __future__ import annotations

import dataclasses
import json
import numbers
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coronet.config import MODELS
from coronet.files import read_json, sha256_file
from coronet.fingerprint import canonical
from coronet.ledger import store

if TYPE_CHECKING:
    from mlflow import MlflowClient

COMPLETE = "coronet.complete"
BATCH = 900
"""Metrics a request; MLflow takes 1000 at most."""


@dataclasses.dataclass(frozen=True)
class Synced:
    """A training's run: ``created`` is False where the ledger had it already."""

    model: str
    fingerprint: str
    run_id: str
    created: bool


def sync(project: Path = Path()) -> tuple[Synced, ...]:
    """Write every run that the ledger lacks from ``build/``.

    A run counts as whole by its closing tag; one that was cut off is removed and written anew.

    Args:
        project: the folder of ``dvc.yaml``; results are read from ``build``, the ledger is in ``mlruns``.
    """
    trained = [model for model in MODELS if (project / "build" / model / "fit" / "model.json").exists()]
    if not trained:
        return ()
    with store.opened(project / "mlruns") as client:
        return tuple(_sync_model(client, project, model) for model in trained)


def _sync_model(client: MlflowClient, project: Path, model: str) -> Synced:
    folder = project / "build" / model
    fingerprint = read_json(folder / "fit" / "model.json")["fingerprint"]
    experiment = store.experiment_id(client, model, project / "mlruns")
    complete = False
    for run in client.search_runs([experiment], f"tags.fingerprint = '{fingerprint}'"):
        if run.data.tags.get(COMPLETE) != "true" or complete:
            client.delete_run(run.info.run_id)
            continue
        complete, run_id = True, run.info.run_id
    if not complete:
        run_id = _write(client, experiment, project, model, fingerprint)
    _write_evaluation(client, run_id, folder / "evaluation")
    return Synced(model=model, fingerprint=fingerprint, run_id=run_id, created=not complete)


def _write(client: MlflowClient, experiment: str, project: Path, model: str, fingerprint: str) -> str:
    from mlflow.entities import Param, RunTag

    fit = project / "build" / model / "fit"
    description = read_json(fit / "model.json")
    tags = {
        "fingerprint": fingerprint,
        **lineage(project),
        "weights_sha256": sha256_file(fit / "weights.safetensors"),
    }
    run = client.create_run(experiment, run_name=f"{model}-{fingerprint[:8]}", tags=tags)
    run_id = run.info.run_id
    params = [Param(key, str(value)[:6000]) for key, value in flatten(description["params"])]
    client.log_batch(run_id, params=params[:100])
    metrics = list(_history(fit / "history.jsonl"))
    for start in range(0, len(metrics), BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + BATCH])
    client.log_artifacts(run_id, str(fit), "fit")
    client.log_batch(run_id, tags=[RunTag(COMPLETE, "true")])
    client.set_terminated(run_id)
    return run_id


def _write_evaluation(client: MlflowClient, run_id: str, evaluation: Path) -> None:
    """Test figures belong to the training's run; they may be written later than the training."""
    from mlflow.entities import Metric

    if not (evaluation / "metrics.json").exists():
        return
    digest = sha256_file(evaluation / "metrics.json")
    if client.get_run(run_id).data.tags.get("evaluation_sha256") == digest:
        return
    found = flatten(read_json(evaluation / "metrics.json"))
    metrics = [
        Metric(f"test/{key}", float(value), timestamp=0, step=0)
        for key, value in found
        if isinstance(value, numbers.Real) and not isinstance(value, bool)
    ]
    client.log_batch(run_id, metrics=metrics[:BATCH])
    client.log_artifacts(run_id, str(evaluation), "evaluation")
    client.set_tag(run_id, "evaluation_sha256", digest)


def _history(path: Path) -> Iterator[Any]:
    """Per-epoch numbers of ``history.jsonl`` as MLflow metrics."""
    from mlflow.entities import Metric

    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        epoch = int(entry.pop("epoch"))
        for key, value in flatten(entry):
            if isinstance(value, numbers.Real) and not isinstance(value, bool):
                yield Metric(key, float(value), timestamp=epoch, step=epoch)


def flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings under dotted keys; lists stay whole."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from flatten(item, f"{prefix}{key}.")
    else:
        yield prefix.removesuffix("."), canonical(value)


def lineage(project: Path) -> dict[str, str]:
    """Tags that lead from a run back to bytes: commit, and hashes of data, lock, parameters, validation."""
    import yaml

    tags: dict[str, str] = {}
    commit = _git(project, "rev-parse", "HEAD")
    if commit:
        tags["git_commit"] = commit
        tags["git_dirty"] = str(bool(_git(project, "status", "--porcelain", "--untracked-files=no"))).lower()
    if (project / "data.dvc").exists():
        for out in yaml.safe_load((project / "data.dvc").read_text(encoding="utf-8"))["outs"]:
            tags[f"{out['path'].replace('/', '_')}_md5"] = str(out.get("md5", ""))
    for name, path in (
        ("dvc_lock", project / "dvc.lock"),
        ("params", project / "params.yaml"),
        ("validation", project / "build" / "validation" / "report.json"),
    ):
        if path.exists():
            tags[f"{name}_sha256"] = sha256_file(path)
    return tags


def _git(project: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(project), *arguments], capture_output=True, text=True, check=False, timeout=30
    )
    return done.stdout.strip() if done.returncode == 0 else ""
