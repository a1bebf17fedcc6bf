"""The command ``coronet``: one module a group of commands, and the small commands of a project here."""

from __future__ import annotations

import dataclasses
import gc
import json
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
from coronet.cli.score import ScoreCommand, score_command
from coronet.cli.search import search_app
from coronet.cli.tracking import tracking_app
from coronet.errors import ParamsError
from coronet.memory import keep_window_memory

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_GROUPS = (
    (
        data_app,
        "data",
        "Phantoms, your own scans and NLST.",
        ("coronet data import scans/ --patient P01", "coronet data list", "coronet data phantom"),
    ),
    (
        annotate_app,
        "annotate",
        "Heart and calcium masks from a few strokes, by a random forest.",
        ("coronet annotate draw CASE --strokes heart.json", "coronet annotate apply CASE --target calcium"),
    ),
    (
        search_app,
        "search",
        "Search for better parameters, and adopt them.",
        ("coronet search calcium --trials 20", "coronet search adopt calcium"),
    ),
    (
        models_app,
        "models",
        "Register, promote, roll back and explain models.",
        (
            "coronet models register heart",
            "coronet models promote heart",
            "coronet models why heart@champion",
        ),
    ),
    (
        tracking_app,
        "tracking",
        "Runs in MLflow: write what is missing, and show them.",
        ("coronet tracking ui", "coronet tracking sync"),
    ),
)
for _group, _name, _purpose, _examples in _GROUPS:
    _lines = "\n".join(_examples)
    app.add_typer(_group, name=_name, short_help=_purpose, help=f"\b\n{_lines}\n\n{_purpose}")
app.command("score", cls=ScoreCommand, short_help="Score coronary calcium by networks or by your own mask.")(
    score_command
)
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


def _print_version(wanted: bool) -> None:
    if wanted:
        from coronet import __version__

        typer.echo(f"coronet {__version__}")
        raise typer.Exit


@app.callback()
def run(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """\b
    coronet demo                                    # learn and score synthetic patients
    coronet score scan.nii.gz --out result          # score a scan
    coronet COMMAND --help                          # begins with examples

    Learn heart and coronary-calcium segmentation on chest CT, and score scans.

    Research software; not a medical device.
    """


@app.command("params")
def show_params(
    key: Annotated[str, typer.Argument(help="A dotted key, such as phantom.cases; none prints all.")] = "",
) -> None:
    """Print the parameters with the chosen profile resolved."""
    from coronet.config import load_params

    value = dataclasses.asdict(load_params())
    for name in key.split(".") if key else ():
        if not isinstance(value, dict) or name not in value:
            raise ParamsError(f'There is no key "{key}"; `coronet params` prints all.')
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
    """Run everything once on synthetic patients.

    Makes phantoms where data/ is absent, runs `dvc repro` and a small search, lets the gate decide, and
    prints how good the models are.
    """
    from coronet import demo as whole

    terminal.check_installed("dvc", "mlflow", "optuna", "great_expectations", extra="all")

    whole.run_demo()
    show_summary(as_json=False)


@app.command("encoders")
def list_encoders(as_json: AsJson = False) -> None:
    """List what network.encoder may be."""
    from coronet.networks.encoders import ALLOWED
    from coronet.networks.factory import OWN

    typer.echo(json.dumps([*OWN, *ALLOWED]) if as_json else "\n".join((*OWN, *ALLOWED)))
