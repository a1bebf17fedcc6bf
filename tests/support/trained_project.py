"""A project as small as one can be: two tiny trainings in ``build/``, in git and in DVC's cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from coronet import config
from coronet.config import MODELS
from coronet.files import write_json
from coronet.networks.factory import ModelSpec, build_network, save_model
from coronet.tracking import mlflow_client
from coronet.training.learning_curves import write_history
from repositories import commit, git

ROOT = Path(__file__).resolve().parents[2]
GRAPH = """
stages:
  train:
    matrix: {model: [heart, calcium]}
    cmd: "true"
    outs: ["build/${item.model}/fit"]
  evaluate:
    matrix: {model: [heart, calcium]}
    cmd: "true"
    deps: ["build/${item.model}/fit"]
    outs: ["build/${item.model}/evaluation"]
"""
HISTORY = [
    {"epoch": 1, "loss": 0.5, "dice": 0.25, "learning_rate": 0.01},
    {"epoch": 2, "loss": 0.25, "dice": 0.5, "learning_rate": 0.01},
    {"epoch": 3, "loss": 0.125, "dice": 0.75, "learning_rate": 0.005},
]


def write_fit(project: Path, model: str, *, fingerprint: str, seed: int = 0) -> Path:
    """What a training leaves."""
    params = config.load_params(project / "params.yaml").model(model)
    fit = project / "build" / model / "fit"
    fit.mkdir(parents=True, exist_ok=True)
    module = build_network(params.network, shape=params.input.shape, seed=seed)
    save_model(fit, module, ModelSpec(model, params, fingerprint, {"phantom": 4}, "d" * 64))
    write_history(fit / "history.csv", HISTORY)
    write_json(fit / "metrics.json", {"metric": "dice", "tune_dice": 0.75, "best_epoch": 3, "epochs": 3})
    (fit / "curves.png").write_bytes(b"\x89PNG\r\n\x1a\n" + fingerprint.encode())
    return fit


def write_evaluation(project: Path, model: str, *, value: float = 0.5) -> None:
    """What an evaluation leaves."""
    summary = {"cases": 2, "empty": 0, "lowest": value, "mean": value, "median": value}
    metrics = {"cases": 2, "part": "test", "skipped": [], "dice": summary, "iou": summary}
    if model == "calcium":
        lesions = {"true": 3, "found": 2, "predicted": 3, "false": 1, "false_per_scan": 0.5}
        lesions["sensitivity"] = 2 / 3
        free = {"cases": 1, "answered_empty": 1, "false_mm3": summary}
        pooled = {"f1": value / 4, "iou": value / 8, "precision": value, "sensitivity": value}
        metrics |= {"f1": summary, "lesions": lesions, "calcium_free": free, "pooled": pooled}
    folder = project / "build" / model / "evaluation"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "metrics.json", metrics)
    (folder / "cases.csv").write_text(f"case,dice,iou\nphantom-0001,{value},{value}\nphantom-0002,,\n")


def dvc_commit(project: Path) -> None:
    """Let DVC take what lies in ``build/`` as the results of its stages."""
    command = [sys.executable, "-m", "dvc", "commit", "--force", "--quiet"]
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
    subprocess.run(command, cwd=project, check=True, env=environment, capture_output=True)


@pytest.fixture
def helpers() -> SimpleNamespace:
    """What changes a project."""
    return SimpleNamespace(
        git=git,
        dvc_commit=dvc_commit,
        write_fit=write_fit,
        write_evaluation=write_evaluation,
        graph=GRAPH,
        history=HISTORY,
    )


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`bare` and `tiny`, to be copied."""
    folder = tmp_path_factory.mktemp("ledger")
    bare = folder / "bare"
    bare.mkdir()
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for model in MODELS:
        chosen = params["profiles"]["demo"][model]
        chosen["network"] |= {"encoder": "plain", "channels": [2, 4]}
        chosen["input"]["shape"] = [16, 16, 16]
    (bare / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    for model in MODELS:
        write_fit(bare, model, fingerprint=f"{model[0]}{'1' * 63}")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        # MLflow takes a second to make its tables, a copy nothing
        with mlflow_client.open_client(bare / "mlruns") as client:
            client.search_experiments()
    tiny = shutil.copytree(bare, folder / "tiny")
    for model in MODELS:
        write_evaluation(tiny, model)
    (tiny / "dvc.yaml").write_text(GRAPH)
    (tiny / ".gitignore").write_text("/build\n/mlruns\n")
    git(tiny, "init", "-q")
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=tiny, check=True, capture_output=True)
    dvc_commit(tiny)
    commit(tiny, "start")
    return folder


@pytest.fixture
def bare(templates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two trainings without evaluation, git or DVC."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return shutil.copytree(templates / "bare", tmp_path / "project")


@pytest.fixture
def tiny(templates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two evaluated trainings, committed in git and in DVC."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return shutil.copytree(templates / "tiny", tmp_path / "project", symlinks=True)


@pytest.fixture
def content() -> Callable[[Path], dict]:
    """Everything that the ledger holds, without what belongs to the moment it was written."""
    return read_content


def read_content(project: Path) -> dict:
    """Runs by fingerprint and versions by name, as plain data."""
    import mlflow.artifacts

    from coronet.registry import versions

    found: dict = {"runs": {}, "versions": {}, "aliases": {}}
    with mlflow_client.open_client(project / "mlruns") as client:
        experiments = [item.experiment_id for item in client.search_experiments()]
        for run in client.search_runs(experiments):
            tags = run.data.tags
            files = {}
            for path in _files(client, run.info.run_id):
                if not path.startswith("model/"):
                    uri = f"{run.info.artifact_uri}/{path}"
                    files[path] = mlflow.artifacts.load_text(uri) if path.endswith(".json") else ""
            steps = {
                key: sorted(
                    {(item.step, item.value) for item in client.get_metric_history(run.info.run_id, key)}
                )
                for key in run.data.metrics
                if not key.startswith("system/")
            }
            inputs = [
                (item.dataset.digest, item.dataset.source, item.dataset.profile)
                for item in run.inputs.dataset_inputs
            ]
            kept = {key: value for key, value in tags.items() if not key.startswith("mlflow.")}
            assert tags["fingerprint"] not in found["runs"], "two runs of one training"
            found["runs"][tags["fingerprint"]] = {
                "status": run.info.status,
                "params": dict(run.data.params),
                "metrics": steps,
                "tags": kept,
                "inputs": inputs,
                "files": files,
            }
        for model in MODELS:
            found["versions"][model] = {
                item.number: (item.fingerprint, item.weights_sha256, dict(item.tags))
                for item in versions.versions(client, model)
            }
            found["aliases"][model] = versions.aliases(client, model)
    return found


def _files(client, run_id: str, folder: str = "") -> list[str]:
    found = []
    for item in client.list_artifacts(run_id, folder):
        found += _files(client, run_id, item.path) if item.is_dir else [item.path]
    return sorted(found)
