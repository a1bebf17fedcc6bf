"""What a process asks of the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

STEPS = """
import resource
import numpy as np
from coronet.memory import keep_memory

def faults():
    np.ones(64 * 2**20, np.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        np.ones(64 * 2**20, np.uint8)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 5

given_back = faults()
keep_memory()
print(given_back, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="asks glibc to keep memory")
def test_memory_that_is_kept_needs_no_new_pages() -> None:
    # numpy would ask for pages of 2 MB, of which a step needs few
    done = subprocess.run(
        [sys.executable, "-c", STEPS],
        env={"NUMPY_MADVISE_HUGEPAGE": "0", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    given_back, kept = map(int, done.stdout.split())
    assert kept * 10 < given_back


def test_loading_a_model_leaves_the_allocator_alone(save_fit, tmp_path, monkeypatch) -> None:
    from coronet import memory
    from coronet.networks.factory import load_model

    folder = save_fit(tmp_path / "heart", "heart")
    asked = []
    monkeypatch.setattr(memory, "_tune_malloc", asked.append)
    load_model(folder)
    assert asked == []
    memory.keep_window_memory()
    assert len(asked) == 1


INTERRUPTED = """
import os, signal, sys, threading, time
from multiprocessing.popen_spawn_posix import Popen
from coronet.process import worker_pool

launch, launched = Popen._launch, []

def launch_and_interrupt(self, process):
    launch(self, process)
    launched.append(process)
    if len(launched) == 2:
        os.kill(os.getpid(), signal.SIGINT)

Popen._launch = launch_and_interrupt
# a thread that takes signals, as progress bars and libraries start them
threading.Thread(target=time.sleep, args=(9,), daemon=True).start()
try:
    with worker_pool(2) as pool:
        list(pool.map(time.sleep, [1.5] * 4))
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_an_interrupt_while_a_worker_starts_ends_the_pool() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], timeout=30, check=False)
    assert done.returncode == 130
