"""The pipeline flow against plain `dvc repro`, and against whatever may happen to it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time

import pytest
import yaml

pytestmark = pytest.mark.slow


def dvc(project, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=project, check=True, capture_output=True, text=True
    )


def test_it_gives_dvcs_own_lock_offline(tiny, run, states, tmp_path):
    plain = tmp_path / "plain"
    subprocess.run(["cp", "-a", str(tiny), str(plain)], check=True)
    dvc(plain, "repro")
    code, text = run(tiny, "pipeline", "--targets", "last")
    assert code == 0, text
    assert states() == [(name, "Completed", 1) for name in ("first", "left", "right", "last")]
    lock = (tiny / "dvc.lock").read_bytes()
    assert yaml.safe_load(lock) == yaml.safe_load((plain / "dvc.lock").read_bytes())

    assert not (log := tiny.parent / "network.log").exists(), log.read_text()


def test_it_repairs_dvcs_list_of_locks_and_has_nothing_to_do_twice(tiny, run, states, served):
    dvc(tiny, "repro")
    lock = (tiny / "dvc.lock").read_bytes()
    # as a kill of DVC leaves it at the wrong moment
    (tiny / ".dvc" / "tmp" / "rwlock").write_text('{"write"')
    code, text = run(tiny, "pipeline", "--targets", "last", **served)
    assert code == 0, text
    assert states() == [(name, "Up to date", 1) for name in ("first", "left", "right", "last")]
    assert (tiny / "dvc.lock").read_bytes() == lock


def test_a_failing_stage_stops_what_is_below_and_is_not_tried_again(tiny, run, states, served):
    stages = (tiny / "dvc.yaml").read_text()
    (tiny / "dvc.yaml").write_text(stages.replace("cp seed first.txt", "echo case-7 is bad >&2; exit 3"))
    code, text = run(tiny, "pipeline", "--targets", "last", **served)
    assert code == 2
    assert "case-7 is bad" in text[text.index("coronet: first: stage failed") :]
    assert states() == [("first", "Stage failed", 1)]
    assert not (tiny / "work").exists()


def test_it_waits_for_dvcs_lock(tiny, run, states, served):
    holder = subprocess.Popen(["sleep", "600"])
    (tiny / ".dvc" / "tmp").mkdir()
    held = {"write": {str(tiny / "first.txt"): {"pid": holder.pid, "cmd": "dvc repro first"}}, "read": {}}
    (tiny / ".dvc" / "tmp" / "rwlock").write_text(json.dumps(held))

    def give_back():
        while "Retry 1/3" not in "".join(seen):
            time.sleep(0.05)
        holder.kill()
        holder.wait()

    seen = []
    thread = threading.Thread(target=give_back)
    thread.start()
    code, text = run(tiny, "pipeline", "--targets", "first", on_line=seen.append, **served)
    thread.join()
    assert code == 0, text
    assert states() == [("first", "Completed", 2)]


@pytest.mark.parametrize("whom", ["dvc", "trainer"])
def test_killed_below_it_the_stage_goes_on(whom, *, tiny, start, states, family, await_, served):
    (tiny / "seed").write_text("30")
    flow = start(tiny, "pipeline", "--targets", "last", **served)
    await_((tiny / "work" / "steps").exists, 120)
    argument = {"dvc": "--single-item", "trainer": "trainer.py"}[whom]
    next(item for item in family(tiny) if argument in item.cmdline()).kill()
    text, _ = flow.communicate(timeout=120)
    assert flow.returncode == 0, text
    assert ("last", "Completed", 2) in states()
    assert (tiny / "last.txt").read_text().split() == [str(step) for step in range(30)]
    assert not (tiny / "work" / "second").exists()


def test_killed_itself_it_leaves_nobody_behind_and_the_next_run_goes_on(
    tiny, start, run, *, crashed, family, await_, served
):
    (tiny / "seed").write_text("60")
    flow = start(tiny, "pipeline", "--targets", "last")
    await_((tiny / "work" / "steps").exists, 120)
    assert len(family(tiny)) >= 4
    flow.kill()
    flow.communicate()
    before = crashed()
    await_(lambda: not family(tiny), 20)
    done = len((tiny / "work" / "steps").read_text().split())
    assert done < 60
    code, text = run(tiny, "pipeline", "--targets", "last", **served)
    assert code == 0, text
    assert (tiny / "last.txt").read_text().split() == [str(step) for step in range(60)]
    assert not (tiny / "work" / "second").exists()
    assert not family(tiny)
    assert crashed() == before + 1
