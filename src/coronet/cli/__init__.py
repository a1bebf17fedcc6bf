"""From chest CT to a promoted, explained and served coronary-calcium score."""

from __future__ import annotations

import gc
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from coronet import terminal
from coronet.cli.agreement import agreement_command
from coronet.cli.annotate import annotate_app
from coronet.cli.data import data_app
from coronet.cli.models import models_app
from coronet.cli.options import AsJson
from coronet.cli.score import score_command
from coronet.cli.search import search_app
from coronet.cli.tracking import tracking_app
from coronet.process import keep_window_memory

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help=__doc__,
)
app.add_typer(data_app, name="data")
app.add_typer(annotate_app, name="annotate")
app.add_typer(models_app, name="models")
app.add_typer(tracking_app, name="tracking")
app.add_typer(search_app, name="search")
app.command("score", short_help="Score coronary calcium by networks or by your own mask.")(score_command)
app.command("agreement", short_help="Compare two columns of scores.")(agreement_command)


def main() -> None:
    """Run the command; what a user can change becomes one line on standard error and exit code 2."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    # Libraries make a million objects that stay. To look through them for garbage again and again while they
    # are imported, and once more at the end, takes half a second of `coronet score`.
    gc.set_threshold(100_000, 50, 100)
    keep_window_memory()
    try:
        sys.exit(terminal.run_app(app))
    finally:
        gc.freeze()


@app.command("params")
def show_params(
    key: Annotated[str, typer.Argument(help="A dotted key, such as phantom.cases; none prints all.")] = "",
) -> None:
    """Print the parameters with the chosen profile resolved."""
    import dataclasses
    import json

    from coronet.config import load_params
    from coronet.errors import ParamsError

    value = dataclasses.asdict(load_params())
    for name in key.split(".") if key else ():
        if not isinstance(value, dict) or name not in value:
            raise ParamsError(f"There is no key «{key}»; `coronet params` prints all.")
        value = value[name]
    typer.echo(value if isinstance(value, str) else json.dumps(value, indent=2))


@app.command("stage", hidden=True)
def run_stage(
    name: Annotated[str, typer.Argument(help="As in dvc.yaml.")],
    model: Annotated[str, typer.Argument(help="heart or calcium, where the stage has one for each.")] = "",
) -> None:
    """Run one stage of dvc.yaml."""
    from coronet import pipeline
    from coronet.process import end_with_parent

    # DVC that is killed tells its stages nothing; one left behind would write into the next one's results
    end_with_parent()
    pipeline.run_pipeline_stage(name, model)


@app.command("summary")
def show_summary(as_json: AsJson = False) -> None:
    """Print the closing table of the last `dvc repro`."""
    from coronet.report import summary

    found = summary.read_summary(Path())
    typer.echo(found.to_json() if as_json else "", nl=as_json)
    if not as_json:
        summary.print_summary(found)


@app.command("demo")
def demo() -> None:
    """Phantoms if data/ is absent, `dvc repro`, a small search, the gate's verdicts, the closing table."""
    from coronet import demo as whole

    whole.run_demo()
    show_summary(as_json=False)


@app.command("encoders")
def list_encoders(as_json: AsJson = False) -> None:
    """List what network.encoder may be."""
    import json

    from coronet.networks.encoders import ALLOWED
    from coronet.networks.factory import OWN

    typer.echo(json.dumps([*OWN, *ALLOWED]) if as_json else "\n".join((*OWN, *ALLOWED)))
