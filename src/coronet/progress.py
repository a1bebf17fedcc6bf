"""How far long work has come, on standard error: a bar on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Iterator
from typing import Self

logger = logging.getLogger("coronet")
_LINE_EVERY_S = 60.0
_PATIENCE_S = 3.0  # shorter waits are silent


class Progress:
    """Counts what is done of a whole; used as a context."""

    def __init__(self, title: str, total: float | None = None, *, in_bytes: bool = False) -> None:
        """Make it.

        Args:
            title: what is done, such as ``prepare heart``.
            total: how much there is, where it is known already.
            in_bytes: count bytes in place of items.
        """
        from rich import progress
        from rich.console import Console

        console = Console(stderr=True)
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.DownloadColumn() if in_bytes else progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[note]}"),
            progress.TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=total, note="")
        self._in_bytes = in_bytes
        self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._bar.stop()

    def advance(self, count: float = 1) -> None:
        """So much more is done; any thread may call it."""
        self._bar.advance(self._task, count)
        self._print_line()

    def update(self, done: float, total: float | None = None, *, note: str = "") -> None:
        """So much is done in all; ``total`` and ``note``, a text beside the count, stay where not given."""
        self._bar.update(self._task, completed=done, total=total)
        if note:
            self._bar.update(self._task, note=note)
        self._print_line()

    def _print_line(self) -> None:
        task, now = self._bar.tasks[0], time.monotonic()
        if not self._bar.disable or task.total is None or now - self._last_line < _LINE_EVERY_S:
            return
        self._last_line = now
        count = f"{int(task.completed)} of {int(task.total)}"
        if self._in_bytes:
            count = f"{task.completed / 1e9:.2f} of {task.total / 1e9:.2f} GB"
        logger.info("%s: %s", task.description, ", ".join(filter(None, (count, task.fields["note"]))))


class Pace:
    """How fast long work goes, counted from its first report, and how long it will take."""

    def __init__(self) -> None:
        """Begin to count."""
        self._first: tuple[float, float] | None = None

    def note(self, done: float, total: float) -> str:
        """Rate and time left, such as ``31.0/min, 1 h 05 min left``; empty as long as they are not known."""
        now = time.monotonic()
        if self._first is None:
            self._first = now, done
        began, before = self._first
        if done <= before or now <= began:
            return ""
        rate = (done - before) / (now - began)
        minutes = round((total - done) / rate / 60)
        left = f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
        return f"{60 * rate:.1f}/min, {left} left"


@contextlib.contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show what runs: a spinner on a terminal, elsewhere a line once it takes more than three seconds."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        with console.status(f"{text} …"):
            yield
        return
    timer = threading.Timer(_PATIENCE_S, print, (f"{text} …",), {"file": sys.stderr, "flush": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
