"""Processes: how one ends with the one that started it, and pools of them."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

from coronet.errors import Busy, InputError

_PARENT_DEATH_SIGNAL = 1  # of prctl(2): a signal at the parent's end


def end_with_parent(parent: int | None = None) -> None:
    """Let this process be ended when the one that started it ends, so that nothing is left behind.

    Linux only; elsewhere it does nothing, and a trainer left behind holds the lock of its work folder.

    Args:
        parent: process id of the one that started it, where it is known; if that has ended by now, this
            process ends at once.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def check_port(port: int) -> None:
    """Check that a server can listen on a port of 127.0.0.1.

    Args:
        port: its number.

    Raises:
        Busy: another program listens there.
        InputError: the number is none of a port, or the system keeps it to itself.
    """
    if not 1 <= port <= 65535:
        raise InputError(f"--port {port} is no port; give a number from 1 to 65535, such as 8081.")
    with socket.socket() as probe:
        # as servers do, so that connections of one that has just ended are no obstacle
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError as error:
            raise InputError(f"Port {port} needs more rights; give one above 1023 with --port.") from error
        except OSError as error:
            raise Busy(
                f"Port {port} of 127.0.0.1 is in use by another program; end it, or give another with --port."
            ) from error


@contextlib.contextmanager
def sharing_cores(threads: int) -> Iterator[None]:
    """Give each of several threads that are started inside its share of the cores for what torch computes."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // threads))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def own_cores() -> int:
    """How many cores this process may use: its share in a `worker_pool`, all of them elsewhere."""
    share = os.environ.get("OMP_NUM_THREADS", "")
    return int(share) if share.isdigit() else os.cpu_count() or 1


def worker_pool(workers: int) -> ProcessPoolExecutor:
    """A pool of processes that share the cores and end with this one.

    They are fresh interpreters, since a copy of a process that already runs threads may hang. An interrupt
    from the keyboard reaches this process alone.
    """
    threads = max(1, (os.cpu_count() or 1) // workers)
    context = multiprocessing.get_context("spawn")
    return _Pool(workers, mp_context=context, initializer=_begin, initargs=(os.getpid(), threads))


class _Pool(ProcessPoolExecutor):
    def submit(self, *call: Any, **options: Any) -> Future[Any]:
        """Submit a job; an interrupt waits until a worker that is started for it is in the pool's list.

        Otherwise nothing would end that worker, and the program would wait for it. Workers inherit that
        interrupts are blocked.
        """
        with _interrupts_deferred():
            return super().submit(*call, **options)

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Wait for all jobs, or, after an error or an interrupt, for those alone that are being done."""
        self.shutdown(wait=True, cancel_futures=kind is not None)


@contextlib.contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Block interrupts in this thread; one that another thread takes waits for the end of the block."""
    taken: list[int] = []
    main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, lambda number, _: taken.append(number)) if main else None
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if main:
            signal.signal(signal.SIGINT, handler or signal.SIG_DFL)
        if taken:
            signal.raise_signal(signal.SIGINT)


def _begin(parent: int, threads: int) -> None:
    end_with_parent(parent)
    # read by libraries when they are loaded, which is later
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
