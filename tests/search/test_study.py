"""A search: what it trains, what it looks at, and how it goes on."""

from __future__ import annotations

import errno
import re
import sys
from pathlib import Path

import optuna
import pytest

from coronet.errors import SearchError
from coronet.fingerprint import canonical
from coronet.search import database
from coronet.search.study import run_study
from coronet.search.study_plan import make_study_plan
from coronet.tracking.study_runs import StudyRecord
from coronet.training.fit import fit_model


def essence(result: StudyRecord) -> list[tuple]:
    """What must repeat of the trials that came to an end."""
    return [(trial.state, trial.value, dict(trial.drawn)) for trial in result.trials if trial.settled]


def enqueue(project: Path, *drawn: dict) -> str:
    """Put trials at the head of the default study, and return its name."""
    plan = make_study_plan("heart", project)
    study = database.open_study(plan, plan.study, database.open_storage(project))
    for item in drawn:
        study.enqueue_trial(item)
    return plan.study


PLAINLY = {"encoders": ["plain"]}
PLAIN = {"network.encoder": "plain", "network.activation": "relu", "loss.dice": 0.5, "loss.focal_gamma": 2.0}


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
def test_no_file_of_a_test_or_tune_patient_is_opened(make, watched):
    project = make()
    watch = watched(project / "data", project / "build")
    next((project / "data" / "ct").iterdir()).read_bytes()
    assert watch.opened(), "the watch sees nothing"

    run_study("heart", project, trials=2, track=False)
    opened = {path for path in watch.opened() if path.is_file()}
    assert {path.name.partition("-")[0] for path in opened} == {"train", "index.json", "split.json"}
    assert sum(path.name.startswith("train") for path in opened) == 8
    assert not [path for path in opened if (project / "data") in path.parents]


def test_what_a_trial_trains_is_the_training_of_the_stage(make):
    project = make()
    result = run_study("heart", project, trials=1, track=False)
    plan = make_study_plan("heart", project)
    fold = plan.folds[0]
    (trial,) = result.trials
    from coronet.search import space
    from coronet.search.objective import pretrained_encoder

    params = space.apply(trial.drawn, plan.template)
    again = fit_model(
        "heart",
        plan.prepared,
        params,
        train_cases=fold.train,
        tune_cases=fold.held_out,
        seed=plan.params.seed,
        out=project / "fit",
        work=project / "work",
        pretrained=pretrained_encoder(plan, params, fold),
    )
    assert params.network.encoder == "autoencoder"
    assert again.best == trial.value
    assert trial.epochs == 5
    # The first trial is what the parameters say now.
    assert trial.drawn["optimiser.learning_rate"] == 0.02


def test_trials_is_how_many_there_are_in_all_and_a_resumed_search_draws_as_a_whole_one(make):
    whole = run_study("heart", make("whole", **PLAINLY), trials=3, track=False)
    project = make("parts", **PLAINLY)
    first = run_study("heart", project, trials=2, track=False)
    assert len(first.trials) == 2
    assert run_study("heart", project, trials=2, track=False) == first
    assert whole.best.value > 0
    assert essence(run_study("heart", project, trials=3, track=False)) == essence(whole)
    assert len({canonical(trial.drawn)["optimiser.learning_rate"] for trial in whole.trials}) == 3


def test_several_folds_are_averaged(make):
    (trial,) = run_study("heart", make(folds_used=2), trials=1, track=False).trials
    assert trial.epochs == 10
    assert sorted(trial.reported) == list(range(1, 11))
    assert trial.reported[10] == trial.value > 0


def test_what_does_not_promise_is_pruned_with_its_reason_and_fewer_epochs(make):
    project = make(learning_rate=[1e-7, 0.02], startup_trials=1, warmup_epochs=1)
    enqueue(project, {**PLAIN, "optimiser.learning_rate": 1e-7})
    result = run_study("heart", project, trials=2, track=False)
    assert [trial.state for trial in result.trials] == ["complete", "pruned"]
    pruned = result.trials[1]
    assert re.fullmatch(
        r"dice 0\.0000 after epoch \d of 5 in fold 1 is not promising \(median\)", pruned.reason
    )
    assert 1 <= pruned.epochs < 5
    assert result.best.number == 0


def test_memory_that_runs_out_prunes_and_the_search_goes_on(make):
    """The innermost level would take 108 terabytes, which no allocator gives."""
    project = make()
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("channels: [4, 8]", "channels: [1, 1000000]", 1))
    with pytest.raises(SearchError, match=r"No trial .* came to a value; most often: out of memory") as error:
        run_study("heart", project, trials=2, name="big", track=False)
    assert "allocate" in str(error.value)
    study = database.find_study("big", project)
    assert [trial.state.name for trial in study.trials] == ["PRUNED", "PRUNED"]


def test_another_error_fails_the_trial_and_the_search_goes_on(make):
    project = make()
    enqueue(project, {**PLAIN, "optimiser.learning_rate": 1e30})  # from outside of the space
    result = run_study("heart", project, trials=2, track=False)
    assert [trial.state for trial in result.trials] == ["complete", "failed"]
    assert "learning_rate is 1e+30; it must be above 0 and at most 1" in result.trials[1].reason
    assert result.best.number == 0


def test_a_full_disk_ends_the_search_and_spoils_no_trial(make, monkeypatch):
    from coronet.search.objective import _Run

    def full(run):
        raise OSError(errno.ENOSPC, "No space left on device", "epoch-00001.safetensors")

    project = make()
    monkeypatch.setattr(_Run, "value", full)
    with pytest.raises(OSError, match="No space left"):
        run_study("heart", project, trials=1, track=False)
    monkeypatch.undo()
    trials = run_study("heart", project, trials=1, track=False).trials
    assert [(trial.state, trial.retry_of) for trial in trials] == [("killed", ()), ("complete", (0,))]


def test_checkpoints_go_when_their_trials_are_done(make):
    project = make()
    run_study("heart", project, trials=2, track=False)
    assert not list((project / "mlruns" / "work").rglob("epoch-*"))
    assert not list((project / "mlruns" / "work").rglob("weights.safetensors"))


def test_a_study_of_other_data_or_another_space_is_refused_and_a_new_one_made(make):
    project = make()
    first = run_study("heart", project, trials=1, name="mine", track=False)
    path = project / "params.yaml"
    path.write_text(path.read_text().replace("dice: [0.2, 0.8]", "dice: [0.3, 0.8]", 1))
    with pytest.raises(SearchError, match='"mine" is of another space'):
        run_study("heart", project, trials=1, name="mine", track=False)
    assert make_study_plan("heart", project).fingerprint != first.fingerprint
    index = project / "build" / "heart" / "prepared" / "index.json"
    index.write_text(index.read_text() + "\n")
    with pytest.raises(SearchError, match='"mine" is of another data: the prepared cases are others'):
        run_study("heart", project, trials=1, name="mine", track=False)
    assert run_study("heart", project, trials=1, track=False).name.startswith("heart-")


def test_what_a_study_cannot_be_is_refused(make):
    project = make()
    with pytest.raises(SearchError, match="cannot be called"):
        run_study("heart", project, trials=1, name="../up", track=False)
    with pytest.raises(SearchError, match=r"postgresql://me:\*\*\*@nowhere/db cannot be opened") as error:
        run_study("heart", project, trials=1, storage="postgresql://me:secret@nowhere/db", track=False)
    assert "secret" not in str(error.value)


def test_a_study_is_kept_wherever_the_url_says(make, tmp_path):
    project = make()
    url = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    result = run_study("heart", project, trials=1, storage=url, track=False)
    assert not (project / "mlruns" / "optuna.db").exists()
    assert optuna.get_all_study_names(url) == [result.name]
