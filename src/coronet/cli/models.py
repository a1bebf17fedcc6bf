"""``coronet models``: versions of the heart and calcium models, from registration to rollback."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from coronet.cli.options import AsJson

models_app = typer.Typer(
    no_args_is_help=True,
    help="Register, compare, promote and roll back models. Example: `coronet models promote heart`.",
)

Model = Annotated[str, typer.Argument(metavar="NAME", help="heart or calcium.")]
ApprovedBy = Annotated[str | None, typer.Option("--approve-by", metavar="WHO", help="Whose word it is.")]
COMMIT = "Commit promotions.jsonl: it is what git keeps of this."


@models_app.command("register")
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


@models_app.command("promote")
def models_promote(
    model: Model,
    *,
    first: Annotated[
        bool, typer.Option("--first", help="Make the first champion; floors alone decide.")
    ] = False,
    approved_by: ApprovedBy = None,
    as_json: AsJson = False,
) -> None:
    """Judge the challenger and make it champion if the gate says so; exit code 1 if it does not.

    See docs/promotion.md.
    """
    import json

    from rich.console import Console

    from coronet.registry import promotion

    done = promotion.promote(model, first=first, approved_by=approved_by)
    if as_json:
        typer.echo(json.dumps(done.to_json()))
    else:
        console = Console()
        for table in done.verdict.tables():
            console.print(table)
        for reason in done.verdict.reasons:
            console.print(reason, markup=False, highlight=False)
        champion = f"{model}/{done.champion} is champion." if done.champion else f"{model} has no champion."
        typer.echo(f"{done.verdict.headline}. {champion} {COMMIT}")
    if not done.moved:
        raise typer.Exit(1)


@models_app.command("rollback")
def models_rollback(
    model: Model,
    *,
    reason: Annotated[str, typer.Option(help="Why; it is kept.")] = "",
    approved_by: ApprovedBy = None,
    as_json: AsJson = False,
) -> None:
    """Make the previous champion champion again."""
    import json

    from coronet.registry import promotion

    done = promotion.rollback(model, reason=reason, approved_by=approved_by)
    if as_json:
        typer.echo(json.dumps(done.to_json()))
        return
    typer.echo(
        f"{model}/{done.champion} is champion again, {model}/{done.previous} the previous one. {COMMIT}"
    )


@models_app.command("history")
def models_history(model: Model, *, as_json: AsJson = False) -> None:
    """Tell who was champion when, and by whose word."""
    import dataclasses
    import json

    from rich.console import Console
    from rich.table import Table

    from coronet.config.floors import counted
    from coronet.registry import promotion

    entries = promotion.history(model)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(entry) for entry in entries]))
        return
    if not entries:
        typer.echo(
            f"The log tells nothing of {model}; `coronet models register {model}` writes its first line."
        )
        return
    table = Table("line", "time", "what", "version", "before", "by", "why")

    def spared(details: Mapping[str, Any]) -> str:
        count = len(details.get("verdict", {}).get("not_asked", ()))
        return f"{counted(count)} not asked." if count else ""

    for entry in entries:
        details = entry.details
        reasons = details.get("verdict", {}).get("reasons", [])
        table.add_row(
            str(entry.number),
            entry.time,
            entry.kind.replace("_", " "),
            f"{model}/{entry.version}",
            f"{model}/{details['from']}" if details.get("from") else "",
            details.get("approved_by", ""),
            " ".join(
                filter(None, (details.get("reason") or (reasons[0] if reasons else ""), spared(details)))
            ),
        )
    Console().print(table)


@models_app.command("why")
def models_why(
    target: Annotated[
        str, typer.Argument(metavar="WHAT", help="heart@champion, heart/3, or the path of a score.json.")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Tell where a version or a score comes from, and the commands that make it again."""
    import json

    from coronet.registry.explain import explain_version

    found = explain_version(target)
    typer.echo(json.dumps(found.to_json()) if as_json else "\n".join(found.lines()))


@models_app.command("check")
def models_check(
    *,
    mend: Annotated[
        bool, typer.Option("--mend", help="Set champion and previous as the log tells them.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Walk the log of promotions line by line, and compare it with git and with MLflow's aliases."""
    import json

    from coronet.errors import PromotionError
    from coronet.registry import check

    found = check.audit(mend=mend)
    if as_json:
        typer.echo(json.dumps(found.to_json()))
    else:
        for sentence in found.lines():
            typer.echo(sentence)
    if not found.ok:
        raise PromotionError(
            "The log is not what it should be; `git log -p promotions.jsonl` tells of its lines."
        )
