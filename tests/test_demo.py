"""The demo in a reduced form: few phantoms, few epochs, no network, and nothing to do the second time."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from coronet.dataset.split import read_split
from coronet.files import read_json, sha256_file
from worker_threads import worker_threads

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]


def test_demo_runs_whole_without_a_network_and_again_in_no_time(project, coronet, forked_coronet):
    for result in (
        "report/index.html",
        "scores/metrics.json",
        "heart/evaluation/metrics.json",
        "validation/index.html",
    ):
        assert (project / "build" / result).exists()
    for model in ("heart", "calcium"):
        kinds = [
            line["event"]["kind"]
            for line in json.loads(forked_coronet(project, "models", "history", model, "--json").stdout)
        ]
        assert kinds == ["registered", "promoted"]
    lock = (project / "dvc.lock").read_bytes()
    trained = (project / "mlruns" / "timings.jsonl").read_text().count("train@heart")

    second = coronet(project, "demo")
    assert second.returncode == 0, second.stderr[-3000:]
    assert "Data and pipelines are up to date" in second.stdout + second.stderr
    assert "demo: dvc repro" in second.stdout
    assert (project / "dvc.lock").read_bytes() == lock
    assert (project / "mlruns" / "timings.jsonl").read_text().count("train@heart") == trained
    assert not (log := project.parent / "network.log").exists(), log.read_text()


def test_nothing_fitted_touches_a_test_patient(project):
    build = project / "build"
    members = read_split(build / "split.json").members
    tested = {member.patient for member in members if member.part == "test"}
    patient_of = {member.case: member.patient for member in members}
    assert tested
    for model in ("heart", "calcium"):
        prepared = json.loads((build / model / "prepared" / "index.json").read_text())["cases"]
        autoencoder = json.loads((build / model / "pretrained" / "metrics.json").read_text())["cases"]
        fitted = [json.loads(run.read_text()) for run in (project / "mlruns" / "work").glob("*/run.json")]
        used = {*prepared, *autoencoder}
        used |= {
            case for run in fitted for part in ("train_cases", "tune_cases") for case in run.get(part, [])
        }
        assert used
        assert not {patient_of[case] for case in used} & tested


def test_training_killed_with_dvc_goes_on_to_the_same_weights(project):
    weights = project / "build" / "heart" / "fit" / "weights.safetensors"
    before = sha256_file(weights)
    shutil.rmtree(project / "mlruns" / "work")
    command = [sys.executable, "-m", "dvc", "repro", "--force", "--single-item", "train@heart"]
    bin_folder = Path(sys.executable).parent
    # the plainest shell, since some do not step aside for the last command they run
    environment = os.environ | {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", "SHELL": "/bin/sh"}
    first = subprocess.Popen(command, cwd=project, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list((project / "mlruns" / "work").glob("*/epoch-00001-*")):
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.05)
    first.kill()
    first.wait()
    again = subprocess.run(command, cwd=project, env=environment, check=False, capture_output=True, text=True)
    assert again.returncode == 0, again.stdout[-2000:] + again.stderr[-2000:]
    assert sha256_file(weights) == before


def test_ledger_is_rebuilt_from_results(project, forked_coronet):
    def fingerprints() -> dict[str, bool]:
        synced = json.loads(forked_coronet(project, "tracking", "sync", "--json").stdout)
        return {item["fingerprint"]: item["created"] for item in synced if item["kind"] != "study"}

    there = fingerprints()
    assert set(there.values()) == {False}
    backup = (project / "mlruns").rename(project.parent / "mlruns-backup")
    rebuilt = fingerprints()
    assert rebuilt == dict.fromkeys(there, True)
    assert fingerprints() == there
    shutil.rmtree(project / "mlruns")
    backup.rename(project / "mlruns")
    assert json.loads(forked_coronet(project, "models", "check", "--json").stdout)["ok"]


def test_scan_is_scored_with_the_demo_models(project, forked_coronet, tmp_path):
    scan = sorted((project / "data" / "ct").glob("*.nii.gz"))[0]
    options = ("--models", "build", "--out", str(tmp_path / "page"), "--json")
    done = forked_coronet(project, "score", str(scan), *options)
    assert done.returncode == 0, done.stderr[-3000:]
    answer = json.loads(done.stdout)
    assert set(answer) >= {"scores", "groups", "lesions", "uncertainty", "protocol", "models", "input"}
    assert sorted(item.name for item in (tmp_path / "page").iterdir()) == [
        "calcium.nii.gz",
        "heart.nii.gz",
        "index.html",
        "score.json",
    ]
    assert "phantom" in (tmp_path / "page" / "index.html").read_text()


def test_phantoms_are_drawn_as_the_parameters_say_and_only_where_there_are_no_scans(monkeypatch, tmp_path):
    from coronet import demo
    from coronet.phantom import annotated_cohort
    from coronet.phantom.patients import Window

    params = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(params.replace("  cases: 80\n", "  cases: 1\n"))
    monkeypatch.chdir(tmp_path)
    small = functools.partial(annotated_cohort.make_cohort, window=Window(matrix=96))
    monkeypatch.setattr(annotated_cohort, "make_cohort", small)
    with worker_threads():
        demo._draw_phantoms()
    assert {path.name.split(".")[0] for path in (tmp_path / "data" / "masks").glob("*.nii.gz")} == {
        "phantom-0001_heart",
        "phantom-0001_calcium",
    }
    assert read_json(annotated_cohort.record_path(tmp_path / "data", "phantom-0001"))["key"]["seed"] == 61
    monkeypatch.setattr(annotated_cohort, "make_cohort", None)
    demo._draw_phantoms()


def test_a_step_without_a_terminal_reports_while_it_runs(monkeypatch, capsys):
    from coronet import demo

    monkeypatch.setattr(demo, "_REPORT_SECONDS", 0.05)
    with demo._step("search"):
        time.sleep(0.3)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "demo: search" and "min so far" in lines[1]
