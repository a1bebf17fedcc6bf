"""``coronet search``: Optuna searches better parameters."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coronet.cli.options import AsJson

if TYPE_CHECKING:
    from coronet.tracking.study_runs import StudyRecord

search_app = typer.Typer(no_args_is_help=True)
Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        envvar="CORONET_STORAGE",
        show_envvar=True,
        help="SQLAlchemy URL; mlruns/optuna.db by default.",
    ),
]


def run_search(
    context: typer.Context,
    *,
    trials: Annotated[
        int | None, typer.Option(min=1, help="In all for this study; search.trials by default.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    storage: Storage = None,
    study: Annotated[
        str | None, typer.Option(help="Its name; one made of model, data and space by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train trials on inner folds of the training patients, or resume a search."""
    from coronet.search.study import run_study

    result = run_study(
        str(context.info_name), Path(), trials=trials, workers=workers, storage=storage, name=study
    )
    if as_json:
        typer.echo(json.dumps(result.to_json()))
    else:
        _show(result)


# the names of `coronet.config.MODELS`, which takes too long to import for every command
for _model in ("heart", "calcium"):
    search_app.command(_model, help=f"Search for the {_model} model, or resume a search.")(run_search)


@search_app.command("adopt")
def adopt_winner(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="The study's name.")],
    *,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Write a study's winner into params.yaml.

    The evidence is written beside it; then `dvc repro` trains it.
    """
    from coronet.search.adopt import adopt

    adopted = adopt(study, Path(), storage=storage)
    if as_json:
        typer.echo(json.dumps({**dataclasses.asdict(adopted), "evidence": adopted.evidence.as_posix()}))
        return
    for change in adopted.changes:
        typer.echo(f"{change.key}: {change.before} → {change.after}")
    if not adopted.changes:
        typer.echo("params.yaml holds the winner already.")
        return
    typer.echo(f"Trial {adopted.trial}: {adopted.metric} {adopted.value:.4f} ({adopted.cases}).")
    typer.echo(
        f"Evidence: {adopted.evidence}. Look at `git diff params.yaml`, commit both, then `dvc repro`."
    )


@search_app.command("dashboard")
def open_dashboard(
    *, storage: Storage = None, port: Annotated[int, typer.Option(help="On 127.0.0.1.")] = 8080
) -> None:
    """Open optuna-dashboard on 127.0.0.1 until it is stopped."""
    from coronet.search.database import serve_dashboard

    serve_dashboard(Path(), storage, port=port)


def _show(result: StudyRecord) -> None:
    """The trials as a table, the best in bold."""
    from rich.console import Console
    from rich.table import Table

    from coronet.search.space import ACTIVATION, DICE, ENCODER, GAMMA, RATE

    best = result.best
    table = Table(title=f"{result.name}: {result.metric}, {result.cases}")
    for name in ("trial", "state", result.metric, "epochs", "seconds", "encoder", "activation"):
        table.add_column(name)
    for name in ("Dice weight", "focal γ", "learning rate"):
        table.add_column(name, justify="right")
    table.add_column("reason", overflow="fold")
    for trial in result.trials:
        drawn = trial.drawn
        table.add_row(
            str(trial.number),
            trial.state,
            "" if trial.value is None else f"{trial.value:.4f}",
            str(trial.epochs),
            "" if trial.seconds is None else f"{trial.seconds:.0f}",
            str(drawn.get(ENCODER, "")),
            str(drawn.get(ACTIVATION, "")),
            *(f"{drawn[key]:.3g}" if key in drawn else "" for key in (DICE, GAMMA, RATE)),
            trial.reason,
            style="bold" if best and trial.number == best.number else "",
        )
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(table)
    if best is not None:
        console.print(
            f"Best: trial {best.number}, {result.metric} {best.value:.4f} ({result.cases}). "
            f"`coronet search adopt {result.name}` writes it into params.yaml.",
            highlight=False,
        )
