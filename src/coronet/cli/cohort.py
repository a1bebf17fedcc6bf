"""``coronet cohort``: phantoms and one's own scans."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coronet.cli.options import AsJson, DataFolder
from coronet.errors import InputError

cohort = typer.Typer(no_args_is_help=True, help="Phantoms and your own scans, in one layout.")


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


@cohort.command("add")
def cohort_add(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="Scans, or folders of scans.")],
    *,
    data: DataFolder = Path("data"),
    heart: Annotated[Path | None, typer.Option(help="Heart mask of the one scan named.")] = None,
    calcium: Annotated[Path | None, typer.Option(help="Calcium mask of the one scan named.")] = None,
    heart_labels: Annotated[str, typer.Option(help="Labels that are heart, such as 1,3 or heart.")] = "",
    calcium_labels: Annotated[str, typer.Option(help="Labels that are calcium, such as 3.")] = "",
    resample_masks: Annotated[
        bool, typer.Option(help="Allow masks on another grid (nearest voxel).")
    ] = False,
    patient: Annotated[str | None, typer.Option(help="Who was scanned; kept as a keyed hash only.")] = None,
    case: Annotated[str | None, typer.Option(help="Id for the one scan named.")] = None,
    series: Annotated[str | None, typer.Option(help="Which DICOM series, by number or UID.")] = None,
    as_json: AsJson = False,
) -> None:
    """Bring your own scans into the cohort; see docs/own-scans.md."""
    import dataclasses
    import json

    from coronet.cohort.add import Masks, add_scans

    masks = Masks(
        heart=heart,
        calcium=calcium,
        heart_labels=tuple(heart_labels.split(",")) if heart_labels else None,
        calcium_labels=tuple(calcium_labels.split(",")) if calcium_labels else None,
        resample=resample_masks,
    )
    outcome = add_scans(paths, data=data, masks=masks, patient=patient, case=case, series=series)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(outcome)))
    for item in () if as_json else outcome.added:
        size = " × ".join(str(count) for count in item.shape)
        spacing = " × ".join(f"{value:.3g}" for value in item.spacing_mm)
        state = "added" if item.new else "was there already"
        words = [f"{item.case} ({item.patient}): {state}, {size} voxels of {spacing} mm"]
        words += [f"with masks: {', '.join(item.masks)}"] if item.masks else []
        words += [f"flags: {', '.join(item.flags)}"] if item.flags else []
        typer.echo("; ".join(words))
    if outcome.refused:
        for reason in outcome.refused:
            typer.echo(f"refused: {reason}", err=True)
        raise InputError(f"{len(outcome.refused)} refused, {len(outcome.added)} in the cohort.")
