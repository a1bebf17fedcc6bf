"""From a study's database to MLflow, whenever MLflow is there."""

from __future__ import annotations

import json

from coronet.search import database
from coronet.search.study import run_study
from coronet.search.study_record import read_study, sync_studies
from coronet.tracking import mlflow_client


def runs(project):
    """Runs of the search by their names, and the parent's artifacts."""
    with mlflow_client.open_client(project / "mlruns") as client:
        experiment = client.get_experiment_by_name("heart-search").experiment_id
        found = {run.info.run_name: run for run in client.search_runs([experiment])}
        (parent,) = [run for run in found.values() if "mlflow.parentRunId" not in run.data.tags]
        return found, {item.path for item in client.list_artifacts(parent.info.run_id)}


def test_a_search_is_in_mlflow_with_its_pictures_and_comes_back_when_that_is_lost(searched):
    result = run_study("heart", searched, trials=3, name="mine")
    found, artifacts = runs(searched)
    assert set(found) == {result.name, *(f"{result.name}-{trial.number}" for trial in result.trials)}
    assert artifacts == {
        "history.png",
        "importances.png",
        "parallel_coordinates.png",
        "reports.png",
        "slices.png",
        "trials.json",
    }
    for path in (searched / "mlruns").glob("mlflow.db*"):
        path.unlink()
    assert list(sync_studies(searched)) == [result.name]
    again, _ = runs(searched)
    assert {name: run.data.metrics for name, run in again.items()} == {
        name: run.data.metrics for name, run in found.items()
    }


def test_a_search_does_without_mlflow(searched, monkeypatch, caplog):
    with monkeypatch.context() as away:
        away.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        away.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        result = run_study("heart", searched, trials=4, name="mine")
    assert result.settled == 4
    assert caplog.text.count("`coronet tracking sync` writes it later") == 1
    sync_studies(searched)
    found, artifacts = runs(searched)
    assert len(found) == 5
    assert "trials.json" in artifacts


def test_no_column_is_called_as_a_parameter_is(searched):
    study = database.find_study("mine", searched)
    assert study.metric_names == ["held-out dice"]
    result = read_study(study)
    assert "held-out dice" not in result.best.drawn and "loss.dice" in result.best.drawn


def test_nothing_that_names_a_folder_or_a_patient_is_recorded(searched):
    study = database.find_study("mine", searched)
    record = json.dumps(read_study(study).to_json()) + json.dumps(study.user_attrs)
    assert str(searched) not in record
    assert '"p1"' not in record
