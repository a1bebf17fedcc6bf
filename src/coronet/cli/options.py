"""Options and output that several verbs share."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object in place of text.")]
DataFolder = Annotated[Path, typer.Option("--data", help="The cohort's folder.")]


def print_warnings(warnings: Iterable[str]) -> None:
    """Print warnings on standard error, so that they stay out of ``--json``."""
    for warning in warnings:
        typer.echo(f"Beware: {warning}", err=True)
