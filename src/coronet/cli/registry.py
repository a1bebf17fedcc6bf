"""``coronet register``: a training becomes a version."""

from __future__ import annotations

from typing import Annotated

import typer

from coronet.cli.options import AsJson


def models_register(
    model: Annotated[str, typer.Argument(help="heart or calcium.")],
    *,
    allow_dirty: Annotated[
        bool, typer.Option("--allow-dirty", help="From code that is not committed; the difference is kept.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a version of the training in build/, named challenger; see docs/tracking.md."""
    import dataclasses
    import json

    from coronet.registry import versions

    done = versions.create_registered_version(model, allow_dirty=allow_dirty)
    version = done.version
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(done)))
        return
    state = "registered" if done.created else "registered already"
    typer.echo(f"{version.model} version {version.number} ({version.fingerprint[:12]}) {state}")
    if version.tags.get("dirty") == "true":
        typer.echo("Its code is not committed; the difference is kept with it.")
