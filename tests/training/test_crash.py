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

if where == "while writing":
    original = checkpoint.write_bytes
    def half(path, content):
        if calls == 2:
            (path.parent / f".part-abc{path.suffix}").write_bytes(content[: len(content) // 2])
        else:
            original(path, content)
    checkpoint.write_bytes = on_second(half, before=False)
elif where == "before writing":
    checkpoint.write_bytes = on_second(checkpoint.write_bytes, before=True)
elif where == "before old ones go":
    checkpoint.write_bytes = on_second(checkpoint.write_bytes, before=False)
elif where == "before the results are moved":
    fit.draw_curves = die
params = config.build(config.ModelParams, yaml.safe_load(Path(sys.argv[4]).read_text()), where="test")
print("ready", flush=True)
fit.fit_model("heart", prepared, params, train_cases=("a", "b", "c"), tune_cases=("d",), seed=1,
        out=folder / "fit", work=folder / "work")
"""


@pytest.fixture(scope="module")
def start(prepared, params, tmp_path_factory):
    """Start the small heart training in a process of its own, to be killed at the place named."""
    chosen = params.heart
    chosen = dataclasses.replace(chosen, optimiser=dataclasses.replace(chosen.optimiser, epochs=6))
    described = tmp_path_factory.mktemp("described") / "params.yaml"
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


@pytest.fixture(scope="module")
def uninterrupted(start, tmp_path_factory) -> str:
    """Hash of what the training leaves when nothing kills it."""
    _, finish = start
    return finish(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize(
    "where",
    [
        "while writing",
        "before writing",
        "before old ones go",
        "before the results are moved",
    ],
)
def test_killed_while_saving(start, uninterrupted, tmp_path, where):
    launch, finish = start
    process = launch(tmp_path / "killed", where)
    process.communicate(timeout=120)
    assert process.returncode == -9
    assert not (tmp_path / "killed" / "fit").exists()
    assert finish(tmp_path / "killed") == uninterrupted


def test_killed_at_random_moments(start, uninterrupted, tmp_path):
    launch, finish = start
    moments = random.Random(time.time_ns())
    for _ in range(3):
        process = launch(tmp_path / "killed", "anywhere")
        process.stdout.readline()
        time.sleep(moments.uniform(0, 2.0))
        process.kill()
        process.communicate(timeout=60)
    assert finish(tmp_path / "killed") == uninterrupted
