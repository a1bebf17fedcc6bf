"""``coronet agreement``: two columns of scores compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from coronet.cli.options import AsJson
from coronet.files import check_writable, filling


def agreement_command(
    table: Annotated[
        Path,
        typer.Argument(
            metavar="TABLE.csv",
            help="A heading, and a row a scan; commas, semicolons or tabs between fields.",
        ),
    ],
    *,
    reference: Annotated[str | None, typer.Option(help="Column with the reference scores.")] = None,
    predicted: Annotated[str | None, typer.Option(help="Column with the scores to evaluate.")] = None,
    id_column: Annotated[
        str | None, typer.Option("--id", help="Column that names the scans; each may occur once.")
    ] = None,
    groups: Annotated[str, typer.Option(help="Risk groups: paper, aha, five or cac-drs.")] = "paper",
    resamples: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Resamples of the bootstrap intervals.")
    ] = 1000,
    out: Annotated[Path | None, typer.Option(help="Folder for agreement.json, .png and .svg.")] = None,
    as_json: AsJson = False,
) -> None:
    """\b
    coronet agreement build/scores/scores.csv              # what `dvc repro` wrote
    coronet agreement readers.csv --reference manual --predicted ai --out agreement

    Compare two columns of scores: κ, ICC, correlation, Bland-Altman, with 95 % intervals.

    What tables are understood: docs/agreement.md.
    """
    from coronet import api
    from coronet.evaluation import paired_table

    if out is not None:
        check_writable(out)
    columns = paired_table.read_pairs(table, reference=reference, predicted=predicted, id_column=id_column)
    found = api.agreement(
        columns.reference, columns.predicted, groups=groups, names=columns.names, resamples=resamples
    )
    ids = {"id": list(columns.ids)}
    if out is not None:
        with filling(out) as part:
            found.save(part, extra=ids)
    if as_json:
        typer.echo(json.dumps({**found.to_json(), **ids}))
        return
    named = f"column {', '.join(columns.ids)}" if columns.ids else "no column; every row counts as another"
    typer.echo("\n".join([*found.lines(), f"scans are named by: {named}"]))
