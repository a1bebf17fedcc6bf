"""The command ``coronet``: verbs that call the package and print what it returns."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from coronet.errors import CoronetError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
cohort = typer.Typer(no_args_is_help=True, help="Phantoms and your own scans, in one layout.")
app.add_typer(cohort, name="cohort")
stage = typer.Typer(no_args_is_help=True, help="The stages that dvc.yaml runs.")
app.add_typer(stage, name="stage", hidden=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object in place of text.")]
DataFolder = Annotated[Path, typer.Option("--data", help="The cohort's folder.")]


def main() -> None:
    """Run the command; a `CoronetError` becomes one line on standard error and exit code 2."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        app()
    except CoronetError as error:
        typer.echo(f"coronet: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
