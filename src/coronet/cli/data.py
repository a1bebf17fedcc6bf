"""``coronet data``: phantoms, your own scans and NLST."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coronet.cli.options import AsJson, DataFolder, print_warnings
from coronet.errors import InputError
from coronet.lists import split_list
from coronet.progress import Progress

if TYPE_CHECKING:
    from coronet.dataset.nlst.manifest import Manifest, ManifestEntry
    from coronet.dataset.nlst.plan import Rates

data_app = typer.Typer(no_args_is_help=True)


@data_app.command("phantom")
def data_phantom(
    *,
    cases: Annotated[
        int | None, typer.Option(min=1, help="How many scans; phantom.cases by default.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="The same seed gives the same bytes; phantom.seed by default.")
    ] = None,
    data: DataFolder = Path("data"),
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; all cores by default.")] = None,
    mix: Annotated[bool, typer.Option("--mix", help="Let other cases lie in the same folder.")] = False,
    masks: Annotated[
        str | None,
        typer.Option(
            help="exact, or forest: simulated annotations; without --cases and --seed phantom.masks."
        ),
    ] = None,
    ranges: Annotated[
        str | None,
        typer.Option(
            help="realistic, wild (to train only) or mixed; without --cases and --seed phantom.ranges."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a cohort of digital chest phantoms.

    Without options the one that params.yaml describes. Cases that are complete are kept.
    """
    from coronet.config import load_params
    from coronet.phantom.annotated_cohort import make_cohort

    if cases is None or seed is None:
        chosen = load_params().phantom
        if cases is seed is None:
            masks, ranges = masks or chosen.masks, ranges or chosen.ranges
        cases, seed = cases or chosen.cases, chosen.seed if seed is None else seed
    masks, ranges = masks or "exact", ranges or "realistic"
    pinned = make_cohort(data, masks=masks, cases=cases, seed=seed, ranges=ranges, workers=workers, mix=mix)
    if as_json:
        made = {
            "data": str(data),
            "cases": cases,
            "seed": seed,
            "masks": masks,
            "ranges": ranges,
            "as_pinned": pinned,
        }
        typer.echo(json.dumps(made))
        return
    kind = "exact masks" if masks == "exact" else "masks drawn by forests"
    wide = "" if ranges == "realistic" else f"{ranges} "
    typer.echo(f"{cases} {wide}phantoms of seed {seed} with {kind} lie in {data}.")


@data_app.command("deposit")
def data_deposit(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FOLDER…]", help="Backgrounds; those of deposits.backgrounds by default."),
    ] = None,
    *,
    data: DataFolder = Path("data"),
    variants: Annotated[
        int | None, typer.Option(min=1, max=99, help="Cases of each scan; deposits.variants by default.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="deposits.seed by default.")] = None,
    heart_model: Annotated[
        Path | None,
        typer.Option(help="Folder of a heart network that draws the heart masks which are absent."),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; all cores by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Draw calcium into real scans that hold none.

    Example: `coronet data deposit data/backgrounds`. See docs/real-backgrounds.md.
    """
    import dataclasses
    import json

    from coronet.config import load_params
    from coronet.real_backgrounds.deposited_cohort import write_deposited_cohort
    from coronet.real_backgrounds.found_hearts import find_missing_hearts

    chosen = load_params().deposits
    chosen = dataclasses.replace(
        chosen,
        variants=chosen.variants if variants is None else variants,
        seed=chosen.seed if seed is None else seed,
    )
    places = folders or [data / name for name in chosen.backgrounds]
    if not places:
        raise InputError("Name a folder of backgrounds, here or as deposits.backgrounds in params.yaml.")
    hearts = find_missing_hearts(places, heart_model) if heart_model else ()
    found = write_deposited_cohort(places, data, chosen, workers=workers)
    if as_json:
        content = dataclasses.asdict(found) | {"data": str(data), "hearts": [str(path) for path in hearts]}
        typer.echo(json.dumps(content))
        return
    for path in hearts:
        typer.echo(f"{path} was drawn by {heart_model}; look at it.")
    typer.echo(
        f"{len(found.cases)} cases with drawn calcium in {found.backgrounds} scans lie in {data}, "
        f"{found.made} of them new. They train and never tune or test."
    )


@data_app.command("import")
def data_import(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="Scans, or folders of scans.")],
    *,
    data: DataFolder = Path("data"),
    heart: Annotated[Path | None, typer.Option(help="Heart mask of the one scan named.")] = None,
    calcium: Annotated[Path | None, typer.Option(help="Calcium mask of the one scan named.")] = None,
    heart_labels: Annotated[
        str | None, typer.Option(help="Labels that are heart, such as 1,3 or heart.")
    ] = None,
    calcium_labels: Annotated[str | None, typer.Option(help="Labels that are calcium, such as 3.")] = None,
    resample_masks: Annotated[
        bool, typer.Option(help="Allow masks on another grid (nearest voxel).")
    ] = False,
    patient: Annotated[str | None, typer.Option(help="Who was scanned; kept as a keyed hash only.")] = None,
    case: Annotated[str | None, typer.Option(help="Id for the one scan named.")] = None,
    series: Annotated[str | None, typer.Option(help="Which DICOM series, by number or UID.")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the masks of the scan, or the scan of --case.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Import your own scans and masks.

    Example: `coronet data import scan.nii.gz --heart heart.nii.gz`. See docs/own-scans.md.
    """
    from coronet.dataset.import_masks import MaskSources
    from coronet.dataset.import_scans import import_scans

    if (heart_labels is not None and heart is None) or (calcium_labels is not None and calcium is None):
        raise InputError("--heart-labels goes with --heart, and --calcium-labels with --calcium.")
    masks = MaskSources(
        heart=heart,
        calcium=calcium,
        heart_labels=split_list(heart_labels, "--heart-labels"),
        calcium_labels=split_list(calcium_labels, "--calcium-labels"),
        resample=resample_masks,
    )
    outcome = import_scans(
        paths, data=data, masks=masks, patient=patient, case=case, series=series, replace=replace
    )
    if as_json:
        typer.echo(json.dumps(outcome.to_json()))
    for item in () if as_json else outcome.added:
        size = " × ".join(str(count) for count in item.shape)
        spacing = " × ".join(f"{value:.3g}" for value in item.spacing_mm)
        state = "added" if item.new else "was there already"
        words = [f"{item.where} → {item.case} ({item.patient}): {state}, {size} voxels of {spacing} mm"]
        words += [f"with masks: {', '.join(item.masks)}"] if item.masks else []
        words += [f"flags: {', '.join(item.flags)}"] if item.flags else []
        typer.echo("; ".join(words))
        for warning in item.warnings:
            typer.echo(f"Beware: {item.case}, {warning}.")
    print_warnings(outcome.warnings)
    if outcome.refused:
        for reason in outcome.refused:
            typer.echo(f"refused: {reason}", err=True)
        raise InputError(f"{len(outcome.refused)} refused, {len(outcome.added)} in the cohort.")


@data_app.command("list")
def data_list(
    *,
    data: DataFolder = Path("data"),
    build: Annotated[Path, typer.Option(help="Folder of `dvc repro`'s results.")] = Path("build"),
    as_json: AsJson = False,
) -> None:
    """Show every case and what to do next.

    Patient, spacing, masks, flags and part of the split, as a table.
    """
    from coronet.dataset.overview import list_cases, overview_table

    cases = list_cases(data, build=build)
    typer.echo(json.dumps(list(map(dataclasses.asdict, cases))) if as_json else overview_table(cases))


@data_app.command("nlst")
def data_nlst(
    *,
    patients: Annotated[
        int | None, typer.Option(min=1, help="How many; without it the manifest is followed.")
    ] = None,
    where: Annotated[str, typer.Option(help="A further condition (SQL), such as \"kernel = 'B30f'\".")] = "",
    seed: Annotated[int, typer.Option(min=0, help="Of the order in which patients are drawn.")] = 0,
    manifest: Annotated[Path, typer.Option(help="What was chosen; keep it in git.")] = Path("nlst.json"),
    data: DataFolder = Path("data"),
    downloads: Annotated[Path, typer.Option(help="Folder for DICOM files on their way.")] = Path("downloads"),
    endpoint: Annotated[str, typer.Option(help="Address of the object store.")] = "https://s3.amazonaws.com",
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Write the manifest, print count and gigabytes, download nothing."),
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the DICOM files once they are converted.")
    ] = False,
    show_plan: Annotated[
        bool, typer.Option("--plan", help="Print what scoring in flight takes; writes and downloads nothing.")
    ] = False,
    mbit_s: Annotated[float, typer.Option(help="With --plan: download, in Mbit/s.")] = 1000.0,
    score_s: Annotated[float, typer.Option(help="With --plan: seconds of one core for a scan.")] = 2.6,
    cores: Annotated[int, typer.Option(help="With --plan: cores that score.")] = 8,
    core_hour_price: Annotated[float, typer.Option(help="With --plan: of one core.")] = 0.05,
    as_json: AsJson = False,
) -> None:
    """Select, download and import NLST scans.

    From the Imaging Data Commons; see docs/nlst.md.
    """
    from coronet.dataset.import_messages import patient_warnings
    from coronet.dataset.nlst.acquisition import acquire, remaining
    from coronet.dataset.nlst.manifest import Request
    from coronet.dataset.nlst.selection import manifest_for

    if show_plan:
        from coronet.dataset.nlst.plan import Rates

        rates = Rates(mbit_s, score_s, cores, core_hour_price)
        _print_plan(patients, where, rates, as_json=as_json)
        return
    if patients is None and (where or seed):
        raise InputError("--where and --seed choose patients; give --patients too.")
    request = None if patients is None else Request(patients=patients, seed=seed, where=where.strip())
    chosen, written = manifest_for(request, manifest)
    plan = _download_plan(chosen, remaining(chosen, data))
    gigabytes = plan["ct_gb"] + plan["heart_gb"]
    if not as_json:
        typer.echo(
            f"{manifest} {'was written' if written else 'stands'}: {plan['patients']} scans of as many "
            f"patients, {plan['hearts']} with a heart segmentation. {plan['to_download']} to download: "
            f"{gigabytes:.2f} GB ({plan['ct_gb']:.2f} GB CT, {plan['heart_gb']:.2f} GB segmentations)."
        )
    if dry_run:
        if as_json:
            typer.echo(json.dumps({"manifest": str(manifest), "written": written, **plan}))
        return
    with Progress("download", gigabytes * 1e9, in_bytes=True) as progress:
        got = acquire(
            chosen,
            data=data,
            downloads=downloads,
            endpoint=endpoint,
            keep=keep,
            progress=progress.advance,
        )
    if as_json:
        content = dataclasses.asdict(got) | {"added": [item.to_json() for item in got.added]}
        typer.echo(json.dumps({"manifest": str(manifest), "written": written, **content}))
    else:
        masked = sum("heart" in item.masks for item in got.added)
        typer.echo(
            f"{len(got.added)} scans were added, {masked} of them with a heart mask; {got.before} were there."
        )
    print_warnings(patient_warnings(got.added))
    for reason in got.unmasked:
        typer.echo(f"no heart mask: {reason}", err=True)
    for reason in got.refused:
        typer.echo(f"refused: {reason}", err=True)
    if got.refused:
        raise InputError(f"{len(got.refused)} refused, {len(got.added) + got.before} in the cohort.")


def _print_plan(patients: int | None, where: str, rates: Rates, *, as_json: bool) -> None:
    """Print how much the selection is, and how long and dear it is to score it in flight."""
    from coronet.dataset.nlst.commons_index import index_version
    from coronet.dataset.nlst.plan import selection_sizes

    plans = [size.to_json(rates) for size in selection_sizes(patients, where=where)]
    if as_json:
        content = {"index": index_version(), "rates": dataclasses.asdict(rates), "selections": plans}
        typer.echo(json.dumps(content))
        return
    for item in plans:
        typer.echo(
            f"{item['name']}: {item['patients']:,} patients, {item['series']:,} series, "
            f"{item['terabytes']:.2f} TB; download {item['download_hours']:,.1f} h, scoring "
            f"{item['scoring_hours']:,.1f} h; in flight {item['hours']:,.1f} h by the {item['bottleneck']}, "
            f"price {item['price']:,.2f}."
        )
    typer.echo(
        f"Assumed: {rates.mbit_s:g} Mbit/s, {rates.score_s:g} s a scan on one of {rates.cores} cores, "
        f"{rates.core_hour_price:g} for the hour of one, no price for the download ({index_version()})."
    )


def _download_plan(manifest: Manifest, missing: Sequence[ManifestEntry]) -> dict[str, Any]:
    """What a manifest holds, and what is still to be downloaded of it, in 10⁹ bytes."""
    hearts = [entry.heart.size_mb for entry in missing if entry.heart]
    return {
        "patients": len(manifest.entries),
        "hearts": manifest.hearts,
        "to_download": len(missing),
        "ct_gb": round(sum(entry.ct.size_mb for entry in missing) / 1000, 3),
        "heart_gb": round(sum(hearts) / 1000, 3),
    }
