"""From two trainings to two champions, a better challenger, and back, by the commands a user types."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from coronet.dataset.split import read_split
from repositories import commit

pytestmark = pytest.mark.slow


def change(project: Path, **changes: object) -> None:
    """Change ``params.yaml`` and commit; keys are dotted with two underscores."""
    path = project / "params.yaml"
    params = yaml.safe_load(path.read_text())
    for dotted, value in changes.items():
        *way, last = dotted.split("__")
        place = params
        for key in way:
            place = place[key]
        place[last] = value
    path.write_text(yaml.safe_dump(params, sort_keys=False))
    commit(project, "step")


def test_two_champions_a_better_challenger_and_back(project, forked_coronet, offline):
    def say(*arguments: str, code: int = 0) -> str:
        done = forked_coronet(project, *arguments)
        assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout + done.stderr

    for model in ("heart", "calcium"):
        assert f"{model}/1 is champion" in say("models", "promote", model, "--first", code=2)
    optimiser = "profiles__demo__heart__optimiser__"
    change(project, **{f"{optimiser}epochs": 8, f"{optimiser}patches_per_epoch": 32})
    subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "evaluate@heart"],
        cwd=project,
        env=offline(project),
        check=True,
        capture_output=True,
    )
    commit(project, "step")
    say("models", "register", "heart")
    undecided = say("models", "promote", "heart", code=1)
    assert "INSUFFICIENT EVIDENCE" in undecided
    assert "3 patients cannot give a p below 0.25; it takes at least 6" in " ".join(undecided.split())
    change(project, gate__level=0.25)
    assert "heart/2 is champion" in say("models", "promote", "heart", "--approve-by", "Zoë")
    commit(project, "step")
    assert "heart/1 is champion again" in say("models", "rollback", "heart", "--reason", "a drill")
    history = json.loads(forked_coronet(project, "models", "history", "heart", "--json").stdout)
    assert [line["event"]["kind"] for line in history] == [
        *("registered", "promoted", "registered", "insufficient_evidence", "promoted", "rolled_back")
    ]
    [why] = json.loads(forked_coronet(project, "models", "why", "heart/2", "--json").stdout)["lineages"]
    head = subprocess.run(
        ["git", "log", "--format=%H"], cwd=project, check=True, capture_output=True, text=True
    ).stdout.split()
    assert why["commit"] in head
    assert why["since"] == why["uncommitted"] == []
    tested = read_split(project / "build" / "split.json").cases("test")
    assert (why["validation"]["ok"], why["split"]["test"]) == (True, len(tested))
    assert why["figures"]["test/dice.mean"] > 0
    assert why["moves"][1]["event"]["details"]["approved_by"] == "Zoë"
    assert why["rebuild"][-1] == "dvc repro train@heart"
    checked = json.loads(forked_coronet(project, "models", "check", "--json").stdout)
    assert (checked["ok"], checked["entries"] - checked["committed"]) == (True, 1)
    assert "phantom-" not in (project / "promotions.jsonl").read_text()
    assert not (project.parent / "network.log").exists()


def test_a_score_tells_its_champions(project, forked_coronet, tmp_path):
    scan = sorted((project / "data" / "ct").glob("*.nii.gz"))[0]
    models = ("--models", "champion")
    done = forked_coronet(project, "score", str(scan), *models, "--out", str(tmp_path / "page"), "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(forked_coronet(project, "models", "why", str(tmp_path / "page"), "--json").stdout)
    assert [lineage["name"] for lineage in found["lineages"]] == ["heart/1", "calcium/1"]
