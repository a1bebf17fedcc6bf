"""Which trials a worker takes: as many as wanted, and those again whose worker is gone."""

from __future__ import annotations

import time

import pytest
from optuna.trial import TrialState

from coronet.search import database, objective
from coronet.search.objective import TRAINING, Objective
from coronet.search.study_plan import make_study_plan
from coronet.search.study_record import read_study
from coronet.search.worker import run_trials


@pytest.fixture
def study(make, monkeypatch):
    """A plan and its study, whose trials take no time and give 0.5."""
    plan = make_study_plan("heart", make(heartbeat_s=1, grace_s=2, retries=1))

    def train(self, trial):
        objective.space.draw(trial, plan.params.search)
        trial.set_user_attr(TRAINING, f"training-{trial.number}")
        self._on_drawn()
        return 0.5

    monkeypatch.setattr(Objective, "_train", train)
    return plan, database.open_study(
        plan, "one", database.open_storage(plan.project, space=plan.params.search)
    )


def abandon(study, *, heartbeat=True):
    """Take a trial as a worker does that is killed then."""
    trial = study.ask()
    if heartbeat:
        trial.set_user_attr(objective.BEGUN, trial.number)
        study._storage.record_heartbeat(trial._trial_id)
    return trial.number


@pytest.mark.parametrize("heartbeat", [True, False])
def test_a_trial_whose_worker_is_gone_is_repeated(study, heartbeat, caplog):
    plan, study = study
    caplog.set_level("INFO", "coronet")
    assert abandon(study, heartbeat=heartbeat) == 0
    run_trials(plan, study, trials=1)
    trials = read_study(study).trials
    assert [(trial.state, trial.retry_of) for trial in trials] == [("killed", ()), ("complete", (0,))]
    assert "waiting for trials in work: 0" in caplog.text


def test_a_trial_whose_workers_are_killed_again_and_again_is_given_up(study):
    plan, study = study
    abandon(study)
    run_trials(plan, study, trials=0)
    time.sleep(3.5)
    from coronet.search.worker import _fail_stale

    _fail_stale(plan, study)
    assert abandon(study) == 1
    run_trials(plan, study, trials=2)
    trials = read_study(study).trials
    assert [trial.state for trial in trials] == ["killed", "failed", "complete"]
    assert trials[1].reason == "its worker was killed 2 times"


def test_a_worker_that_is_taken_for_dead_leaves_its_trial_to_another(study, monkeypatch, caplog):
    plan, study = study
    whole = Objective._train

    def lost(self, trial):
        value = whole(self, trial)
        if trial.number == 0:
            study._storage.set_trial_state_values(trial._trial_id, state=TrialState.FAIL)
            trial.report(value, 1)
        return value

    monkeypatch.setattr(Objective, "_train", lost)
    run_trials(plan, study, trials=2)
    assert "took this one for dead" in caplog.text
    assert [trial.state for trial in read_study(study).trials] == ["failed", "complete"]


def test_an_interrupted_trial_is_queued_again_at_once(study, monkeypatch):
    plan, study = study

    def interrupted(self, trial):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Objective, "_train", interrupted)
        run_trials(plan, study, trials=1)
    assert [trial.state for trial in read_study(study).trials] == ["killed", "waiting"]
    run_trials(plan, study, trials=1)
    assert [trial.state for trial in read_study(study).trials] == ["killed", "complete"]
