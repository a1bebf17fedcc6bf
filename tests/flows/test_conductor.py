from __future__ import annotations

import http.server
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

FLOWS = Path(__file__).resolve().parents[2] / "flows"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pipeline", "search", "promote", "batch", "deployments"])
def test_prefect_keeps_what_it_has_in_the_project(name, tmp_path, offline):
    environment = offline(tmp_path / "project") | {"HOME": str(tmp_path)}
    environment.pop("PREFECT_HOME", None)
    (tmp_path / "project").mkdir()
    done = subprocess.run(
        [sys.executable, str(FLOWS / f"{name}.py"), "--help"],
        cwd=tmp_path / "project",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "project" / "mlruns" / "prefect").is_dir()
    assert not (tmp_path / ".prefect").exists()


def flow(project, environment, name="pipeline", *arguments):
    return subprocess.run(
        [sys.executable, str(FLOWS / f"{name}.py"), *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def other_server():
    """A port on which something answers that is no Prefect server."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        (
            "PREFECT_API_URL",
            "http://jane:secret@127.0.0.1:9/api",
            "PREFECT_API_URL=http://127.0.0.1:9/api (.*refused",
        ),
        ("PREFECT_API_URL", "http://127.0.0.1:{port}/api", "No Prefect server"),
        ("PREFECT_API_URL", "localhost:4200", "unsupported protocol"),
        ("PREFECT_API_URL", "http://[::1", "Invalid IPv6 URL"),
        ("PREFECT_LOGGING_LEVEL", "loud", "PREFECT_… variable"),
        ("PREFECT_HOME", "/dev/null/prefect", "/dev/null/prefect: Not a directory"),
    ],
)
def test_settings_of_prefect_that_cannot_be_used_are_one_line(
    variable, value, words, *, tmp_path, offline, other_server
):
    project = tmp_path / "project"
    project.mkdir()
    environment = {"PREFECT_HOME": str(tmp_path / "home"), variable: value.format(port=other_server)}
    done = flow(project, offline(project) | environment, "batch", "inbox")
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("coronet: ") and re.search(words.replace("(", r"\("), last), done.stderr
    assert "Traceback" not in done.stderr and "secret" not in done.stderr
    assert variable == "PREFECT_LOGGING_LEVEL" or done.stderr.count("\n") == 1


@pytest.mark.slow
def test_used_ports_are_named_before_anything_starts(tmp_path, offline, coronet, other_server):
    project = tmp_path / "project"
    project.mkdir()
    port = str(other_server)
    done = [
        coronet(project, *group, "--port", port) for group in (("tracking", "ui"), ("search", "dashboard"))
    ]
    done.append(flow(project, offline(project), "deployments", "--port", port))
    done.append(coronet(project, "search", "dashboard", "--port", "70000"))
    for item in done:
        assert (item.returncode, item.stderr.count("\n")) == (2, 1), item.stderr
        assert f"{port} of 127.0.0.1 is in use" in item.stderr or "70000 is no port" in item.stderr
    assert not (project / "mlruns" / "mlflow.db").exists()


def test_a_server_of_another_folder_is_not_taken_for_ones_own(tmp_path, offline, other_server):
    """A copied folder holds the original's address."""
    code = (
        "import prefect_server; print(prefect_server.running_server() or 'none')\n"
        "with prefect_server.registered('http://x'): print(prefect_server._ADDRESS.read_text())"
    )
    project = tmp_path / "project"
    (project / "mlruns" / "prefect").mkdir(parents=True)
    (project / "mlruns" / "prefect" / "server.json").write_text(
        '{"address": "http://127.0.0.1", "home": "/x"}'
    )
    environment = offline(project) | {"PYTHONPATH": f"{FLOWS}:{offline(project)['PYTHONPATH']}"}
    environment.pop("PREFECT_HOME", None)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("none\n")
    assert str(project) in done.stdout


def test_a_batch_keeps_the_memory_of_its_windows_in_whatever_process_it_runs(tmp_path, offline):
    code = (
        "import conductor, coronet.memory; from pathlib import Path\n"
        "coronet.memory._tune_malloc = lambda options: print('tuned')\n"
        "import batch; print(batch.batch.fn(Path('inbox')).name)"
    )
    (tmp_path / "project" / "inbox").mkdir(parents=True)
    environment = offline(tmp_path / "project")
    environment |= {"PYTHONPATH": f"{FLOWS}:{environment['PYTHONPATH']}"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "project",
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[:2] == ["tuned", "Nothing to do"], done.stderr
