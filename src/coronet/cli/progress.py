"""Signs of life during waits, on standard error."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

_PATIENCE_S = 3.0
"""Shorter waits are silent."""


@contextlib.contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show what runs: a spinner on a terminal, elsewhere a line once it takes more than three seconds."""
    import typer
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        with console.status(f"{text} …"):
            yield
        return
    timer = threading.Timer(_PATIENCE_S, typer.echo, (f"{text} …",), {"err": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
