"""``coronet score`` and ``coronet agreement``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from coronet.cli.batch import score_batch
from coronet.cli.options import AsJson


def score_command(
    scan: Annotated[Path, typer.Argument(metavar="SCAN", help="A DICOM folder or a volume file.")],
    *,
    mask: Annotated[
        Path | None,
        typer.Option(help="An expert's calcium mask: NIfTI, NRRD or DICOM SEG; no model is used."),
    ] = None,
    labels: Annotated[
        bool, typer.Option("--labels", help="The mask's labels are vessels: 1 LM, 2 LAD, 3 LCX, 4 RCA.")
    ] = False,
    vessels: Annotated[
        str | None, typer.Option(help="Names of labels 1, 2, … where they are others, such as LAD,RCA.")
    ] = None,
    calcium_labels: Annotated[
        str | None, typer.Option(help="Labels of the mask that are calcium, such as 3 or 1,2.")
    ] = None,
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
    heart_model: Annotated[
        str, typer.Option(help="Folder of the heart network, or models:/heart@champion and the like.")
    ] = "build/heart/fit",
    calcium_model: Annotated[
        str, typer.Option(help="Folder of the calcium network, or models:/calcium@champion and the like.")
    ] = "build/calcium/fit",
    model: Annotated[
        list[str] | None,
        typer.Option(help="models:/NAME@ALIAS or models:/NAME/NUMBER; heart, calcium, or coronet for both."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Score a scan that does not suit, and say so.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for score.json; without --mask also the masks and a page.")
    ] = None,
    batch: Annotated[
        bool, typer.Option("--batch", help="SCAN is a folder of scans; each is scored into --out.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="With --batch: try scans once more that could not be scored.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Score the coronary calcium of one scan; see docs/scoring.md.

    Without --mask the networks draw it. With --batch a folder of scans; see docs/flows.md.
    """
    import json

    from coronet.errors import InputError
    from coronet.files import check_writable, filling
    from coronet.lists import split_list
    from coronet.scoring import score_with_mask
    from coronet.scoring.calcium_score import VESSELS
    from coronet.scoring.protocol import find_protocol
    from coronet.scoring.risk_groups import find_groups

    chosen, preset = find_protocol(protocol), find_groups(groups).name
    if batch and (out is None or mask is not None or series is not None):
        raise InputError("--batch takes a folder of scans and --out, and neither --mask nor --series.")
    if out is not None:
        check_writable(out)
    if mask is None:
        if labels or resample_mask or not (vessels is calcium_labels is probability is None):
            raise InputError(
                "--labels, --vessels, --calcium-labels, --probability and --resample-mask go with --mask."
            )
        from coronet.inference.devices import pick_device
        from coronet.io.reader import read_scan
        from coronet.registry.version_quality import load_scoring_model
        from coronet.report.scan_page import write_scan_result
        from coronet.scoring.batch import Scorer

        device = pick_device()
        heart, calcium = _choose_models(model or (), heart_model, calcium_model)
        scorer = Scorer(
            heart_model=load_scoring_model(heart, part="heart", device=device),
            calcium_model=load_scoring_model(calcium, part="calcium", device=device),
            protocol=chosen,
            method=method,
            calibration_factor=calibration,
            force=force,
        )
        if batch:
            score_batch(scan, out, scorer=scorer, groups=preset, again=again, as_json=as_json)
            return
        scored = scorer(read_scan(scan, series=series))
        if out is not None:
            with filling(out) as part:
                write_scan_result(part, scored)
        typer.echo(json.dumps(scored.to_json()) if as_json else "\n".join(scored.lines(preset)))
        return
    named = split_list(vessels, "--vessels")
    names = dict(enumerate(named, start=1)) if named else VESSELS if labels else None
    found = score_with_mask.score_mask(
        scan,
        mask,
        protocol=chosen,
        method=method,
        calibration_factor=calibration,
        vessels=names,
        labels=split_list(calcium_labels, "--calcium-labels"),
        probability=probability,
        series=series,
        resample_mask=resample_mask,
    )
    if out is not None:
        with filling(out) as part:
            found.write(part)
    typer.echo(json.dumps(found.to_json()) if as_json else "\n".join(found.lines(preset)))


def _choose_models(named: Sequence[str], heart: str, calcium: str) -> tuple[str, str]:
    """Folder or URI of both networks; what --model names comes before the others."""
    from coronet.errors import InputError
    from coronet.lists import check_list

    chosen = {"heart": heart, "calcium": calcium}
    parts: list[str] = []
    for uri in named:
        name = uri.removeprefix("models:/").partition("@")[0].partition("/")[0]
        if not uri.startswith("models:/") or name not in (*chosen, "coronet"):
            raise InputError(
                f"--model {uri} is not understood; write models:/heart@champion, models:/calcium/1 or "
                "models:/coronet@champion."
            )
        meant = dict.fromkeys(chosen, uri) if name == "coronet" else {name: uri}
        parts += meant
        chosen |= meant
    if parts:
        check_list(parts, "--model")
    return chosen["heart"], chosen["calcium"]


def show_agreement(
    table: Annotated[
        Path,
        typer.Argument(
            metavar="TABLE.csv",
            help="A heading, and a row a scan; commas, semicolons or tabs between fields.",
        ),
    ],
    *,
    reference: Annotated[str | None, typer.Option(help="Column with the reference scores.")] = None,
    predicted: Annotated[str | None, typer.Option(help="Column with the scores to judge.")] = None,
    id_column: Annotated[
        str | None, typer.Option("--id", help="Column that names the scans; none may be there twice.")
    ] = None,
    groups: Annotated[str, typer.Option(help="paper, aha or five.")] = "paper",
    resamples: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Of the bootstrap behind the intervals.")
    ] = 1000,
    out: Annotated[Path | None, typer.Option(help="Folder for agreement.json, .png and .svg.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two columns of scores: κ, ICC, correlation, Bland-Altman, each with a 95 % interval."""
    import json

    from coronet.evaluation import agreement as statistics
    from coronet.evaluation import agreement_plots, paired_table
    from coronet.files import check_writable, filling, write_json

    if out is not None:
        check_writable(out)
    columns = paired_table.read_pairs(table, reference=reference, predicted=predicted, id_column=id_column)
    found = statistics.score_agreement(
        columns.reference, columns.predicted, groups=groups, names=columns.names, resamples=resamples
    )
    answer = {**found.to_json(), "id": list(columns.ids)}
    if out is not None:
        with filling(out) as part:
            write_json(part / "agreement.json", answer)
            agreement_plots.write_agreement(found, part)
    if as_json:
        typer.echo(json.dumps(answer))
        return
    named = f"column {', '.join(columns.ids)}" if columns.ids else "no column; every row counts as another"
    typer.echo("\n".join([*found.lines(), f"scans are named by: {named}"]))
