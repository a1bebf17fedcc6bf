"""``coronet score --batch``: a folder of scans."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer


def score_batch(
    folder: Path,
    out: Path,
    *,
    models: str,
    scoring: Mapping[str, Any],
    groups: str,
    force: bool,
    again: bool,
    as_json: bool,
) -> None:
    """Score each scan of ``folder`` into ``out`` and print the table.

    Raises:
        InputError: some scans could not be scored; all others are.
    """
    import json

    from coronet import api, pipeline
    from coronet.errors import InputError
    from coronet.report.scan_page import write_scan_result
    from coronet.scoring.batch import TABLE, Scorer, score_folder
    from coronet.scoring.protocol import find_protocol

    pair = api.load_models(models)
    rules = {**scoring, "protocol": find_protocol(scoring["protocol"])}
    scorer = Scorer(heart_model=pair.heart, calcium_model=pair.calcium, force=force, **rules)
    with pipeline.progress("score") as advance:
        found = score_folder(
            folder,
            out,
            scorer=scorer,
            write=write_scan_result,
            groups=groups,
            again=again,
            data=Path("data"),
            progress=advance,
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
