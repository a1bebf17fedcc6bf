"""The demo's cohort: search, adopt, and let `dvc repro` train the winner, without a network."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml

from coronet.dataset.split import read_split
from coronet.files import read_json
from repositories import commit

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")]


def test_a_plain_winner_is_found_adopted_and_trained(project, coronet, offline, watched):
    path = project / "params.yaml"
    params = yaml.safe_load(path.read_text())
    params["profiles"]["demo"]["search"] |= {"encoders": ["plain"], "epochs": 2}
    path.write_text(yaml.safe_dump(params, sort_keys=False))
    commit(project, "edit")
    watch = watched(project / "data", project / "build")
    done = coronet(project, "search", "heart", "--trials", "2", "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout)

    split = read_split(project / "build" / "split.json")
    opened = {item.name.partition(".")[0] for item in watch.opened() if item.is_file()}
    assert opened & set(split.cases("train"))
    assert not opened & {*split.cases("test"), *split.cases("tune")}

    adopted = json.loads(coronet(project, "search", "adopt", result["name"], "--json").stdout)
    assert "profiles.demo.heart.network.encoder" in {change["key"] for change in adopted["changes"]}
    assert read_json(project / adopted["evidence"])["winner"]["value"] == result["best"]["value"]

    command = [sys.executable, "-m", "dvc", "repro", "train@heart"]
    made = subprocess.run(
        command, cwd=project, env=offline(project), check=False, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stdout[-2000:] + made.stderr[-2000:]
    trained = read_json(project / "build" / "heart" / "fit" / "model.json")["params"]
    assert trained["network"]["encoder"] == "plain"
    assert trained["loss"]["dice"] == pytest.approx(result["best"]["drawn"]["loss.dice"], rel=1e-3)
    assert not read_json(project / "build" / "heart" / "pretrained" / "metrics.json")["pretrained"]
    assert not (log := project.parent / "network.log").exists(), log.read_text()
