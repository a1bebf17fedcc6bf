"""The stage and the command that draw calcium into the backgrounds of a project."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from coronet.dataset.cases import find_cases
from coronet.io.scan_facts import DEPOSITED

ROOT = Path(__file__).resolve().parents[2]


def dvc(project: Path, *arguments: str) -> str:
    """Run DVC; fail with what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ
        | {"DVC_NO_ANALYTICS": "1", "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def project(tmp_path, shelf):
    """A project with one background and no other case."""
    folder = tmp_path / "project"
    (folder / ".dvc").mkdir(parents=True)
    (folder / ".dvc" / "config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    for name in ("dvc.yaml", "params.yaml", "src/coronet/recipes.yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(shelf, folder / "data" / "backgrounds")
    return folder


def choose(project: Path) -> None:
    path = project / "params.yaml"
    text = path.read_text().replace("backgrounds: []", "backgrounds: [backgrounds]")
    path.write_text(text.replace("variants: 6", "variants: 2"))


@pytest.mark.slow
def test_the_stage_is_there_where_backgrounds_are_named(project):
    assert "deposit" not in dvc(project, "stage", "list", "--name-only")
    choose(project)
    assert "deposit@backgrounds" in dvc(project, "stage", "list", "--name-only").splitlines()
    # describing the cases needs them, and so runs the stage that draws them
    dvc(project, "repro", "describe")
    found = find_cases(project / "data")
    assert [case.id for case in found] == ["chest-d01", "chest-d02"]
    assert {case.facts.source for case in found} == {DEPOSITED}
    assert dvc(project, "status", "deposit@backgrounds").strip().endswith("up to date.")


def test_the_command_refuses_what_has_no_licence(project, coronet):
    choose(project)
    (project / "data" / "backgrounds" / "chest.json").unlink()
    done = coronet(project, "data", "deposit")
    assert done.returncode == 2
    assert "no chest.json beside it says" in done.stderr
    assert not (project / "data" / "ct").exists()


def test_the_command_asks_for_backgrounds(project, coronet):
    done = coronet(project, "data", "deposit")
    assert (done.returncode, "Name a folder of backgrounds" in done.stderr) == (2, True)


@pytest.mark.slow
def test_the_command_draws(project, coronet):
    done = coronet(project, "data", "deposit", "data/backgrounds", "--variants", "1", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cases"] == ["chest-d01"]
