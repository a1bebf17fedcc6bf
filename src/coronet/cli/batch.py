"""``coronet score --batch``: a folder of scans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer


def score_batch(
    folder: Path, out: Path, models: str, *, groups: str, again: bool, as_json: bool, **rules: Any
) -> None:
    """Score each scan of ``folder`` into ``out`` and print the table; ``rules`` are those of a `Scorer`.

    Raises:
        InputError: some scans could not be scored; all others are.
    """
    import json

    from coronet import api
    from coronet.errors import InputError
    from coronet.progress import Progress
    from coronet.scoring.batch import TABLE

    with Progress("score") as progress:
        found = api.score_batch(
            folder, out, models, groups=groups, again=again, progress=progress.update, **rules
        )
    if as_json:
        typer.echo(json.dumps(found.to_json()))
    else:
        for line in found.statement.lines:
            typer.echo(line)
        if found.learned_from:
            shares = f"{len(found.learned_from)} of {len(found.rows)} scans"
            typer.echo(
                f"{shares} were in the training of these networks; their scores say nothing of others."
            )
        for row in found.rows:
            typer.echo(row.line())
    if found.refused:
        raise InputError(
            f"{len(found.refused)} of {len(found.rows)} scans could not be scored; "
            f"{out / TABLE} says why, and --again tries them once more."
        )
