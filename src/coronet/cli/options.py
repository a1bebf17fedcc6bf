"""Options and output that several commands share."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object in place of text.")]
DataFolder = Annotated[Path, typer.Option("--data", help="The cohort's folder.")]
ModelsOption = Annotated[
    str,
    typer.Option(
        metavar="MODELS",
        help="Which networks: bundled (in the package), build (trained in this project), champion, "
        "challenger, or heart=URI,calcium=URI, where a URI is a folder, bundled or models:/heart/3.",
    ),
]


def print_warnings(warnings: Iterable[str]) -> None:
    """Print warnings on standard error, so that they stay out of ``--json``."""
    for warning in warnings:
        typer.echo(f"Beware: {warning}", err=True)
