"""``coronet tracking``: runs in MLflow."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Annotated

import typer

from coronet.cli.options import AsJson

tracking_app = typer.Typer(no_args_is_help=True)


@tracking_app.command("sync")
def tracking_sync(as_json: AsJson = False) -> None:
    """Write to MLflow what it lacks.

    Of the results in build/ and of the studies.
    """
    from coronet.search.study_record import sync_studies
    from coronet.tracking import runs

    synced = runs.sync()
    studies = sync_studies(Path(), storage=os.environ.get("CORONET_STORAGE"))
    if as_json:
        kept = [{"kind": "study", "name": name, "run_id": run_id} for name, run_id in studies.items()]
        typer.echo(json.dumps([*(dataclasses.asdict(item) for item in synced), *kept]))
        return
    for item in synced:
        state = "written" if item.created else "there already"
        typer.echo(f"{item.model} {item.kind} {item.fingerprint[:12]}: run {item.run_id} {state}")
    for name, run_id in studies.items():
        typer.echo(f"study {name}: run {run_id}")
    if not synced:
        typer.echo("build/ holds no training yet; `dvc repro` makes some.")


@tracking_app.command("relocate")
def tracking_relocate(as_json: AsJson = False) -> None:
    """Correct artifact paths after the project was moved.

    In the database of MLFLOW_TRACKING_URI; the one in mlruns/ follows its folder by itself.
    """
    from coronet.tracking import mlflow_client

    left = [str(folder) for folder in mlflow_client.relocate_project(Path("mlruns"))]
    if as_json:
        typer.echo(json.dumps({"left": left}))
        return
    lines = [f"{folder} is absent; its addresses lead to mlruns/ now." for folder in left]
    typer.echo("\n".join(lines or ["All addresses lead to folders that are there."]))


@tracking_app.command("ui")
def tracking_ui(port: Annotated[int, typer.Option(help="On 127.0.0.1.")] = 5000) -> None:
    """Open MLflow on 127.0.0.1 until it is stopped."""
    from coronet.tracking import mlflow_client

    mlflow_client.serve_mlflow(Path("mlruns"), port=port)
