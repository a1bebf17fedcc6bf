"""Copies of this process, to be killed: they have what takes seconds to import and start at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.process import BaseProcess

FORK = multiprocessing.get_context("fork")


def kill_this(*_: object, **__: object) -> None:
    """End this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def start_copy(function: Callable[..., object], *arguments: object) -> BaseProcess:
    """Run a function in a copy of this process."""
    process = FORK.Process(target=function, args=arguments)
    process.start()
    return process


def run_until_killed(function: Callable[..., object], *arguments: object) -> None:
    """Run a function in a copy of this process, which the function must kill."""
    process = start_copy(function, *arguments)
    process.join(300)
    assert process.exitcode == -signal.SIGKILL
