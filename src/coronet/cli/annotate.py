"""``coronet annotate``: masks from a few strokes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coronet.cli.options import AsJson, DataFolder, print_warnings

annotate_app = typer.Typer(no_args_is_help=True, help="Masks from a few strokes, by a forest that learns.")

TargetName = Annotated[str, typer.Option("--target", help="heart or calcium.")]
Replace = Annotated[bool, typer.Option("--replace", help="Overwrite a mask that this tool did not draw.")]


KNOWN_PATIENT = "--patient belongs to a scan that is added; this case is in the cohort already."


def _target(name: str) -> str:
    from coronet.annotation.strokes import STROKE_LABELS
    from coronet.errors import InputError

    if name not in STROKE_LABELS:
        raise InputError(f"--target «{name}» must be heart or calcium.")
    return name


def _score(volume, mask) -> float:
    from coronet.scoring.agatston import score_mask

    return score_mask(volume, mask).scores.agatston


def _line(record) -> str:
    """What was drawn, in one line; what no stroke names in more."""
    scans = "1 other scan" if record.taught_by == 1 else f"{record.taught_by} other scans"
    learned = f"learned from {scans}" if record.taught_by else "learned from no other scan"
    known = "" if record.out_of_bag is None else f", out-of-bag {record.out_of_bag:.3f}"
    tally = record.tally
    if tally is None:
        sizes = f"{record.mask_ml:.1f} ml, {record.uncertain_ml:.1f} ml uncertain"
        return f"{record.case}: {record.target} of {sizes}; {learned}{known}"
    pieces = "1 piece" if tally.pieces == 1 else f"{tally.pieces} pieces"
    score = "" if record.agatston is None else f", Agatston score {record.agatston:.1f}"
    learned += known if record.forest else "; only what strokes name is drawn"
    lines = [
        f"{record.case}: calcium of {pieces} ({tally.unseen} never looked at), {tally.mm3:.1f} mm³{score}; "
        f"{learned}"
    ]
    if tally.unseen:
        places = ", ".join(f"({', '.join(f'{value:g}' for value in place)})" for place in tally.unseen_at_mm)
        more = ", …" if tally.unseen > len(tally.unseen_at_mm) else ""
        lines.append(f"  never looked at, as no stroke names them: at {places}{more} mm")
    if tally.left_out:
        lines.append(f"  bright pieces left out, as no stroke names them: {tally.left_out}")
    if tally.missed:
        lines.append(f"  strokes that touch no bright piece: {tally.missed}")
    return "\n".join(lines)


@annotate_app.command("draw")
def annotate_draw(
    scan: Annotated[str, typer.Argument(metavar="CASE|SCAN", help="A case, or a scan to be added as one.")],
    *,
    target: TargetName = "heart",
    strokes: Annotated[Path, typer.Option(help="JSON, sparse NIfTI labels or .seg.nrrd.")],
    data: DataFolder = Path("data"),
    replace: Replace = False,
    alone: Annotated[bool, typer.Option("--alone", help="Learn from this scan's strokes only.")] = False,
    patient: Annotated[
        str | None, typer.Option(help="Who was scanned, for a scan that is added; kept as a keyed hash only.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw a mask from a person's strokes; see docs/annotate.md."""
    import dataclasses
    import json

    from coronet.annotation.annotated_cases import annotate_cases as draw
    from coronet.annotation.strokes import check_stroke_file
    from coronet.dataset.cases import CASE_PATTERN, scan_path
    from coronet.errors import InputError
    from coronet.io.patient_identity import given_patient

    case, kind = scan, _target(target)
    if patient is not None:
        given_patient(patient)
    check_stroke_file(strokes, target=kind)
    if not (CASE_PATTERN.fullmatch(scan) and scan_path(data, scan).exists()) and Path(scan).exists():
        case = _add(Path(scan), data, kind, strokes, patient)
    elif patient is not None:
        raise InputError(KNOWN_PATIENT)
    record = draw(data, case, kind, strokes=strokes, use_library=not alone, replace=replace, agatston=_score)
    typer.echo(json.dumps(dataclasses.asdict(record)) if as_json else _line(record))


def _add(scan: Path, data: Path, kind: str, strokes: Path, patient: str | None) -> str:
    """Bring in a scan that is no case yet, once its strokes are known to fit it."""
    from coronet.annotation.strokes import read_strokes
    from coronet.dataset.import_scans import find_imported, import_scans
    from coronet.errors import InputError
    from coronet.io.scan_sources import find_scans

    refused: list[str] = []
    sources = find_scans(scan, refused=refused)
    if refused or len(sources) != 1:
        raise InputError("; ".join(refused) or f"{scan}: {len(sources)} scans; name one.")
    volume = sources[0].read().volume
    read_strokes(strokes, volume, target=kind)
    known = find_imported(volume, data)
    if known is None and kind == "calcium":
        raise InputError(
            f"{scan} has no heart mask, which calcium is looked for in; draw it first: "
            f"`coronet annotate draw {scan} --target heart --strokes FILE`."
        )
    if known is not None:
        if patient is not None:
            raise InputError(KNOWN_PATIENT)
        return known
    outcome = import_scans([scan], data=data, patient=patient)
    if outcome.refused or len(outcome.added) != 1:
        raise InputError("; ".join(outcome.refused) or f"{scan}: {len(outcome.added)} scans; name one.")
    print_warnings(outcome.warnings)
    return outcome.added[0].case


@annotate_app.command("fit")
def annotate_fit(
    *, target: TargetName = "heart", data: DataFolder = Path("data"), as_json: AsJson = False
) -> None:
    """Measure how well the forest of all scans with strokes tells them apart; drawing needs no `fit`."""
    import json

    from coronet.annotation.annotated_cases import fit_library, report_path

    kind = _target(target)
    forest, scans = fit_library(data, kind)
    result = {
        "target": kind,
        "scans": scans,
        "out_of_bag": round(forest.out_of_bag, 4),
        "report": str(report_path(data, kind)),
    }
    words = f"The {kind} forest learns from {scans} scans (out-of-bag {forest.out_of_bag:.3f})."
    typer.echo(json.dumps(result) if as_json else words)


@annotate_app.command("apply")
def annotate_apply(
    cases: Annotated[list[str], typer.Argument(metavar="CASE…")],
    *,
    target: TargetName = "heart",
    data: DataFolder = Path("data"),
    replace: Replace = False,
    as_json: AsJson = False,
) -> None:
    """Draw masks of new scans by what all scans with strokes teach."""
    import dataclasses
    import json

    from rich.console import Console
    from rich.progress import track

    from coronet.annotation.annotated_cases import annotate_cases as draw
    from coronet.annotation.annotated_cases import annotation_paths, check_replaceable
    from coronet.errors import CoronetError, InputError
    from coronet.lists import check_list

    kind, records, refused = _target(target), [], []
    for case in check_list(cases, "CASE"):
        check_replaceable(annotation_paths(data, case, kind), case, kind, replace=replace)
    console = Console(stderr=True)
    for case in track(cases, "drawing", console=console, disable=not console.is_terminal):
        try:
            records.append(draw(data, case, kind, strokes=None, replace=replace, agatston=_score))
        except CoronetError as error:
            refused.append(str(error))
    typer.echo(
        json.dumps([dataclasses.asdict(record) for record in records])
        if as_json
        else "\n".join(map(_line, records))
    )
    for reason in refused:
        typer.echo(f"refused: {reason}", err=True)
    if refused:
        raise InputError(f"{len(refused)} refused, {len(records)} drawn.")


@annotate_app.command("suggest")
def annotate_suggest(
    cases: Annotated[
        list[str] | None, typer.Argument(metavar="[CASE…]", help="Drawn ones; all by default.")
    ] = None,
    *,
    target: TargetName = "heart",
    data: DataFolder = Path("data"),
    slices: Annotated[int, typer.Option(min=1, help="How many of each scan.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Name the scans and slices where a stroke would help most."""
    import dataclasses
    import json

    from coronet.annotation.annotated_cases import drawn_cases
    from coronet.annotation.suggestions import suggest
    from coronet.errors import InputError
    from coronet.lists import check_list

    kind = _target(target)
    drawn = tuple(record.case for record in drawn_cases(data, kind))
    chosen = check_list(cases, "CASE") if cases else drawn
    if not chosen:
        raise InputError(f"No {kind} is drawn under {data}/annotations; begin with `coronet annotate draw`.")
    found = suggest(data, kind, cases=chosen, slices=slices)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(item) for item in found]))
        return
    for item in found:
        typer.echo(f"{item.case}: {item.uncertain_ml:.1f} ml cannot be told")
        for place in item.slices:
            x, y, z = place.centre_mm
            typer.echo(f"  slice {place.z} ({place.uncertain_mm2:.0f} mm²), near {x:g}, {y:g}, {z:g} mm")
