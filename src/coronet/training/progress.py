"""How far training has come: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

logger = logging.getLogger("coronet")
_LINES = 10
"""Lines a whole training writes where there is no terminal."""


class EpochProgress:
    """Shows epochs and the metric; used as a context."""

    def __init__(self, title: str, epochs: int, steps: int) -> None:
        self._title, self._epochs, self._steps = title, epochs, steps
        self._bar = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} % {task.fields[note]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task(title, total=epochs * steps, note="")

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def resume(self, history: Sequence[Mapping[str, float]]) -> None:
        """Count epochs that an earlier process trained."""
        if self._bar:
            self._bar.update(self._task, completed=len(history) * self._steps)

    def step(self) -> None:
        """One step is done."""
        if self._bar:
            self._bar.advance(self._task)

    def epoch(self, entry: Mapping[str, float], metric: str, seconds: float) -> None:
        """One epoch is done and measured."""
        number = int(entry["epoch"])
        note = f"loss {entry['loss']:.4f} {metric} {entry[metric]:.4f}"
        if self._bar:
            self._bar.update(self._task, note=note)
        elif number % max(1, self._epochs // _LINES) == 0 or number == self._epochs:
            logger.info("%s: epoch %d of %d, %s, %.1f s", self._title, number, self._epochs, note, seconds)
