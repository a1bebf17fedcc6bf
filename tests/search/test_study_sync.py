"""From a study's database to MLflow, whenever MLflow is there."""

from __future__ import annotations

import json

from coronet.search import database, study_sync
from coronet.search.study import run_study
from coronet.tracking import mlflow_client


def runs(project):
    """Runs of the search by their names, and the parent's artifacts."""
    with mlflow_client.open_client(project / "mlruns") as client:
        experiment = client.get_experiment_by_name("heart-search").experiment_id
        found = {run.info.run_name: run for run in client.search_runs([experiment])}
        (parent,) = [run for run in found.values() if "mlflow.parentRunId" not in run.data.tags]
        return found, {item.path for item in client.list_artifacts(parent.info.run_id)}


def test_a_search_is_in_mlflow_with_its_pictures_and_comes_back_when_that_is_lost(make):
    project = make()
    result = run_study("heart", project, trials=3)
    found, artifacts = runs(project)
    assert set(found) == {result.name, *(f"{result.name}-{trial.number}" for trial in result.trials)}
    assert artifacts == {
        "history.png",
        "importances.png",
        "parallel_coordinates.png",
        "reports.png",
        "slices.png",
        "trials.json",
    }
    for path in (project / "mlruns").glob("mlflow.db*"):
        path.unlink()
    assert list(study_sync.sync_studies(project)) == [result.name]
    again, _ = runs(project)
    assert {name: run.data.metrics for name, run in again.items()} == {
        name: run.data.metrics for name, run in found.items()
    }


def test_a_search_does_without_mlflow(make, monkeypatch, caplog):
    project = make()
    with monkeypatch.context() as away:
        away.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        away.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        result = run_study("heart", project, trials=2)
    assert result.best is not None
    assert "`coronet tracking sync` writes it later" in caplog.text
    study_sync.sync_studies(project)
    found, artifacts = runs(project)
    assert len(found) == 3
    assert "trials.json" in artifacts


def test_nothing_that_names_a_folder_or_a_patient_is_told(make):
    project = make()
    result = run_study("heart", project, trials=1, track=False)
    told = json.dumps(study_sync.to_record(result).tags) + json.dumps(result.to_json())
    assert str(project) not in told
    assert '"p1"' not in told
    study = database.find_study(result.name, project)
    assert str(project) not in json.dumps(study.user_attrs)
