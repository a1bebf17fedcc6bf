"""Kill a training at any moment, start it again, and get the same weights, bit for bit."""

from __future__ import annotations

import dataclasses
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from coronet.fingerprint import canonical, hash_tree
from coronet.training.fit import fit_model

pytestmark = pytest.mark.slow

PROGRAM = """
import os, signal, sys, yaml
from pathlib import Path
from coronet import config
from coronet.training import checkpoint, fit, trainer

prepared, folder, where = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
calls = 0

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

def on_second(call, before):
    def wrapped(*args, **kwargs):
        global calls
        calls += 1
        if calls == 2 and before:
            die()
        result = call(*args, **kwargs)
        if calls == 2:
            die()
        return result
    return wrapped

import safetensors.torch
if where == "while writing tensors":
    original = safetensors.torch.save_file
    def half(tensors, path, *rest):
        original(tensors, path, *rest)
        if calls == 2:
            os.truncate(path, os.path.getsize(path) // 2)
    safetensors.torch.save_file = on_second(half, before=False)
elif where == "between tensors and record":
    checkpoint.sha256_file = on_second(checkpoint.sha256_file, before=True)
elif where == "before old ones go":
    checkpoint._numbers = on_second(checkpoint._numbers, before=False)
elif where == "before the results are moved":
    fit.draw_curves = die
params = config.build(config.ModelParams, yaml.safe_load(Path(sys.argv[4]).read_text()), where="test")
print("ready", flush=True)
fit.fit_model("heart", prepared, params, train_cases=("a", "b", "c"), tune_cases=("d",), seed=1,
        out=folder / "fit", work=folder / "work")
"""


@pytest.fixture
def start(prepared, params, tmp_path):
    """Start the small heart training in a process of its own, to be killed at the place named."""
    chosen = params.heart
    chosen = dataclasses.replace(chosen, optimiser=dataclasses.replace(chosen.optimiser, epochs=8))
    described = tmp_path / "params.yaml"
    described.write_text(yaml.safe_dump(canonical(chosen)))

    def launch(folder: Path, where: str) -> subprocess.Popen:
        command = [sys.executable, "-c", PROGRAM, str(prepared["heart"]), str(folder), where, str(described)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def finish(folder: Path) -> str:
        result = fit_model(
            "heart",
            prepared["heart"],
            chosen,
            train_cases=("a", "b", "c"),
            tune_cases=("d",),
            seed=1,
            out=folder / "fit",
            work=folder / "work",
        )
        return hash_tree(result.folder)

    return launch, finish


@pytest.mark.parametrize(
    "where",
    [
        "while writing tensors",
        "between tensors and record",
        "before old ones go",
        "before the results are moved",
    ],
)
def test_killed_while_saving(start, tmp_path, where):
    launch, finish = start
    process = launch(tmp_path / "killed", where)
    process.communicate(timeout=120)
    assert process.returncode == -9
    assert not (tmp_path / "killed" / "fit").exists()
    assert finish(tmp_path / "killed") == finish(tmp_path / "whole")


def test_killed_at_random_moments(start, tmp_path):
    launch, finish = start
    moments = random.Random(time.time_ns())
    for _ in range(3):
        process = launch(tmp_path / "killed", "anywhere")
        process.stdout.readline()
        time.sleep(moments.uniform(0, 2.0))
        process.kill()
        process.communicate(timeout=60)
    assert finish(tmp_path / "killed") == finish(tmp_path / "whole")
