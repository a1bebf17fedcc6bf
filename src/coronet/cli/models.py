"""``coronet models``: versions of the heart and calcium models, from registration to rollback."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer

from coronet.cli.options import AsJson, ModelsOption
from coronet.errors import PromotionError
from coronet.networks.bundled import BUNDLED

models_app = typer.Typer(no_args_is_help=True)

Model = Annotated[str, typer.Argument(metavar="NAME", help="heart or calcium.")]
ApprovedBy = Annotated[
    str | None, typer.Option("--approve-by", metavar="NAME", help="Who approves; the log keeps it.")
]
_COMMIT = "Commit promotions.jsonl."


@models_app.command("register")
def models_register(
    model: Annotated[str, typer.Argument(help="heart or calcium.")],
    *,
    allow_dirty: Annotated[
        bool, typer.Option("--allow-dirty", help="From code that is not committed; the difference is kept.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Register the training in build/ as challenger.

    See docs/tracking.md.
    """
    from coronet.registry.registration import register_version

    done = register_version(model, allow_dirty=allow_dirty)
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
    """Make the challenger champion if the gate allows it.

    Exit code 1 if it does not.

    A promotion that was killed is finished by running it again.

    See docs/promotion.md.
    """
    from rich.console import Console

    from coronet.registry import promotion

    done = promotion.promote(model, first=first, approved_by=approved_by)
    if as_json:
        typer.echo(json.dumps(done.to_json()))
    else:
        champion = f"{model}/{done.champion} is champion." if done.champion else f"{model} has no champion."
        headline = "Finished the promotion that was killed before"
        if done.verdict:
            console = Console()
            for table in done.verdict.tables():
                console.print(table)
            for reason in done.verdict.reasons:
                console.print(reason, markup=False, highlight=False)
            headline = done.verdict.headline
        typer.echo(f"{headline}. {champion} {_COMMIT}")
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
    from coronet.registry import promotion

    done = promotion.rollback(model, reason=reason, approved_by=approved_by)
    if as_json:
        typer.echo(json.dumps(done.to_json()))
        return
    typer.echo(
        f"{model}/{done.champion} is champion again, {model}/{done.previous} the previous one. {_COMMIT}"
    )


@models_app.command("history")
def models_history(
    model: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="heart or calcium; both where none is given.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show the promotion history."""
    from coronet.config import MODELS
    from coronet.config.floors import floors_were
    from coronet.registry import promotion

    names = [model] if model else MODELS
    entries = sorted(
        (entry for name in names for entry in promotion.history(name)), key=lambda entry: entry.number
    )
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(entry) for entry in entries]))
        return
    if not entries:
        about = " or ".join(names)
        typer.echo(
            f"The log has no line about {about}; `coronet models register {names[0]}` writes the first."
        )
    for entry in entries:
        details, verdict = entry.details, entry.details.get("verdict", {})
        before = f" after {entry.model}/{details['from']}" if details.get("from") else ""
        by = f", approved by {details['approved_by']}" if details.get("approved_by") else ""
        what = entry.kind.replace("_", " ")
        typer.echo(f"{entry.number:>3}  {entry.time}  {entry.model}/{entry.version} {what}{before}{by}")
        spared = len(verdict.get("not_asked", ()))
        reasons = (
            details.get("reason") or next(iter(verdict.get("reasons", ())), ""),
            f"{floors_were(spared)} not asked." if spared else "",
        )
        if why := " ".join(filter(None, reasons)):
            typer.echo(f"     {why}")


@models_app.command("why")
def models_why(
    target: Annotated[
        str, typer.Argument(metavar="WHAT", help="heart@champion, heart/3, or the path of a score.json.")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Show where a version or a score comes from.

    With the commands that reproduce it.
    """
    from coronet.registry.explain import explain_version

    found = explain_version(target)
    typer.echo(json.dumps(found.to_json()) if as_json else "\n".join(found.lines()))


@models_app.command("card")
def models_card(models: ModelsOption = BUNDLED, *, as_json: AsJson = False) -> None:
    """Print the model cards of the networks that `coronet score` uses.

    Intended use, data with attributions, figures, limits, licence and the sha256 of the weights.
    """
    from coronet.registry.resolve_models import resolve_models
    from coronet.registry.stored_card import stored_card

    cards = {model: stored_card(model, folder) for model, folder in resolve_models(models).items()}
    typer.echo(json.dumps(cards) if as_json else "\n".join(cards.values()).rstrip())


@models_app.command("check")
def models_check(as_json: AsJson = False) -> None:
    """Check the promotion log against MLflow and git.

    Its chain of hashes, git's copy of it, and MLflow's aliases.
    """
    from coronet.registry.check import check_log

    found = check_log()
    typer.echo(json.dumps(found.to_json()) if as_json else "\n".join(found.lines()))
    if not found.ok:
        raise PromotionError(
            "Log and aliases do not hold; `git log -p promotions.jsonl` shows the history of the lines."
        )
