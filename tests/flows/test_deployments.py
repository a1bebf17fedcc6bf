"""The one server with its worker: flows are started there, and end with it."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request

import pytest

pytestmark = pytest.mark.slow


def ask(address, path, content=None):
    data = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(
        f"{address}{path}", data=data, headers={"Content-Type": "application/json"}
    )
    for wait in (1, 2, 4, 8, None):
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            # what Prefect answers while its database is busy; its own client asks again too
            if error.code != 503 or wait is None:
                raise
            time.sleep(wait)


def test_a_killed_worker_leaves_nobody_behind_and_schedules_are_off(tiny, start, *, home, family, await_):
    (tiny / "seed").write_text("100")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    worker = start(tiny, "deployments", "--port", str(port))
    address = f"http://127.0.0.1:{port}/api"
    await_((home / "server.json").exists, 120)

    def found():
        return {item["name"]: item for item in ask(address, "/deployments/filter", {})}

    await_(lambda: len(found()) == 4, 60)
    there = found()
    schedules = [schedule for item in there.values() for schedule in item["schedules"]]
    assert len(schedules) == 2 and not any(schedule["active"] for schedule in schedules)
    parameters = {"parameters": {"targets": ["last"]}}
    ask(address, f"/deployments/{there['nightly']['id']}/create_flow_run", parameters)
    await_((tiny / "work" / "steps").exists, 120)
    worker.kill()
    worker.communicate()
    await_(lambda: not family(tiny), 20)
    assert len((tiny / "work" / "steps").read_text().split()) < 100
