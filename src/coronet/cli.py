"""The command ``coronet``: verbs that call the package and print what it returns."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from coronet.errors import CoronetError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
cohort = typer.Typer(no_args_is_help=True, help="Phantoms and your own scans, in one layout.")
app.add_typer(cohort, name="cohort")
ledger = typer.Typer(no_args_is_help=True, help="MLflow: write what it lacks, look at it.")
app.add_typer(ledger, name="ledger")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object in place of text.")]
DataFolder = Annotated[Path, typer.Option("--data", help="The cohort's folder.")]


def main() -> None:
    """Run the command; a `CoronetError` becomes one line on standard error and exit code 2."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        app()
    except CoronetError as error:
        typer.echo(f"coronet: {error}", err=True)
        sys.exit(2)


@app.command("params")
def show_params(
    key: Annotated[str, typer.Argument(help="A dotted key, such as phantom.cases; none prints all.")] = "",
) -> None:
    """Print the parameters with the chosen profile resolved."""
    import dataclasses
    import json

    from coronet.config import load
    from coronet.errors import ParamsError

    value = dataclasses.asdict(load())
    for name in filter(None, key.split(".")):
        if not isinstance(value, dict) or name not in value:
            raise ParamsError(f"There is no key «{key}»; `coronet params` prints all.")
        value = value[name]
    typer.echo(value if isinstance(value, str) else json.dumps(value, indent=2))


@app.command("stage", hidden=True)
def run_stage(
    name: Annotated[str, typer.Argument(help="As in dvc.yaml.")],
    model: Annotated[str, typer.Argument(help="heart or calcium, where the stage has one for each.")] = "",
) -> None:
    """Run one stage of dvc.yaml."""
    from coronet import stages

    stages.run(name, model)


@ledger.command("sync")
def ledger_sync(as_json: AsJson = False) -> None:
    """Write to MLflow what it lacks of the results in build/."""
    import dataclasses
    import json

    from coronet.ledger import runs

    synced = runs.sync()
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(item) for item in synced]))
        return
    for item in synced:
        state = "written" if item.created else "there already"
        typer.echo(f"{item.model} {item.fingerprint[:12]}: run {item.run_id} {state}")
    if not synced:
        typer.echo("build/ holds no training yet; `dvc repro` makes some.")


@ledger.command("ui")
def ledger_ui(port: Annotated[int, typer.Option(help="On 127.0.0.1.")] = 5000) -> None:
    """Open MLflow on 127.0.0.1 until it is stopped."""
    from coronet.ledger import store

    store.serve(Path("mlruns"), port=port)


@app.command("summary")
def show_summary(as_json: AsJson = False) -> None:
    """Print the closing table of the last `dvc repro`."""
    from coronet.report import summary

    found = summary.read_summary(Path())
    typer.echo(found.to_json() if as_json else "", nl=as_json)
    if not as_json:
        summary.show(found)


@app.command("demo")
def demo() -> None:
    """Build the phantom cohort if data/ is absent, run `dvc repro` and print the closing table."""
    from coronet import stages

    stages.demo()
    show_summary(as_json=False)


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
    from coronet.errors import InputError

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


@app.command("encoders")
def list_encoders(as_json: AsJson = False) -> None:
    """List what network.encoder may be."""
    import json

    from coronet.networks.builder import OWN
    from coronet.networks.encoders import ALLOWED

    typer.echo(json.dumps([*OWN, *ALLOWED]) if as_json else "\n".join((*OWN, *ALLOWED)))


@app.command("score")
def score(
    scan: Annotated[Path, typer.Argument(metavar="SCAN", help="A DICOM folder or a volume file.")],
    *,
    mask: Annotated[
        Path | None,
        typer.Option(help="An expert's calcium mask: NIfTI, NRRD or DICOM SEG; no model is used."),
    ] = None,
    labels: Annotated[
        bool, typer.Option("--labels", help="The mask's labels are vessels: 1 LM, 2 LAD, 3 LCX, 4 RCA.")
    ] = False,
    vessels: Annotated[str, typer.Option(help="Names of labels 1, 2, … where they are others.")] = "",
    calcium_labels: Annotated[str, typer.Option(help="Labels of the mask that are calcium, such as 3.")] = "",
    probability: Annotated[
        Path | None, typer.Option(help="Calcium probability (NIfTI) beside the mask.")
    ] = None,
    protocol: Annotated[str, typer.Option(help="coronet, deepcac, ai-cac, orcascore or molloi.")] = "coronet",
    method: Annotated[str, typer.Option(help="agatston, volume_weighted, volume or mass.")] = "agatston",
    calibration: Annotated[float | None, typer.Option(help="mg/(mm³·HU); gives a mass score.")] = None,
    groups: Annotated[str, typer.Option(help="paper, aha, five or cac-drs; --json gives all.")] = "paper",
    series: Annotated[str | None, typer.Option(help="Which DICOM series, by number or UID.")] = None,
    resample_mask: Annotated[
        bool, typer.Option(help="Allow a mask on another grid (nearest voxel).")
    ] = False,
    heart_model: Annotated[Path, typer.Option(help="Folder of the heart network.")] = Path("build/heart/fit"),
    calcium_model: Annotated[Path, typer.Option(help="Folder of the calcium network.")] = Path(
        "build/calcium/fit"
    ),
    force: Annotated[
        bool, typer.Option("--force", help="Score a scan that does not suit, and say so.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for score.json; without --mask also the masks and a page.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score the coronary calcium of one scan; see docs/scoring.md.

    Without --mask the networks draw it.
    """
    import json

    from coronet.errors import InputError
    from coronet.score import expert
    from coronet.score.agatston import VESSELS
    from coronet.score.groups import find_groups
    from coronet.score.protocol import find_protocol

    chosen, preset = find_protocol(protocol), find_groups(groups).name
    if mask is None:
        if labels or vessels or calcium_labels or probability or resample_mask:
            raise InputError(
                "--labels, --vessels, --calcium-labels, --probability and --resample-mask go with --mask."
            )
        from coronet.cohort.reader import read_scan
        from coronet.networks.builder import load_model
        from coronet.report.scan_page import write_scan_page
        from coronet.score.scan import score_scan, write_scan_score
        from coronet.train.device import pick_device

        device = pick_device()
        scored = score_scan(
            read_scan(scan, series=series),
            heart_model=load_model(heart_model, device=device),
            calcium_model=load_model(calcium_model, device=device),
            protocol=chosen,
            method=method,
            calibration_factor=calibration,
            force=force,
        )
        if out is not None:
            write_scan_score(out, scored)
            write_scan_page(out, scored)
        typer.echo(json.dumps(scored.to_json()) if as_json else "\n".join(scored.lines(preset)))
        return
    names = dict(enumerate(vessels.split(","), start=1)) if vessels else VESSELS if labels else None
    found = expert.score_expert(
        scan,
        mask,
        protocol=chosen,
        method=method,
        calibration_factor=calibration,
        vessels=names,
        labels=tuple(calcium_labels.split(",")) if calcium_labels else None,
        probability=probability,
        series=series,
        resample_mask=resample_mask,
    )
    if out is not None:
        found.write(out)
    typer.echo(json.dumps(found.to_json()) if as_json else "\n".join(found.lines(preset)))


@app.command("agreement")
def show_agreement(
    table: Annotated[
        Path, typer.Argument(metavar="TABLE.csv", help="Two columns of scores, an id before them or not.")
    ],
    *,
    reference: Annotated[str | None, typer.Option(help="Column with the reference scores.")] = None,
    predicted: Annotated[str | None, typer.Option(help="Column with the scores to judge.")] = None,
    groups: Annotated[str, typer.Option(help="paper, aha or five.")] = "paper",
    resamples: Annotated[int, typer.Option(min=1, help="Of the bootstrap behind the intervals.")] = 1000,
    out: Annotated[Path | None, typer.Option(help="Folder for agreement.json, .png and .svg.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two columns of scores: κ, ICC, correlation, Bland-Altman, each with a 95 % interval."""
    import json

    from coronet.files import write_json
    from coronet.score import agreement as statistics
    from coronet.score import pairs, plots

    columns = pairs.read_pairs(table, reference=reference, predicted=predicted)
    found = statistics.agreement(
        columns.reference, columns.predicted, groups=groups, names=columns.names, resamples=resamples
    )
    if out is not None:
        write_json(out / "agreement.json", found.to_json())
        plots.write_agreement(found, out)
    typer.echo(json.dumps(found.to_json()) if as_json else "\n".join(found.lines()))


if __name__ == "__main__":
    main()
