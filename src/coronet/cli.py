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
ledger = typer.Typer(no_args_is_help=True, help="MLflow: write what it lacks, look at it.")
app.add_typer(ledger, name="ledger")

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


@app.command("params")
def show_params(
    key: Annotated[str, typer.Argument(help="A dotted key, such as phantom.cases; none prints all.")] = "",
) -> None:
    """Print the parameters with the chosen profile resolved."""
    import dataclasses
    import json

    from coronet.config import load
    from coronet.errors import ParamsError

    value = dataclasses.asdict(load())
    for name in filter(None, key.split(".")):
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
    from coronet import stages

    stages.run(name, model)


@ledger.command("sync")
def ledger_sync(as_json: AsJson = False) -> None:
    """Write to MLflow what it lacks of the results in build/."""
    import dataclasses
    import json

    from coronet.ledger import runs

    synced = runs.sync()
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(item) for item in synced]))
        return
    for item in synced:
        state = "written" if item.created else "there already"
        typer.echo(f"{item.model} {item.fingerprint[:12]}: run {item.run_id} {state}")
    if not synced:
        typer.echo("build/ holds no training yet; `dvc repro` makes some.")


@ledger.command("ui")
def ledger_ui(port: Annotated[int, typer.Option(help="On 127.0.0.1.")] = 5000) -> None:
    """Open MLflow on 127.0.0.1 until it is stopped."""
    from coronet.ledger import store

    store.serve(Path("mlruns"), port=port)


@app.command("summary")
def show_summary(as_json: AsJson = False) -> None:
    """Print the closing table of the last `dvc repro`."""
    from coronet.report import summary

    found = summary.read_summary(Path())
    typer.echo(found.to_json() if as_json else "", nl=as_json)
    if not as_json:
        summary.show(found)


@app.command("demo")
def demo() -> None:
    """Build the phantom cohort if data/ is absent, run `dvc repro` and print the closing table."""
    from coronet import stages

    stages.demo()
    show_summary(as_json=False)


@cohort.command("phantom")
def cohort_phantom(
    *,
    cases: Annotated[int, typer.Option(min=1, help="How many scans.")],
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")],
    data: DataFolder = Path("data"),
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; all cores by default.")] = None,
    mix: Annotated[bool, typer.Option("--mix", help="Let other cases lie in the same folder.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a cohort of digital chest phantoms; cases that are whole are kept."""
    import json

    from coronet.cohort.phantom import cohort as phantoms

    pinned = phantoms.write_cohort(data, cases=cases, seed=seed, workers=workers, mix=mix)
    if as_json:
        typer.echo(json.dumps({"data": str(data), "cases": cases, "seed": seed, "as_pinned": pinned}))
        return
    typer.echo(f"{cases} phantoms of seed {seed} lie in {data}.")


if __name__ == "__main__":
    main()
