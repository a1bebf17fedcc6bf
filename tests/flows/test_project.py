"""All flows on the project after its reduced demo, offline: what they leave in MLflow, log and pages."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sqlite3
import urllib.error
import urllib.request

import pytest

from repositories import commit

pytestmark = pytest.mark.slow


def history(project, forked_coronet, model):
    history = json.loads(forked_coronet(project, "models", "history", model, "--json").stdout)
    return [item["event"]["kind"] for item in history]


def artifacts(home):
    with sqlite3.connect(home / "prefect.db") as database:
        return {key for (key,) in database.execute("select key from artifact")}


@pytest.fixture
def waiting(start, await_):
    """Start a promotion and wait until it waits: the process, and a function that answers the form."""

    flows = []

    def started(project, *arguments, **settings):
        flow = start(project, "promote", *arguments, **settings)
        flows.append(flow)
        for line in flow.stdout:
            if found := re.search(r"View at (http://[\d.:]+)/runs/flow-run/([\w-]+)", line):
                break
            assert "coronet: " not in line, line
        run = f"{found[1]}/api/flow_runs/{found[2]}"

        def paused():
            if flow.poll() is not None:
                pytest.fail(f"it ended and did not wait: {flow.stdout.read()}")
            try:
                return json.loads(urllib.request.urlopen(run, timeout=30).read())["state"]["type"] == "PAUSED"
            except urllib.error.URLError:
                # The flow is ending, and its server with it.
                return False

        await_(paused, 240)

        def answer(**form):
            body = json.dumps({"run_input": form}).encode()
            request = urllib.request.Request(f"{run}/resume", body, {"Content-Type": "application/json"})

            def taken():
                try:
                    response = json.loads(urllib.request.urlopen(request, timeout=30).read())
                except urllib.error.HTTPError as error:
                    # The server asks to come again while its database is written to; its pages do so too.
                    assert error.code == 503, error.read()
                    return False
                # The run waits a moment before its form is stored; until then an answer is refused.
                return response["status"] == "ACCEPT"

            await_(taken, 60)
            text, _ = flow.communicate(timeout=240)
            return flow.returncode, text

        return flow, answer

    yield started
    for flow in flows:
        flow.kill()
        flow.wait()


def test_the_pipeline_registers_what_is_committed(project, run, states, *, home, forked_coronet, served):
    lock = (project / "dvc.lock").read_bytes()
    (project / "params.yaml").write_text((project / "params.yaml").read_text() + "# not committed\n")
    code, text = run(project, "pipeline", **served)
    assert code == 2 and "coronet: register heart: " in text
    commit(project, "all")
    code, text = run(project, "pipeline")
    assert code == 0, text
    found = {name: state for name, state, _ in states()}
    assert found["train@heart"] == found["report"] == "Up to date"
    assert found["tracking sync"] == found["register heart"] == found["register calcium"] == "Completed"
    assert {"closing-table", "report"} <= artifacts(home)
    assert (project / "dvc.lock").read_bytes() == lock
    assert history(project, forked_coronet, "heart") == ["registered", "promoted"]
    assert not (log := project.parent / "network.log").exists(), log.read_text()


def forget_promotions(project, forked_coronet):
    (project / "promotions.jsonl").unlink()
    shutil.rmtree(project / "mlruns" / "artifacts")
    for ledger in (project / "mlruns").glob("mlflow.db*"):
        ledger.unlink()
    commit(project, "all")
    for model in ("heart", "calcium"):
        done = forked_coronet(project, "models", "register", model)
        assert done.returncode == 0, done.stderr


def test_a_promotion_waits_for_a_person_and_a_kill_moves_nothing(
    project, waiting, forked_coronet, *, home, family, await_, served
):
    forget_promotions(project, forked_coronet)
    flow, _ = waiting(project, "heart", "--first")
    flow.kill()
    flow.communicate()
    await_(lambda: not family(project), 60)
    assert history(project, forked_coronet, "heart") == ["registered"]

    _, answer = waiting(project, "heart", "--first", **served)
    code, text = answer(approve=False, name="Dr. No")
    assert code == 0 and "not approved" in text
    assert history(project, forked_coronet, "heart") == ["registered", "rejected"]

    _, answer = waiting(project, "heart", "--first", **served)
    code, text = answer(approve=True, name="Dr. Yes")
    assert code == 0 and "heart/1 is champion" in text
    assert history(project, forked_coronet, "heart")[-1] == "promoted"
    assert "Dr. Yes" in (project / "promotions.jsonl").read_text().splitlines()[-1]
    assert {"verdict", "verdict-picture"} <= artifacts(home)
    assert not (log := project.parent / "network.log").exists(), log.read_text()


def test_a_search_is_shown_trial_by_trial(project, run, home, served):
    code, text = run(project, "search", "heart", "--trials", "1", **served)
    assert code == 0, text
    assert "coronet search adopt" in text
    assert "trials" in artifacts(home)
    assert not (log := project.parent / "network.log").exists(), log.read_text()


def test_a_killed_batch_goes_on(project, start, run, *, home, family, await_, served, tmp_path):
    inbox, out = tmp_path / "inbox", tmp_path / "out"
    inbox.mkdir()
    for scan in sorted((project / "data" / "ct").glob("*.nii.gz"))[:3]:
        shutil.copy(scan, inbox)
    (inbox / "CANARY.nii.gz").write_bytes(b"no scan")
    command = ("batch", str(inbox), "--out", str(out), "--models", "build")
    flow = start(project, *command)
    await_((out / ".sources.jsonl").exists, 240)
    flow.kill()
    flow.communicate()
    await_(lambda: not family(project), 60)
    code, text = run(project, *command, **served)
    assert code == 0, text
    with (out / "scores.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 4
    assert sum("damaged" in row["reason"] for row in rows) == 1
    for row in rows:
        assert bool(row["reason"]) != (out / row["scan"] / "index.html").exists()
    assert "scores" in artifacts(home)
    assert "CANARY" not in text
    for file in home.glob("prefect.db*"):
        assert b"CANARY" not in file.read_bytes()
    assert not (log := project.parent / "network.log").exists(), log.read_text()
