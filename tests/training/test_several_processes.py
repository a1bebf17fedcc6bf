"""Trainings by several processes of torchrun, on the processor."""

from __future__ import annotations

import dataclasses
import os
import stat
import sys
import threading
import time

import numpy as np
import psutil
import pytest
from safetensors.numpy import load_file

from coronet.config import ResourceParams
from coronet.errors import InputError, ParamsError, StageError
from coronet.fingerprint import hash_tree
from coronet.training.fit import fit_model
from coronet.training.learning_curves import read_history
from coronet.training.pretrain import pretrain_model

pytestmark = pytest.mark.slow
TWO = ResourceParams(gpus=2)


EPOCHS = 4


@pytest.fixture(scope="module")
def fit(prepared, params):
    """Fit the small calcium model into a folder, with batches of four."""

    def fit_into(folder, resources=TWO, on_epoch=None):
        chosen = params.calcium
        optimiser = dataclasses.replace(chosen.optimiser, batch_size=4, epochs=EPOCHS)
        return fit_model(
            "calcium",
            prepared["calcium"],
            dataclasses.replace(chosen, optimiser=optimiser),
            train_cases=("a", "b", "c"),
            tune_cases=("d",),
            seed=1,
            out=folder / "fit",
            work=folder / "work",
            resources=resources,
            on_epoch=on_epoch,
        )

    return fit_into


@pytest.fixture(scope="module")
def both(fit, tmp_path_factory):
    """The training by two processes, and what was told of its epochs."""
    told = []
    result = fit(
        tmp_path_factory.mktemp("both"),
        on_epoch=lambda epoch, measured: told.append((epoch, measured["loss"])),
    )
    return result, told


def losses(result) -> np.ndarray:
    """Loss of each epoch."""
    return np.array([entry["loss"] for entry in read_history(result.folder / "history.csv")])


def test_two_processes_learn_what_one_learns(fit, both, tmp_path):
    result, told = both
    alone = fit(tmp_path, ResourceParams())
    np.testing.assert_allclose(losses(result), losses(alone), rtol=2e-3)
    assert [epoch for epoch, _ in told] == [1, 2, 3, 4]
    np.testing.assert_allclose([loss for _, loss in told], losses(result), rtol=1e-5)
    first, second = (load_file(one.folder / "weights.safetensors") for one in (alone, result))
    for name, weights in first.items():
        np.testing.assert_allclose(second[name], weights, rtol=0.02, atol=0.02, err_msg=name)


def test_statistics_of_each_share_are_others(fit, both, tmp_path):
    shares = fit(tmp_path, ResourceParams(gpus=2, batch_norm="plain"))
    assert not np.allclose(losses(both[0]), losses(shares), rtol=1e-4)


def test_parts_of_a_batch_are_shared_out_too(fit, both, tmp_path):
    alone = fit(tmp_path / "alone", ResourceParams(accumulation=2))
    with pytest.raises(StageError, match="accumulation"):
        fit(tmp_path / "alone", ResourceParams(accumulation=4))
    together = fit(tmp_path / "both", ResourceParams(gpus=2, accumulation=2))
    np.testing.assert_allclose(losses(together), losses(alone), rtol=2e-3)
    assert not np.allclose(losses(both[0]), losses(alone), rtol=1e-4)


def test_a_killed_process_costs_no_more_than_its_epoch(fit, both, tmp_path):
    killed = []

    def kill_one() -> None:
        """Kill the second member once there is a checkpoint."""
        while not list((tmp_path / "work").glob("epoch-*.pt")):
            time.sleep(0.02)
        for process in psutil.Process().children(recursive=True):
            named = "coronet.training.worker" in process.cmdline()
            if named and process.environ().get("RANK") == "1":
                process.kill()
                killed.append(process.pid)

    watcher = threading.Thread(target=kill_one)
    watcher.start()
    result = fit(tmp_path)
    watcher.join(60)
    assert len(killed) == 1
    assert hash_tree(result.folder) == hash_tree(both[0].folder)


def test_why_a_training_cannot_go_on_is_said(prepared, params, tmp_path):
    optimiser = dataclasses.replace(params.heart.optimiser)
    # far beyond what params.yaml allows
    object.__setattr__(optimiser, "learning_rate", 1e30)
    with pytest.raises(StageError, match="learning_rate is 1e"):
        fit_model(
            "heart",
            prepared["heart"],
            dataclasses.replace(params.heart, optimiser=optimiser),
            train_cases=("a",),
            tune_cases=("d",),
            seed=1,
            out=tmp_path / "fit",
            work=tmp_path / "work",
            resources=TWO,
        )
    assert not (tmp_path / "fit").exists()


def test_the_autoencoder_learns_in_two_processes(prepared, params, split, tmp_path):
    found = []
    for name, resources in (("one", ResourceParams()), ("two", TWO)):
        chosen = dataclasses.replace(params, resources=resources)
        encoder = pretrain_model(
            "heart", prepared["heart"], split, chosen, tmp_path / name, work=tmp_path / f"{name}-work"
        )
        assert encoder is not None
        found.append(load_file(encoder))
    for key, weights in found[0].items():
        np.testing.assert_allclose(found[1][key], weights, rtol=0.02, atol=0.02, err_msg=key)


def test_batches_must_divide(params):
    with pytest.raises(ParamsError, match="batch_size is 2; it must divide by 3"):
        dataclasses.replace(params, resources=ResourceParams(gpus=3))


def test_nodes_are_slurms_to_give(fit, tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(InputError, match=r"deploy/train\.slurm"):
        fit(tmp_path, ResourceParams(nodes=2))


def test_two_nodes_train_together(fit, both, tmp_path, monkeypatch):
    """`srun` is played by a script that starts both nodes' torchrun on this machine."""
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text(
        f"#!{sys.executable}\n"
        "import subprocess, sys\n"
        "at = next(i for i, word in enumerate(sys.argv) if 'python' in word and i)\n"
        "nodes = [subprocess.Popen(sys.argv[at:]) for _ in range(2)]\n"
        "sys.exit(max(node.wait() for node in nodes))\n"
    )
    srun.chmod(srun.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{srun.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setattr("socket.gethostname", lambda: "127.0.0.1")
    assert hash_tree(fit(tmp_path, ResourceParams(nodes=2)).folder) == hash_tree(both[0].folder)
