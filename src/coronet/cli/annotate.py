"""``coronet annotate``: masks from a few strokes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from coronet.cli.options import AsJson, DataFolder, print_warnings
from coronet.errors import CoronetError, InputError
from coronet.lists import check_list
from coronet.progress import waiting
from coronet.text import counted

if TYPE_CHECKING:
    from coronet.annotation.mask_provenance import Provenance
    from coronet.annotation.named_pieces import BrightPiece
    from coronet.annotation.strokes import Target

annotate_app = typer.Typer(no_args_is_help=True)

TargetName = Annotated[str, typer.Option("--target", help="heart or calcium.")]
Replace = Annotated[bool, typer.Option("--replace", help="Overwrite a mask that this tool did not draw.")]

_KNOWN_PATIENT = "--patient belongs to a scan that is imported; this case is in the cohort already."


def _target(name: str) -> Target:
    from coronet.annotation.strokes import STROKE_LABELS

    if name not in STROKE_LABELS:
        raise InputError(f'--target "{name}" must be heart or calcium.')
    return cast("Target", name)


def _score(volume, mask) -> float:
    from coronet.scoring.calcium_score import score_calcium

    return score_calcium(volume, mask).scores.agatston


def _wrong_share(out_of_bag: float, target: str) -> str:
    """The out-of-bag score in words."""
    unit = "blocks" if target == "heart" else "pieces"
    return (
        f"the forest was wrong on {100 * (1 - out_of_bag):.0f} % of the {unit} that it had not learned from"
    )


def _report_lines(record: Provenance, data: Path) -> str:
    """What was drawn, what no stroke labels, and where it was saved."""
    from coronet.annotation.annotated_cases import annotation_paths

    library = counted(record.library_scans, "other scan") if record.library_scans else "no other scan"
    learned = f"learned from {library}"
    wrong = "" if record.out_of_bag is None else f"; {_wrong_share(record.out_of_bag, record.target)}"
    tally, lines = record.tally, []
    if tally is None:
        lines.append(
            f"{record.case}: {record.target} of {record.mask_ml:.1f} ml; {record.uncertain_ml:.1f} ml are "
            f"uncertain (probability 25 to 75 %); {learned}{wrong}"
        )
    else:
        score = "" if record.agatston is None else f", Agatston score {record.agatston:.1f}"
        rest = wrong if record.forest else "; only pieces that strokes label are drawn"
        lines.append(
            f"{record.case}: calcium of {counted(tally.pieces, 'piece')} ({tally.unreviewed} labelled by no "
            f"stroke), {tally.mm3:.1f} mm³{score}; {learned}{rest}"
        )
        if tally.unreviewed:
            places = ", ".join(
                f"({', '.join(f'{value:g}' for value in place)})" for place in tally.unreviewed_at_mm
            )
            more = ", …" if tally.unreviewed > len(tally.unreviewed_at_mm) else ""
            lines.append(f"  labelled by no stroke: at {places}{more} mm")
        if tally.left_out:
            lines.append(f"  bright pieces left out, labelled by no stroke: {tally.left_out}")
        if tally.missed:
            lines.append(f"  strokes that touch no bright piece: {tally.missed}")
    paths = annotation_paths(data, record.case, record.target)
    return "\n".join([*lines, f"  mask: {paths.mask}", f"  picture: {paths.picture}"])


def _plain(record: Provenance, data: Path) -> dict:
    from coronet.annotation.annotated_cases import annotation_paths

    paths = annotation_paths(data, record.case, record.target)
    return dataclasses.asdict(record) | {"mask": str(paths.mask), "picture": str(paths.picture)}


@annotate_app.command("draw")
def annotate_draw(
    scan: Annotated[str, typer.Argument(metavar="CASE|SCAN", help="A case, or a scan to be imported.")],
    *,
    target: TargetName = "heart",
    strokes: Annotated[Path, typer.Option(help="JSON, sparse NIfTI labels or .seg.nrrd.")],
    data: DataFolder = Path("data"),
    replace: Replace = False,
    alone: Annotated[bool, typer.Option("--alone", help="Learn from this scan's strokes only.")] = False,
    patient: Annotated[
        str | None, typer.Option(help="Patient of a scan that is imported; kept as a keyed hash only.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw a mask from strokes; docs/annotate.md has their format."""
    from coronet.annotation.annotated_cases import annotate_case
    from coronet.annotation.strokes import check_stroke_file
    from coronet.dataset.cases import CASE_PATTERN, scan_path
    from coronet.io.patient_identity import given_patient

    case, kind = scan, _target(target)
    if patient is not None:
        given_patient(patient)
    check_stroke_file(strokes, target=kind)
    if not (CASE_PATTERN.fullmatch(scan) and scan_path(data, scan).exists()) and Path(scan).exists():
        with waiting(f"importing {scan}"):
            case = _import(Path(scan), data, kind, strokes, patient)
    elif patient is not None:
        raise InputError(_KNOWN_PATIENT)
    with waiting(f"drawing the {kind} of {case}"):
        record = annotate_case(
            data, case, kind, strokes=strokes, use_library=not alone, replace=replace, agatston=_score
        )
    typer.echo(json.dumps(_plain(record, data)) if as_json else _report_lines(record, data))


def _import(scan: Path, data: Path, kind: Target, strokes: Path, patient: str | None) -> str:
    """Import a scan that is no case yet, after its strokes were checked against it."""
    from coronet.annotation.stroke_voxels import read_strokes
    from coronet.dataset.import_scans import import_scans
    from coronet.dataset.pseudonyms import find_imported
    from coronet.io.reader import find_scans

    refused: list[str] = []
    sources = find_scans(scan, refused=refused)
    if refused or len(sources) != 1:
        raise InputError("; ".join(refused) or f"{scan}: {len(sources)} scans; name one.")
    volume = sources[0].read().volume
    read_strokes(strokes, volume, target=kind)
    imported = find_imported(volume, data)
    if imported is None and kind == "calcium":
        raise InputError(
            f"{scan} has no heart mask, in which calcium is searched; draw it first: "
            f"`coronet annotate draw {scan} --target heart --strokes FILE`."
        )
    if imported is not None:
        if patient is not None:
            raise InputError(_KNOWN_PATIENT)
        return imported
    outcome = import_scans([scan], data=data, patient=patient)
    if outcome.refused or len(outcome.added) != 1:
        raise InputError("; ".join(outcome.refused) or f"{scan}: {len(outcome.added)} scans; name one.")
    print_warnings(outcome.warnings)
    return outcome.added[0].case


@annotate_app.command("pieces")
def annotate_pieces(
    case: Annotated[str, typer.Argument(metavar="CASE")],
    *,
    data: DataFolder = Path("data"),
    most: Annotated[int, typer.Option(min=1, help="Lines at most; --json lists all.")] = 40,
    as_json: AsJson = False,
) -> None:
    """List bright pieces with number, place, mm³ and HU."""
    from coronet.annotation.annotated_cases import list_pieces

    with waiting(f"searching bright pieces of {case}"):
        pieces = list_pieces(data, case)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(piece) for piece in pieces]))
    else:
        typer.echo("\n".join(_piece_lines(case, pieces, most)))


def _piece_lines(case: str, pieces: tuple[BrightPiece, ...], most: int) -> list[str]:
    lines = [
        f"{case}: {counted(len(pieces), 'bright piece')} in the heart mask or near it, the largest first"
    ]
    if not pieces:
        return lines
    lines.append(f"{'piece':>6} {'x':>8} {'y':>8} {'z mm':>8} {'mm³':>9} {'peak HU':>8}")
    for piece in pieces[:most]:
        place = " ".join(f"{value:8.1f}" for value in piece.centre_mm)
        note = "  goes on outside, as bones do" if piece.beyond_margin else ""
        lines.append(f"{piece.number:6d} {place} {piece.volume_mm3:9.1f} {piece.peak_hu:8d}{note}")
    if len(pieces) > most:
        lines.append(f"and {len(pieces) - most} smaller; --most shows more")
    lines.append(
        f'In a stroke file: {{"label": "coronary", "piece": {pieces[0].number}}}. '
        "The numbers hold as long as scan and heart mask stay the same."
    )
    return lines


@annotate_app.command("fit")
def annotate_fit(
    *, target: TargetName = "heart", data: DataFolder = Path("data"), as_json: AsJson = False
) -> None:
    """Measure the forest of all annotated scans.

    Drawing needs no fit.
    """
    from coronet.annotation.annotated_cases import fit_library, report_path

    kind = _target(target)
    with waiting(f"fitting the {kind} forest"):
        forest, scans = fit_library(data, kind)
    result = {
        "target": kind,
        "scans": scans,
        "out_of_bag": round(forest.out_of_bag, 4),
        "report": str(report_path(data, kind)),
    }
    wrong = _wrong_share(forest.out_of_bag, kind)
    text = f"The {kind} forest learns from {counted(scans, 'scan')}; {wrong}. Report: {result['report']}"
    typer.echo(json.dumps(result) if as_json else text)


@annotate_app.command("apply")
def annotate_apply(
    cases: Annotated[list[str], typer.Argument(metavar="CASE…")],
    *,
    target: TargetName = "heart",
    data: DataFolder = Path("data"),
    replace: Replace = False,
    as_json: AsJson = False,
) -> None:
    """Draw masks of new scans with the forest of all annotated scans."""
    from coronet.annotation.annotated_cases import annotate_case, annotation_paths, check_replaceable

    kind, records, refused = _target(target), [], []
    chosen = check_list(cases, "CASE")
    for case in chosen:
        check_replaceable(annotation_paths(data, case, kind), case, kind, replace=replace)
    for number, case in enumerate(chosen, 1):
        try:
            with waiting(f"drawing the {kind} of {case}, {number} of {len(chosen)}"):
                record = annotate_case(data, case, kind, strokes=None, replace=replace, agatston=_score)
        except CoronetError as error:
            refused.append(str(error))
        else:
            records.append(record)
    if as_json:
        typer.echo(json.dumps([_plain(record, data) for record in records]))
    else:
        typer.echo("\n".join(_report_lines(record, data) for record in records))
    for reason in refused:
        typer.echo(f"refused: {reason}", err=True)
    if refused:
        raise InputError(f"{len(refused)} refused, {len(records)} drawn.")


@annotate_app.command("suggest")
def annotate_suggest(
    cases: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CASE…]", help="With a mask from strokes; all by default."),
    ] = None,
    *,
    target: TargetName = "heart",
    data: DataFolder = Path("data"),
    slices: Annotated[int, typer.Option(min=1, help="How many of each scan.")] = 3,
    as_json: AsJson = False,
) -> None:
    """List the scans and slices where a stroke would help most."""
    from coronet.annotation.annotated_cases import annotated_cases
    from coronet.annotation.suggestions import suggest

    kind = _target(target)
    chosen = check_list(cases, "CASE") if cases else tuple(item.case for item in annotated_cases(data, kind))
    if not chosen:
        raise InputError(
            f"No {kind} mask under {data}/annotations comes from strokes; begin with `coronet annotate draw`."
        )
    with waiting("reading uncertainty maps"):
        found = suggest(data, kind, cases=chosen, slices=slices)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(item) for item in found]))
        return
    for item in found:
        ml = item.uncertain_ml
        volume = f"{ml:.1f} ml" if kind == "heart" else f"{1000 * ml:.0f} mm³"
        typer.echo(f"{item.case}: {volume} uncertain, each voxel weighted with its uncertainty")
        for place in item.slices:
            x, y, z = place.centre_mm
            typer.echo(f"  {place.name}: {place.uncertain_mm2:.0f} mm², around ({x:g}, {y:g}, {z:g}) mm")
