"""Fixtures that more than one test module uses."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock
import pytest
import yaml

from copies import start_copy
from repositories import commit

pytest_plugins = ["clusters", "dicom_files", "made_chests", "trained_project"]

ROOT = Path(__file__).resolve().parents[1]
# a shell starts background jobs deaf to Ctrl-C, which they pass on to the commands that the tests interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)
SHARED = ROOT.parent / "shared" / "data"
CASES = 10
"""Of the demo's reduced cohort: three test."""
BLOCKED = """
import socket

_connect, _lookup = socket.socket.connect, socket.getaddrinfo
local = ("127.0.0.1", "::1", "localhost")


def connect(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in local:
        with open({log!r}, "a") as log:
            log.write(repr(address) + "\\n")
        raise OSError("the network is blocked in this test")
    return _connect(self, address)


def lookup(host, *arguments, **options):
    if (host.decode() if isinstance(host, bytes) else host) in local:
        return _lookup(host, *arguments, **options)
    with open({log!r}, "a") as log:
        log.write(repr(host) + "\\n")
    raise OSError("the network is blocked in this test")


socket.socket.connect = connect
socket.getaddrinfo = lookup
"""


# What takes longest begins first, so that no worker ends long before the others. The demo leads; what else
# needs it waits until a worker has made it, and so comes after files that do without.
_LONGEST = (
    *("test_demo.py", "flows/test_pipeline.py", "registry/test_promotion.py", "search/test_study.py"),
    *("search/test_crash.py", "registry/test_gate.py", "tracking/test_tracker.py", "flows/test_conductor.py"),
    *("tracking/test_artifact_locations.py", "annotation/test_heart.py", "flows/test_deployments.py"),
    *("flows/test_project.py", "test_promotion.py", "search/test_pipeline.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first."""
    order = {ROOT / "tests" / name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: order.get(item.path, len(order)))


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of one test run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def real_data(shared_folder: Path) -> Path:
    """Folder of unpacked real CT, or a skip where there is none."""
    if not (SHARED / "unpack.sh").exists():
        pytest.skip("real CT is absent: no ../shared/data beside the project")
    # the place is the user's cache, since unpacking takes long
    with filelock.FileLock(shared_folder / "coronet-data.lock"):
        done = subprocess.run(["sh", str(SHARED / "unpack.sh")], check=True, capture_output=True, text=True)
    return Path(done.stdout.strip().splitlines()[-1])


Coronet = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def offline() -> Callable[[Path], dict[str, str]]:
    """The environment in which a project's commands reach no socket but loopback.

    What they tried to reach is in ``network.log`` beside the project.
    """

    def environment(project: Path) -> dict[str, str]:
        blocker = project.parent / "blocker"
        blocker.mkdir(exist_ok=True)
        (blocker / "sitecustomize.py").write_text(BLOCKED.format(log=str(project.parent / "network.log")))
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        modules = os.pathsep.join(filter(None, (str(blocker), os.environ.get("PYTHONPATH"))))
        return os.environ | {"PATH": path, "PYTHONPATH": modules}

    return environment


@pytest.fixture(scope="session")
def coronet(offline: Callable[[Path], dict[str, str]]) -> Coronet:
    """The command as a function of (project, *arguments), offline. Keywords are environment variables."""

    def run(project: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).parent / "coronet", *arguments],
            cwd=project,
            env=offline(project) | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def forked_coronet(offline: Callable[[Path], dict[str, str]]) -> Coronet:
    """As `coronet`, in a copy of this process, which has what a new one takes seconds to import."""
    import mlflow  # noqa: F401
    import torch  # noqa: F401

    from coronet.cli import main

    def run(project: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        variables = offline(project) | environment

        def copy() -> None:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
            logging.getLogger().handlers.clear()
            sys.argv = ["coronet", *arguments]
            os.environ.clear()
            os.environ.update(variables)
            os.chdir(project)
            exec(BLOCKED.format(log=str(project.parent / "network.log")), {})
            main()

        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            process = start_copy(copy)
            process.join()
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(arguments, process.exitcode, out.read(), err.read())

    return run


@pytest.fixture(scope="session")
def demo_project(shared_folder: Path, coronet: Coronet) -> Path:
    """A project after `coronet demo` on a small cohort, with two champions; to be copied and not changed."""
    folder = shared_folder / "demo" / "project"
    with filelock.FileLock(f"{folder.parent}.lock", timeout=1800):
        if not (folder.parent / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _reduced_copy(folder)
            _draw_coarse_phantoms(folder)
            for _ in range(2):
                done = coronet(folder, "demo")
                assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
                # its phantoms are not the pinned ones, and nothing is registered from what is not committed
                commit(folder, "data")
            (folder.parent / "done").touch()
    return folder


@pytest.fixture(scope="module")
def project(demo_project: Path, coronet: Coronet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The module's own copy of `demo_project`; its database follows the folder, as after any move."""
    folder = tmp_path_factory.mktemp("demo")
    subprocess.run(["cp", "-a", f"{demo_project.parent}/.", str(folder)], check=True)
    yield folder / "project"
    shutil.rmtree(folder)


def _draw_coarse_phantoms(folder: Path) -> None:
    """Whole chests, since smaller scans would be copies of each other, with a tenth of the voxels.

    Three have the masks of a forest and a reference, which take long; the others the exact masks.
    """
    from coronet.phantom.annotated_cohort import make_cohort
    from coronet.phantom.patients import Window
    from worker_threads import worker_threads

    coarse = {"seed": 61, "window": Window(matrix=160), "workers": 1}
    with worker_threads():
        make_cohort(folder / "data", cases=CASES, **coarse)
        make_cohort(folder / "data", masks="forest", cases=3, mix=True, **coarse)


def _reduced_copy(folder: Path) -> None:
    """The tracked files, committed, with a small cohort and short trainings."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["phantom"]["cases"] = CASES
    params["split"] |= {"tune": 0.2, "test": 0.3}
    # networks of two epochs reach no floor worth the name
    params["gate"] |= {"score_error": None, "kappa": None}
    params["gate"]["heart"]["dice"] = None
    params["gate"]["calcium"] |= {"f1": None, "lesion_sensitivity": None, "false_mm3": None}
    profile = params["profiles"]["demo"]
    for model, spacing, shape in (("heart", [8.0, 8.0, 8.0], 40), ("calcium", [1.4, 1.4, 2.5], 32)):
        chosen = profile[model]
        chosen["input"] |= {"spacing_mm": spacing, "shape": [shape] * 3}
        chosen["network"] |= {"channels": [4, 8, 16]}
        chosen["optimiser"] |= {"epochs": 2, "patches_per_epoch": 8, "batch_size": 2}
        chosen["pretrain"] |= {"epochs": 1, "patches_per_epoch": 8, "batch_size": 2}
    # a heart that fills half the chest would make every scan slow to score
    profile["heart"]["optimiser"] |= {"epochs": 3, "patches_per_epoch": 24}
    profile["calcium"]["sampling"]["judged"] = 8
    profile["search"] |= {"encoders": ["plain", "autoencoder"], "folds": 3, "epochs": 2}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    commit(folder, "start")
