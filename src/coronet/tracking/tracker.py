"""Write-through: a training's epochs go to MLflow while it goes on, and MLflow cannot hinder it.

A process of its own (`coronet.tracking.writer`) talks to MLflow. The training gives it one line an epoch
through a pipe that never blocks, and waits for it at the end no longer than `END_SECONDS`. Whatever did not
reach MLflow is written by the next `coronet tracking sync`, which leads to the same run.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

logger = logging.getLogger("coronet")
END_SECONDS = 15.0
"""How long a finished stage waits for MLflow."""
_SYNC_SECONDS = 300.0
"""The same at the end of a demo, which draws pictures for MLflow and has nothing more to do."""
_LOG = "ledger.log"
OnEpoch = Callable[[int, Mapping[str, float]], None]


@contextlib.contextmanager
def tracking(model: str, *, fingerprint: str, params: Any, project: Path, work: Path) -> Iterator[OnEpoch]:
    """Stream a training to MLflow.

    Args:
        model: ``heart`` or ``calcium``.
        fingerprint: of the training; a run that was broken off under it is gone on with.
        params: what it is trained with.
        project: the folder of ``dvc.yaml``.
        work: the training's work folder; the writer's log goes there.

    Yields:
        What to call with (epoch, what was measured) after every epoch; it takes microseconds.
    """
    from coronet.fingerprint import canonical

    writer = _Writer(project, work)
    writer.send(
        {
            "do": "begin",
            "model": model,
            "fingerprint": fingerprint,
            "params": canonical(params),
            "work": str(Path(work).resolve()),
        }
    )
    try:
        yield lambda _, entry: writer.send({"do": "epoch", "entry": canonical(entry)})
    except BaseException:
        writer.send({"do": "failed"})
        writer.close()
        raise
    writer.send({"do": "finished"})
    writer.close()


def tell_evaluation(model: str, *, project: Path, mlruns: Path) -> None:
    """Tell MLflow of an evaluation that was just made, where it is there."""
    writer = _Writer(project, mlruns / "work")
    writer.send({"do": "evaluated", "model": model})
    writer.close()


def catch_up(*, project: Path, mlruns: Path) -> None:
    """Do what `coronet.tracking.runs.sync` does, where MLflow is there."""
    writer = _Writer(project, mlruns / "work")
    writer.send({"do": "sync"})
    writer.close(_SYNC_SECONDS)


class _Writer:
    """The other process, as one that takes lines and may be away."""

    def __init__(self, project: Path, work: Path) -> None:
        Path(work).mkdir(parents=True, exist_ok=True)
        self._lost = False
        self._log = Path(work) / _LOG
        try:
            with self._log.open("wb") as log:
                self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
                    [sys.executable, "-m", "coronet.tracking.writer", str(Path(project).resolve())],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    # an interrupt on the terminal is for the training; the writer sees its pipe close
                    start_new_session=True,
                )
            os.set_blocking(self._process.stdin.fileno(), False)
        except OSError as error:
            self._process = None
            logger.warning("MLflow is not told of this (%s); `coronet tracking sync` does it later", error)

    def send(self, message: Mapping[str, Any]) -> None:
        """Pass a message on, or drop it where the writer does not take it."""
        if self._process is None or self._lost:
            return
        line = json.dumps(message).encode() + b"\n"
        try:
            # lines are far below a pipe's 4096 bytes that are written whole or not at all, except the first
            written = os.write(self._process.stdin.fileno(), line)
        except OSError:
            written = 0
        self._lost = written != len(line)

    def close(self, seconds: float | None = None) -> None:
        """Wait for the writer, but not for long."""
        seconds = END_SECONDS if seconds is None else seconds
        if self._process is None:
            return
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            code = None
        if code != 0 or self._lost:
            reason = f"no answer in {seconds:g} s" if code is None else self._last_words()
            logger.warning("MLflow was not reached (%s); `coronet tracking sync` writes it later", reason)

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return lines[-1][:200] if lines else "the writer ended"
