"""MLflow's view of a study: written from records, again and again, whole or not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from coronet.tracking import mlflow_client
from coronet.tracking.study_runs import STATE, StudyRecord, TrialRecord, write_study


def trial(number: int, state: str = "complete", value: float | None = 0.5) -> TrialRecord:
    """A trial that reported two epochs."""
    return TrialRecord(
        number=number,
        state=state,
        value=value,
        drawn={"network.encoder": "plain", "loss.dice": 0.25},
        reported={1: 0.25, 2: 0.5},
        seconds=0.9,
        started_ms=1_700_000_000_000 + 1000 * number,
        reason="because" if state != "complete" else "",
    )


@pytest.fixture(scope="module")
def mlruns(tmp_path_factory) -> Path:
    """One database of MLflow for all tests, since to make one takes seconds."""
    return tmp_path_factory.mktemp("mlruns")


@pytest.fixture
def record(request) -> StudyRecord:
    """A study named by the test, of three trials: one complete, one pruned, one better; and one that runs."""
    trials = (trial(0), trial(1, "pruned", 0.25), trial(2, value=0.75), TrialRecord(9, "running"))
    return StudyRecord(request.node.name[:60], "heart", "abc", "held-out dice", (2,), trials)


def children(mlruns, parent):
    """The trials' runs by number."""
    with mlflow_client.open_client(mlruns) as client:
        experiment = client.get_run(parent).info.experiment_id
        found = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
        return {int(run.data.tags["coronet.trial"]): run for run in found}


def test_the_study_is_a_parent_and_trials_are_children(record, mlruns):
    plotted = []

    def plot(folder):
        plotted.append(folder)
        (folder / "history.png").write_bytes(b"a picture")

    parent = write_study(record, mlruns, plot=plot)
    assert write_study(record, mlruns, plot=plot) == parent
    assert len(plotted) == 1, "there is nothing new to plot"
    runs = children(mlruns, parent)
    assert sorted(runs) == [0, 1, 2]
    assert [runs[number].info.status for number in range(3)] == ["FINISHED", "KILLED", "FINISHED"]
    assert runs[1].data.tags["reason"] == "because"
    assert runs[2].data.metrics["held-out dice"] == 0.75
    assert runs[0].data.params == {"network.encoder": "plain", "loss.dice": "0.25"}
    assert runs[0].info.end_time - runs[0].info.start_time == 900
    with mlflow_client.open_client(mlruns) as client:
        curve = client.get_metric_history(runs[0].info.run_id, "held-out dice so far")
        assert [(point.step, point.value) for point in curve] == [(1, 0.25), (2, 0.5)]
        best = client.get_metric_history(parent, "best held-out dice")
        assert [(point.step, point.value) for point in best] == [(0, 0.5), (2, 0.75)]
        assert [item.path for item in client.list_artifacts(parent)] == ["history.png"]
        assert client.search_registered_models() == []


def test_writing_again_adds_only_what_is_new(record, mlruns):
    parent = write_study(record, mlruns)
    before = {number: run.info.run_id for number, run in children(mlruns, parent).items()}
    more = dataclasses.replace(record, trials=(*record.trials, trial(3, "failed", None)))
    assert write_study(more, mlruns) == parent
    after = {number: run.info.run_id for number, run in children(mlruns, parent).items()}
    assert {number: after[number] for number in before} == before
    assert sorted(after) == [0, 1, 2, 3]


def test_a_trial_that_was_cut_off_is_written_anew(record, mlruns):
    parent = write_study(record, mlruns)
    cut = children(mlruns, parent)[1]
    with mlflow_client.open_client(mlruns) as client:
        client.delete_tag(cut.info.run_id, STATE)
    write_study(record, mlruns)
    runs = children(mlruns, parent)
    assert sorted(runs) == [0, 1, 2]
    assert runs[1].info.run_id != cut.info.run_id


def test_two_studies_do_not_mix(record, mlruns):
    first = write_study(record, mlruns)
    second = write_study(dataclasses.replace(record, name="heart-2"), mlruns)
    assert first != second
    assert sorted(children(mlruns, first)) == sorted(children(mlruns, second)) == [0, 1, 2]
