"""How far training has come: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Self

logger = logging.getLogger("coronet")
_LINES = 10  # lines a whole training writes where there is no terminal


class EpochProgress:
    """Shows epochs and the metric; used as a context."""

    def __init__(self, title: str, epochs: int, steps: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._title, self._epochs, self._steps = title, epochs, steps
        self._terminal = sys.stderr.isatty()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} % {task.fields[note]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not self._terminal,
        )
        self._task = self._bar.add_task(title, total=epochs * steps, note="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._bar.stop()

    def resume(self, history: Sequence[Mapping[str, float]]) -> None:
        """Count epochs that an earlier process trained."""
        self._bar.update(self._task, completed=len(history) * self._steps)

    def step(self) -> None:
        """One step is done."""
        self._bar.advance(self._task)

    def epoch(self, entry: Mapping[str, float], metric: str, seconds: float) -> None:
        """One epoch is done and measured."""
        number = int(entry["epoch"])
        note = f"loss {entry['loss']:.4f} {metric} {entry[metric]:.4f}"
        self._bar.update(self._task, note=note)
        every = max(1, self._epochs // _LINES)
        if not self._terminal and (number % every == 0 or number == self._epochs):
            logger.info("%s: epoch %d of %d, %s, %.1f s", self._title, number, self._epochs, note, seconds)
