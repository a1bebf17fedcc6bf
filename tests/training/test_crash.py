"""Kill a training at any moment, start it again, and get the same weights, bit for bit."""

from __future__ import annotations

import dataclasses
import random
import time
from pathlib import Path

import pytest

from copies import kill_this, run_until_killed, start_copy
from coronet.fingerprint import hash_tree
from coronet.training import checkpoint, fit

pytestmark = pytest.mark.slow


def die_at(where: str) -> None:
    """Let this process kill itself at its second checkpoint, or when all is trained."""
    original, calls = checkpoint.write_bytes, 0

    def write(path, content):
        nonlocal calls
        calls += 1
        if calls < 2:
            original(path, content)
            return
        if where == "while writing":
            (path.parent / f".part-abc{path.suffix}").write_bytes(content[: len(content) // 2])
        elif where == "before old ones go":
            original(path, content)
        kill_this()

    if where == "before the results are moved":
        fit.draw_curves = kill_this
    else:
        checkpoint.write_bytes = write


@pytest.fixture(scope="module")
def train(prepared, params):
    """The small heart training in a folder; hash of what it leaves."""
    chosen = params.heart
    chosen = dataclasses.replace(chosen, optimiser=dataclasses.replace(chosen.optimiser, epochs=6))

    def run(folder: Path) -> str:
        result = fit.fit_model(
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

    return run


@pytest.fixture(scope="module")
def uninterrupted(train, tmp_path_factory) -> str:
    """Hash of what the training leaves when nothing kills it."""
    return train(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize(
    "where",
    [
        "while writing",
        "before writing",
        "before old ones go",
        "before the results are moved",
    ],
)
def test_killed_while_saving(train, uninterrupted, tmp_path, where):
    def run() -> None:
        die_at(where)
        train(tmp_path / "killed")

    run_until_killed(run)
    assert not (tmp_path / "killed" / "fit").exists()
    assert train(tmp_path / "killed") == uninterrupted


def test_killed_at_random_moments(train, uninterrupted, tmp_path):
    moments = random.Random(time.time_ns())
    for _ in range(3):
        process = start_copy(train, tmp_path / "killed")
        time.sleep(moments.uniform(0, 1.0))
        process.kill()
        process.join(60)
    assert train(tmp_path / "killed") == uninterrupted
