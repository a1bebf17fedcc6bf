"""A stage ends with the DVC that started it, however that ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from balls import write_ball

ROOT = Path(__file__).resolve().parents[1]
GRAPH = """
stages:
  describe:
    cmd: exec coronet stage describe
    outs: [build/cases.csv]
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's end")
def test_a_killed_dvc_leaves_neither_stage_nor_workers(
    tmp_path: Path, offline: Callable[[Path], dict[str, str]]
):
    project = tmp_path / "project"
    (project / ".dvc").mkdir(parents=True)
    (project / ".dvc" / "config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    (project / "dvc.yaml").write_text(GRAPH)
    shutil.copy(ROOT / "params.yaml", project)
    rng = np.random.default_rng(0)
    for name in "abcdef":
        write_ball(project / "data", name, rng, spots=1)
    # the plainest shell, since some do not step aside for the last command they run
    dvc = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro"],
        cwd=project,
        env=offline(project) | {"SHELL": "/bin/sh"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    # the stage, what Python tracks shared memory with, and the workers where there is more than one core
    wanted = 1 if (os.cpu_count() or 1) == 1 else 4
    latest = time.monotonic() + 120
    family: list[psutil.Process] = []
    while len(family) < wanted:
        assert dvc.poll() is None and time.monotonic() < latest
        family = [item for item in psutil.Process(dvc.pid).children(recursive=True) if _of_stage(item)]
        time.sleep(0.01)
    dvc.kill()
    dvc.wait()
    _, left = psutil.wait_procs(family, timeout=30)
    for item in left:
        item.kill()
    assert not left
    assert not (project / "build" / "cases.csv").exists()


def test_a_stage_without_scans_says_where_to_get_some(tmp_path, coronet):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    done = coronet(tmp_path, "stage", "describe")
    assert done.returncode == 2
    for command in ("coronet data phantom", "coronet data import", "dvc pull"):
        assert command in done.stderr


def _of_stage(process: psutil.Process) -> bool:
    try:
        return any(word in " ".join(process.cmdline()) for word in ("stage describe", "multiprocessing"))
    except psutil.Error:
        return False
