"""Write-through: what is streamed equals what is rebuilt, and MLflow cannot hinder a training."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from copies import kill_this, run_until_killed
from coronet import config
from coronet.files import read_json
from coronet.tracking import mlflow_client, runs, tracker

FINGERPRINT = "h" + "1" * 63


def stream(project: Path, history) -> None:
    params = config.load_params(project / "params.yaml").model("heart")
    with tracker.tracking("heart", fingerprint=FINGERPRINT, params=params, project=project) as on_epoch:
        for entry in history:
            on_epoch(entry["epoch"], entry)


def only_run(project: Path):
    with mlflow_client.open_client(project / "mlruns") as client:
        found = runs.find_runs(
            client, mlflow_client.experiment_id(client, "heart", project / "mlruns"), FINGERPRINT
        )
    assert len(found) <= 1
    return found[0] if found else None


def test_streamed_run_is_what_sync_would_write(bare, helpers, content, monkeypatch, tmp_path):
    monkeypatch.setattr(tracker, "END_SECONDS", 120)
    stream(bare, helpers.history)
    streamed = content(bare)
    run = only_run(bare)
    assert run.info.status == "FINISHED" and run.data.metrics["loss"] == 0.125
    assert run.data.params["optimiser.learning_rate"] and run.data.params["network.encoder"] == "plain"
    assert any(key.startswith("system/") for key in run.data.metrics)
    assert not any(item.created for item in runs.sync(bare, models=["heart"]))

    elsewhere = bare.parent / "elsewhere"
    (elsewhere / "build").mkdir(parents=True)
    shutil.copy(bare / "params.yaml", elsewhere)
    (bare / "build" / "heart").rename(elsewhere / "build" / "heart")
    assert [item.created for item in runs.sync(elsewhere)] == [True]
    assert content(elsewhere)["runs"] == streamed["runs"]


def kill_a_training(project: Path, history, dice: float):
    """Kill -9 a training after two epochs; the run it leaves."""

    def entries():
        yield history[0]
        yield history[1] | {"dice": dice}
        while not ((run := only_run(project)) and run.data.metrics.get("dice") == dice):
            time.sleep(0.1)
        kill_this()

    run_until_killed(stream, project, entries())
    run = only_run(project)
    assert run.data.metrics["dice"] == dice and run.info.status == "RUNNING"
    return run


@pytest.mark.parametrize("dice", [0.5, 0.4375])
def test_run_of_a_killed_training_is_completed_without_a_second(bare, helpers, content, dice):
    """Also where the training that went on took another way, as it may on a GPU."""
    broken = kill_a_training(bare, helpers.history, dice)
    (synced,) = runs.sync(bare, models=["heart"])
    assert synced.created and (synced.run_id == broken.info.run_id) == (dice == 0.5)
    assert only_run(bare).info.status == "FINISHED"
    metrics = content(bare)["runs"][FINGERPRINT]["metrics"]
    assert metrics["dice"] == [(1, 0.25), (2, 0.5), (3, 0.75)]


def test_resumed_training_continues_its_run(bare, helpers, content, monkeypatch):
    monkeypatch.setattr(tracker, "END_SECONDS", 120)
    broken = kill_a_training(bare, helpers.history, 0.5)
    stream(bare, helpers.history[2:])
    run = only_run(bare)
    assert run.info.run_id == broken.info.run_id and run.info.status == "FINISHED"
    assert content(bare)["runs"][FINGERPRINT]["metrics"]["loss"] == [(1, 0.5), (2, 0.25), (3, 0.125)]


def test_failed_training_is_told_and_raises_its_own_error(bare, helpers, monkeypatch):
    monkeypatch.setattr(tracker, "END_SECONDS", 120)

    def broken():
        yield helpers.history[0]
        raise ValueError("no number")

    with pytest.raises(ValueError, match="no number"):
        stream(bare, broken())
    assert only_run(bare).info.status == "FAILED"


def test_training_that_never_began_leaves_no_run(bare):
    with pytest.raises(KeyError):
        stream(bare, [{}])
    assert only_run(bare) is None


@pytest.fixture
def hanging_server() -> Iterator[str]:
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "sqlite:////proc/nowhere/all.db", "nonsense://x", ""])
def test_training_is_neither_slowed_nor_failed_by_mlflow(
    bare, helpers, monkeypatch, caplog, *, hanging_server, uri
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri or hanging_server)
    monkeypatch.setattr(tracker, "END_SECONDS", 4)
    seconds = []
    params = config.load_params(bare / "params.yaml").model("heart")
    started = time.monotonic()
    with tracker.tracking("heart", fingerprint=FINGERPRINT, params=params, project=bare) as on_epoch:
        for entry in helpers.history:
            begun = time.monotonic()
            on_epoch(entry["epoch"], entry)
            seconds.append(time.monotonic() - begun)
    assert max(seconds) < 0.5
    assert time.monotonic() - started < 8
    assert "coronet tracking sync" in caplog.text


@pytest.mark.slow
def test_process_ends_while_a_server_hangs(bare, hanging_server):
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom coronet.tracking import tracker\n"
        "tracker.END_SECONDS = 2.0\n"
        "with tracker.tracking('heart', fingerprint='f', params={}, project=Path(sys.argv[1])) as on_epoch:\n"
        "    on_epoch(1, {'epoch': 1, 'loss': 0.5})\n    time.sleep(8)\n"
    )
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program, str(bare)],
        env=os.environ | {"MLFLOW_TRACKING_URI": hanging_server},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "coronet tracking sync" in done.stderr
    assert time.monotonic() - started < 40


def test_locked_database_delays_no_epoch(bare, helpers, monkeypatch, caplog):
    with mlflow_client.open_client(bare / "mlruns") as client:
        client.search_experiments()
    monkeypatch.setattr(tracker, "END_SECONDS", 2)
    holder = sqlite3.connect(bare / "mlruns" / "mlflow.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    started = time.monotonic()
    stream(bare, helpers.history)
    assert time.monotonic() - started < 6
    holder.execute("COMMIT")
    holder.close()
    assert "coronet tracking sync" in caplog.text
    runs.sync(bare, models=["heart"])
    assert only_run(bare).info.status == "FINISHED"


def test_run_shows_tables_dataset_and_lineage(tiny, helpers):
    import mlflow.artifacts

    runs.sync(tiny)
    run = only_run(tiny)
    tags = run.data.tags
    assert tags["git_commit"] == helpers.git(tiny, "rev-parse", "HEAD").strip()
    assert tags["dirty"] == "false"
    assert len(tags["dvc_lock_sha256"]) == len(tags["params_sha256"]) == len(tags["weights_sha256"]) == 64
    assert json.loads(tags["mlflow.loggedArtifacts"]) == [{"path": "evaluation/cases.json", "type": "table"}]
    table = mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/evaluation/cases.json")
    assert table == {
        "columns": ["case", "dice", "iou"],
        "data": [["phantom-0001", 0.5, 0.5], ["phantom-0002", None, None]],
    }
    assert run.data.metrics["test/dice.mean"] == 0.5
    page = tags["mlflow.note.content"]
    assert (
        page.startswith("dice.mean **0.500**") and f"path=fit/curves.png&run_uuid={run.info.run_id}" in page
    )
    addresses = mlflow_client.page_addresses(tiny / "mlruns", port=5000)
    runs_page = (
        f"http://127.0.0.1:5000/#/experiments/{run.info.experiment_id}/runs?workflowType=machine_learning"
    )
    assert addresses["runs of heart"] == runs_page and "/#/models" in addresses["registered models"]
    with mlflow_client.open_client(tiny / "mlruns") as client:
        experiment = client.get_experiment(run.info.experiment_id)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"

    helpers.write_evaluation(tiny, "heart", value=0.625)
    helpers.dvc_commit(tiny)
    runs.sync(tiny)
    again = only_run(tiny)
    assert again.info.run_id == run.info.run_id and again.data.metrics["test/dice.mean"] == 0.625
    helpers.write_fit(tiny, "heart", fingerprint=FINGERPRINT[:-1] + "2", seed=5)
    runs.sync(tiny)
    with mlflow_client.open_client(tiny / "mlruns") as client:
        experiment = mlflow_client.experiment_id(client, "heart", tiny / "mlruns")
        (newer,) = runs.find_runs(client, experiment, FINGERPRINT[:-1] + "2")
    assert not any(key.startswith("test/") for key in newer.data.metrics), "an evaluation of other weights"
    assert "dvc_lock_sha256" not in newer.data.tags, "a lock of other weights"


@pytest.mark.slow
def test_a_server_holds_the_same(tiny, helpers, content, monkeypatch, tmp_path):
    from coronet.registry import registration, versions

    port = 20000 + os.getpid() % 20000
    uri = f"http://127.0.0.1:{port}"
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
        *("--workers", "1", "--backend-store-uri", f"sqlite:///{tmp_path}/server.db"),
        *("--artifacts-destination", str(tmp_path / "served")),
    ]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "DO_NOT_TRACK": "true"}
    server = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        monkeypatch.setattr(tracker, "END_SECONDS", 120)
        local = shutil.copytree(tiny, tmp_path / "local")
        registration.register_version("heart", local)
        expected = content(local)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        _wait_for_server(uri)
        stream(tiny, helpers.history)
        runs.sync(tiny)
        registration.register_version("heart", tiny)
        found = content(tiny)
        assert found["versions"] == expected["versions"] and found["aliases"] == expected["aliases"]
        assert set(found["runs"]) >= set(expected["runs"])
        assert found["runs"][FINGERPRINT] == expected["runs"][FINGERPRINT]
        place = versions.resolve("models:/heart@challenger", tiny)
        assert read_json(place / "model.json")["fingerprint"] == FINGERPRINT
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def _wait_for_server(uri: str) -> None:
    import requests

    deadline = time.monotonic() + 120
    while True:
        try:
            if requests.get(f"{uri}/health", timeout=2).ok:
                return
        except requests.RequestException:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.5)
