"""Training: what comes of it, and that nothing but its cases and parameters decides that."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from coronet.errors import Busy, StageError
from coronet.files import exclusive, read_json
from coronet.fingerprint import hash_tree
from coronet.networks.factory import load_model
from coronet.preprocessing.prepared_store import load_prepared
from coronet.training.fit import fit_model
from coronet.training.learners import SegmentationLearner
from coronet.training.learning_curves import read_history
from coronet.training.pretrain import pretrain_model

CASES = {"train_cases": ("a", "b", "c"), "tune_cases": ("d",), "seed": 1}


@pytest.fixture
def run(prepared, params, tmp_path):
    """Fit the small heart model into a folder by name."""

    def fit_into(name, *, model="heart", chosen=None, **changes):
        settings = {**CASES, "out": tmp_path / name / "fit", "work": tmp_path / name / "work", **changes}
        return fit_model(model, prepared[model], chosen or params.model(model), **settings)

    return fit_into


@pytest.mark.parametrize(("model", "metric"), [("heart", "dice"), ("calcium", "lesion_f1")])
def test_a_training_leaves_all_its_results(run, model, metric):
    result = run("one", model=model)
    assert result.metric == metric
    history = read_history(result.folder / "history.csv")
    assert [entry["epoch"] for entry in history] == [1, 2, 3]
    assert result.best == max(entry[metric] for entry in history)
    assert history[result.best_epoch - 1][metric] == result.best
    assert read_json(result.folder / "metrics.json")[f"tune_{metric}"] == result.best
    assert (result.folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert load_model(result.folder).spec.cases == {"phantom": 3}


def test_the_same_run_gives_the_same_bytes(run):
    assert len({hash_tree(run(name).folder) for name in ("one", "two")}) == 1


def test_a_finished_run_is_not_trained_again(run):
    first = run("one")
    epochs = []
    second = run("one", on_epoch=lambda epoch, measured: epochs.append(epoch))
    assert epochs == []
    assert first == second


class Pruned(Exception):
    """What a search raises."""


@pytest.mark.parametrize("model", ["heart", "calcium"])
def test_a_run_given_up_and_taken_up_again_ends_as_if_it_had_not_been(run, model):
    whole = run("whole", model=model)

    def give_up(epoch, measured):
        if epoch == 2:
            raise Pruned

    with pytest.raises(Pruned):
        run("broken", model=model, on_epoch=give_up)
    seen = []
    resumed = run("broken", model=model, on_epoch=lambda epoch, measured: seen.append(epoch))
    assert seen == [3]
    assert hash_tree(whole.folder) == hash_tree(resumed.folder)


class Believer(torch.nn.Module):
    """Takes the brightest for calcium and nothing else."""

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Logits of windows."""
        return 100 * (windows - 0.9)


def test_an_epoch_meets_what_the_network_takes_for_calcium(prepared, params):
    (case,) = load_prepared(prepared["calcium"], ("a",), params.calcium.input)
    hu, target = np.zeros_like(case.hu), np.zeros_like(case.target)
    for start, value in ((4, 1000), (14, 300), (24, 300), (34, 300)):
        hu[start : start + 4, -4:, :4] = value
    case = dataclasses.replace(case, hu=hu, target=target, distance=np.zeros_like(case.distance))
    learner = SegmentationLearner(
        "calcium",
        dataclasses.replace(params.calcium, sampling=dataclasses.replace(params.calcium.sampling, judged=64)),
        train_cases=(case,),
        tune_cases=(case,),
        seed=0,
        device=torch.device("cpu"),
    )
    learner.begin_epoch(0, Believer())
    assert learner.focus == ()
    learner.begin_epoch(1, Believer())
    assert {int(hu[tuple(thing.voxels[0])]) for thing in learner.focus} == {1000}
    assert len(learner.focus) == 16


def test_only_the_cases_named_are_opened(run, prepared, tmp_path, params):
    import shutil

    folder = shutil.copytree(prepared["heart"], tmp_path / "prepared")
    for name in "bd":
        (folder / f"{name}.safetensors").write_bytes(b"not to be read")
    fit_model(
        "heart",
        folder,
        params.heart,
        train_cases=("a",),
        tune_cases=("c",),
        seed=1,
        out=tmp_path / "out",
        work=tmp_path / "work",
    )


def test_a_work_folder_of_other_parameters_is_refused(run, params, tmp_path):
    run("one")
    loss = dataclasses.replace(params.heart.loss, focal_gamma=3.0)
    with pytest.raises(StageError, match=r"params\.loss\.focal_gamma is 2\.0 there and 3\.0 here"):
        run("one", chosen=dataclasses.replace(params.heart, loss=loss))
    with pytest.raises(StageError, match="seed"):
        run("one", seed=2)


def test_two_trainers_do_not_share_a_work_folder(run, tmp_path):
    with exclusive(tmp_path / "one" / "work" / "lock"), pytest.raises(Busy):
        run("one")


def test_a_case_is_not_trained_and_tuned_on(run):
    with pytest.raises(StageError, match="a is among both"):
        run("one", tune_cases=("a",))
    with pytest.raises(StageError, match="at least one"):
        run("one", train_cases=())


def test_early_stopping_keeps_the_best(run, params):
    optimiser = dataclasses.replace(params.heart.optimiser, epochs=30, learning_rate=1e-9, stop_patience=2)
    result = run("one", chosen=dataclasses.replace(params.heart, optimiser=optimiser))
    assert result.epochs < 30
    assert result.epochs - result.best_epoch == 2


def test_a_loss_that_is_no_number_ends_the_training(run, params):
    optimiser = dataclasses.replace(params.heart.optimiser)
    # far beyond what params.yaml allows
    object.__setattr__(optimiser, "learning_rate", 1e30)
    with pytest.raises(StageError, match="not a number"):
        run("one", chosen=dataclasses.replace(params.heart, optimiser=optimiser))


def test_the_autoencoder_learns_from_train_patients_alone_and_is_taken_over(
    run, prepared, params, split, tmp_path
):
    import shutil

    folder = shutil.copytree(prepared["heart"], tmp_path / "prepared")
    (folder / "d.safetensors").write_bytes(b"not to be read")
    encoder = pretrain_model("heart", folder, split, params, tmp_path / "pre", work=tmp_path / "work")
    assert read_json(tmp_path / "pre" / "metrics.json")["cases"] == ["a", "b", "c"]
    started = {}

    def look(epoch, measured):
        started["seen"] = True
        raise Pruned

    with pytest.raises(Pruned):
        run("one", pretrained=encoder, on_epoch=look)
    assert started
    assert load_file(encoder)["levels.0.0.weight"].shape == (4, 1, 3, 3, 3)
    with pytest.raises(StageError, match="pretrained"):
        run("one", pretrained=None)


def test_no_autoencoder_is_trained_where_none_is_asked_for(prepared, params, split, tmp_path):
    network = dataclasses.replace(params.heart.network, encoder="plain")
    other = dataclasses.replace(params, heart=dataclasses.replace(params.heart, network=network))
    out = tmp_path / "pre"
    assert pretrain_model("heart", prepared["heart"], split, other, out, work=tmp_path / "work") is None
    assert read_json(out / "metrics.json") == {"pretrained": False, "reason": "network.encoder is plain"}
    with pytest.raises(StageError, match="pretrained encoder"):
        fit_model(
            "heart",
            prepared["heart"],
            other.heart,
            **CASES,
            out=tmp_path / "out",
            work=tmp_path / "work2",
            pretrained=out / "encoder.safetensors",
        )


def test_the_callers_settings_are_left_as_they_were(run):
    run("one")
    assert not torch.are_deterministic_algorithms_enabled()
