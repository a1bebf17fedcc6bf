"""MLflow's view of a study: written from records, again and again, whole or not."""

from __future__ import annotations

import dataclasses
import shutil

import pytest

from coronet.tracking import mlflow_client, study_runs
from coronet.tracking.study_runs import StudyRecord, TrialRecord


def trial(number: int, state: str = "complete", value: float | None = 0.5) -> TrialRecord:
    """A trial that reported two epochs."""
    return TrialRecord(
        number=number,
        state=state,
        value=value,
        params={"network.encoder": "plain", "loss.dice": 0.25},
        reported={1: 0.25, 2: 0.5},
        started_ms=1_700_000_000_000 + 1000 * number,
        ended_ms=1_700_000_000_900 + 1000 * number,
        tags={"reason": "because"} if state != "complete" else {},
    )


@pytest.fixture
def record() -> StudyRecord:
    """Three trials: one complete, one pruned, one better."""
    trials = (trial(0), trial(1, "pruned", 0.25), trial(2, value=0.75))
    return StudyRecord("heart-1", "heart", "dice", trials, {"study_fingerprint": "abc"})


def children(mlruns, parent):
    """The trials' runs by number."""
    with mlflow_client.open_client(mlruns) as client:
        experiment = client.get_run(parent).info.experiment_id
        found = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
        return {int(run.data.tags["coronet.trial"]): run for run in found}


def test_the_study_is_a_parent_and_trials_are_children(record, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "history.png").write_bytes(b"a picture")
    parent = study_runs.write(record, tmp_path / "mlruns", pictures=pictures, digest="1")

    runs = children(tmp_path / "mlruns", parent)
    assert sorted(runs) == [0, 1, 2]
    assert [runs[number].info.status for number in range(3)] == ["FINISHED", "KILLED", "FINISHED"]
    assert runs[1].data.tags["reason"] == "because"
    assert runs[2].data.metrics["dice"] == 0.75
    assert runs[0].data.params == {"network.encoder": "plain", "loss.dice": "0.25"}
    assert runs[0].info.end_time - runs[0].info.start_time == 900
    with mlflow_client.open_client(tmp_path / "mlruns") as client:
        curve = client.get_metric_history(runs[0].info.run_id, "dice so far")
        assert [(point.step, point.value) for point in curve] == [(1, 0.25), (2, 0.5)]
        best = client.get_metric_history(parent, "best dice")
        assert [(point.step, point.value) for point in best] == [(0, 0.5), (2, 0.75)]
        assert [item.path for item in client.list_artifacts(parent)] == ["history.png"]
        assert client.search_registered_models() == []


def test_writing_again_adds_only_what_is_new(record, tmp_path):
    parent = study_runs.write(record, tmp_path)
    before = {number: run.info.run_id for number, run in children(tmp_path, parent).items()}
    more = dataclasses.replace(record, trials=(*record.trials, trial(3, "failed", None)))
    assert study_runs.write(more, tmp_path) == parent
    after = {number: run.info.run_id for number, run in children(tmp_path, parent).items()}
    assert {number: after[number] for number in before} == before
    assert sorted(after) == [0, 1, 2, 3]


def test_a_trial_that_was_cut_off_is_written_anew(record, tmp_path):
    parent = study_runs.write(record, tmp_path)
    cut = children(tmp_path, parent)[1]
    with mlflow_client.open_client(tmp_path) as client:
        client.delete_tag(cut.info.run_id, study_runs.STATE)
    study_runs.write(record, tmp_path)
    runs = children(tmp_path, parent)
    assert sorted(runs) == [0, 1, 2]
    assert runs[1].info.run_id != cut.info.run_id


def test_a_lost_ledger_is_written_again(record, tmp_path):
    study_runs.write(record, tmp_path / "mlruns")
    shutil.rmtree(tmp_path / "mlruns")
    parent = study_runs.write(record, tmp_path / "mlruns")
    assert sorted(children(tmp_path / "mlruns", parent)) == [0, 1, 2]


def test_two_studies_do_not_mix(record, tmp_path):
    first = study_runs.write(record, tmp_path)
    second = study_runs.write(dataclasses.replace(record, name="heart-2"), tmp_path)
    assert first != second
    assert sorted(children(tmp_path, first)) == sorted(children(tmp_path, second)) == [0, 1, 2]
