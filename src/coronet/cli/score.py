"""``coronet score``: one scan by networks, one scan by an existing mask, or a folder of scans."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from coronet.buckets import MANIFEST_SCHEME, SCHEME
from coronet.cli.options import AsJson, ModelsOption
from coronet.errors import InputError
from coronet.files import check_writable, filling, write_text
from coronet.lists import split_list
from coronet.networks.bundled import BUNDLED
from coronet.progress import Pace, Progress

if TYPE_CHECKING:
    from coronet.io.reader import Scan
    from coronet.scoring.batch_table import BatchResult
    from coronet.scoring.score_scan import ScanScore
    from coronet.scoring.score_with_mask import MaskScore

_ALL = "all"


class ScoreCommand(TyperCommand):
    """The command, whose ``--ray`` may stand without an address."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give ``--ray`` an empty address where none follows."""
        bare = [
            text == "--ray" and (not rest or rest[0].startswith("-"))
            for text, rest in ((text, args[place + 1 : place + 2]) for place, text in enumerate(args))
        ]
        return super().parse_args(
            ctx, [f"{text}=" if alone else text for text, alone in zip(args, bare, strict=True)]
        )


def score_command(
    scan: Annotated[
        str,
        typer.Argument(
            metavar="SCAN",
            help="A volume file, a DICOM folder; with --batch a folder; with --ray also a list, "
            "s3://, nlst:MANIFEST.",
        ),
    ],
    *,
    models: ModelsOption = BUNDLED,
    mask: Annotated[
        Path | None,
        typer.Option(help="Score this calcium mask in place of networks: NIfTI, NRRD, MetaImage, DICOM SEG."),
    ] = None,
    labels: Annotated[
        bool, typer.Option("--labels", help="With --mask: its labels are vessels, 1 LM, 2 LAD, 3 LCX, 4 RCA.")
    ] = False,
    vessels: Annotated[
        str | None, typer.Option(help="With --mask: names of its labels 1, 2, …, such as LAD,RCA.")
    ] = None,
    calcium_labels: Annotated[
        str | None, typer.Option(help="With --mask: which of its labels are calcium, such as 3 or 1,2.")
    ] = None,
    resample_mask: Annotated[
        bool, typer.Option("--resample-mask", help="With --mask: allow a mask on another grid.")
    ] = False,
    protocol: Annotated[
        str, typer.Option(help="Rules: coronet, deepcac, ai-cac, orcascore, molloi; all prints one table.")
    ] = "coronet",
    method: Annotated[
        str, typer.Option(help="Which score comes first: agatston, volume_weighted, volume, mass.")
    ] = "agatston",
    calibration: Annotated[
        float | None, typer.Option(help="Calibration factor in mg/(mm³·HU); gives a mass.")
    ] = None,
    groups: Annotated[
        str, typer.Option(help="Risk groups: paper, aha, five, cac-drs; --json gives all.")
    ] = "paper",
    series: Annotated[str | None, typer.Option(help="Which DICOM series, by number or UID.")] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Score even if quality checks fail; the result carries the warnings."),
    ] = False,
    out: Annotated[
        str | None, typer.Option(help="Folder for score.json; without --mask also both masks and a page.")
    ] = None,
    dicom: Annotated[
        Path | None, typer.Option(help="Folder for segmentation.dcm and report.dcm; SCAN is DICOM.")
    ] = None,
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="With --dicom: nothing of patient and study but UIDs.")
    ] = False,
    batch: Annotated[
        bool, typer.Option("--batch", help="SCAN is a folder of scans; each is scored into --out.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="With --batch: retry scans that could not be scored.")
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="[ADDRESS]",
            help="With --batch: by workers of Ray, of the cluster at ADDRESS, or else on this machine.",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="With --ray: how many; as many as there is room for.")
    ] = None,
    worker_cores: Annotated[int, typer.Option(min=1, help="With --ray: cores of each worker.")] = 1,
    worker_gpus: Annotated[
        float, typer.Option(min=0, help="With --ray: GPUs of each worker; 0.5 shares one between two.")
    ] = 0.0,
    endpoint: Annotated[
        str, typer.Option(help="With nlst: address of the object store, by default the Commons'.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """\b
    coronet score scan.nii.gz --out result                 # the networks of the package find the calcium
    coronet score dicom/ --models build                    # your own: build, champion, or by folder
    coronet score scan.nii.gz --mask calcium.nii.gz        # your own calcium mask
    coronet score inbox/ --batch --out scores              # a folder of scans
    coronet score s3://b/ct --batch --ray --out s3://b/out # many cores or machines

    Score coronary calcium: Agatston, volume, weighted volume, mass, risk group.

    The rules are explained in docs/scoring.md, batches in docs/batch.md and docs/cohort.md.
    """
    from coronet.scoring.protocol import find_protocol
    from coronet.scoring.risk_groups import find_groups

    find_groups(groups)
    rules: dict[str, Any] = {
        "protocol": find_protocol("coronet" if protocol == _ALL else protocol),
        "method": method,
        "calibration_factor": calibration,
    }
    if batch and (out is None or mask is not None or series is not None or protocol == _ALL):
        raise InputError(
            "--batch takes a folder of scans, --out and one --protocol, and neither --mask nor --series."
        )
    if mask is None and (labels or resample_mask or not (vessels is calcium_labels is None)):
        raise InputError("--labels, --vessels, --calcium-labels and --resample-mask go with --mask.")
    if ray is None and (workers is not None or worker_cores != 1 or worker_gpus):
        raise InputError("--workers, --worker-cores and --worker-gpus go with --ray.")
    if ray is not None and not batch:
        raise InputError("--ray goes with --batch.")
    if ray is None and any(text.startswith(SCHEME) for text in (scan, out or "")):
        raise InputError("s3:// places go with --batch --ray.")
    if scan.startswith(MANIFEST_SCHEME) and ray is None:
        raise InputError("nlst: manifests go with --batch --ray.")
    if endpoint and not scan.startswith(MANIFEST_SCHEME):
        raise InputError("--endpoint goes with nlst:MANIFEST.")
    if out is not None and not out.startswith(SCHEME):
        check_writable(Path(out))
    if dicom is not None and (batch or mask is not None):
        raise InputError("--dicom writes what networks find in one scan; it takes no --mask and no --batch.")
    if anonymous and dicom is None:
        raise InputError("--anonymous goes with --dicom.")
    if dicom is not None:
        check_writable(dicom)
    if batch:
        assert out is not None
        rules |= {"force": force}
        if ray is None:
            run = functools.partial(_score_batch, Path(scan), Path(out))
        else:
            options = {"address": ray, "count": workers, "cores": worker_cores, "gpus": worker_gpus}
            run = functools.partial(_score_cohort, scan, out, options, commons=endpoint)
        run(models, groups=groups, again=again, as_json=as_json, **rules)
        return
    names = _vessel_names(labels, vessels)
    found: ScanScore | MaskScore
    save: Callable[[Path], object]
    if mask is None:
        from coronet import api
        from coronet.report.scan_page import write_scan_result

        read = scan if dicom is None else _dicom_scan(Path(scan), series)
        found = api.score(read, models, series=series, force=force, **rules)
        if dicom is not None:
            found.save_dicom(dicom, anonymous=anonymous)
        save = functools.partial(write_scan_result, scored=found)
    else:
        from coronet.scoring.score_with_mask import score_mask

        found = score_mask(
            Path(scan),
            mask,
            vessels=names,
            labels=split_list(calcium_labels, "--calcium-labels"),
            series=series,
            resample_mask=resample_mask,
            **rules,
        )
        save = found.save
    compared = _compare_protocols(found, calibration, names) if protocol == _ALL else []
    if out is not None:
        with filling(Path(out)) as part:
            save(part)
            if compared:
                _write_table(part / "protocols.csv", compared)
    if as_json:
        answer = found.to_json()
        typer.echo(json.dumps(answer | {"protocols": compared} if compared else answer))
    else:
        table = ["", *_table_lines(compared, groups)] if compared else []
        typer.echo("\n".join([*found.lines(groups), *table]))


def _dicom_scan(path: Path, series: str | None) -> Scan:
    """The scan, read before any network runs.

    Raises:
        InputError: it is no DICOM, or nothing can refer to its files.
    """
    from coronet.io.reader import read_scan

    scan = read_scan(path, series=series)
    if scan.slices is None:
        raise InputError(
            f"{path} is no DICOM series, which --dicom needs: its results refer to the slices of the scan. "
            "Give the DICOM folder, or leave --dicom out."
        )
    if scan.slices.fault:
        raise InputError(f"{path}: no DICOM result can be written: {scan.slices.fault}.")
    return scan


def _vessel_names(labels: bool, vessels: str | None) -> Mapping[int, str] | None:
    """Names of the mask's labels, where ``--labels`` or ``--vessels`` says that they are vessels."""
    from coronet.scoring.calcium_score import VESSELS

    named = split_list(vessels, "--vessels")
    return dict(enumerate(named, start=1)) if named else VESSELS if labels else None


def _compare_protocols(
    found: ScanScore | MaskScore, calibration: float | None, vessels: Mapping[int, str] | None
) -> list[dict[str, Any]]:
    """The scores of the same mask under every protocol."""
    from coronet.scoring.calcium_score import score_under_all

    results = score_under_all(
        found.ct, found.mask, found.result, calibration_factor=calibration, vessels=vessels
    )
    return [
        {"protocol": name, **dataclasses.asdict(result.scores), "groups": result.groups}
        for name, result in results.items()
    ]


def _write_table(path: Path, compared: list[dict[str, Any]]) -> None:
    import pandas

    table = pandas.DataFrame([{**row, **row["groups"]} for row in compared]).drop(columns="groups")
    write_text(path, table.to_csv(index=False))


def _table_lines(compared: list[dict[str, Any]], groups: str) -> list[str]:
    head = f"{'protocol':<10}{'agatston':>10}{'weighted mm³':>14}{'volume mm³':>12}{'mass mg':>9}  group"
    lines = [f"{head} ({groups})"]
    for row in compared:
        mass = "-" if row["mass_mg"] is None else f"{row['mass_mg']:.2f}"
        lines.append(
            f"{row['protocol']:<10}{row['agatston']:>10.1f}{row['volume_weighted']:>14.1f}"
            f"{row['volume_mm3']:>12.1f}{mass:>9}  {row['groups'][groups]}"
        )
    return lines


def _score_batch(
    folder: Path, out: Path, models: str, *, groups: str, again: bool, as_json: bool, **rules: Any
) -> None:
    """Score each scan of ``folder`` into ``out`` and print the table; ``rules`` are those of a `Scorer`.

    Raises:
        InputError: some scans could not be scored; all others are.
    """
    from coronet import api

    with Progress("score") as progress:
        found = api.score_batch(
            folder, out, models, groups=groups, again=again, progress=progress.update, **rules
        )
    _print_batch(found, f"{out}", as_json=as_json)


def _score_cohort(
    place: str,
    out: str,
    options: Mapping[str, Any],
    models: str,
    *,
    groups: str,
    again: bool,
    as_json: bool,
    **rules: Any,
) -> None:
    """Score each scan of ``place`` by workers of Ray; ``options`` are those of `WorkerOptions`.

    Raises:
        InputError: some scans could not be scored; all others are.
    """
    from coronet import api
    from coronet.scoring.cohort_worker import WorkerOptions

    with Progress("score") as progress:
        pace = Pace()
        found = api.score_cohort(
            place,
            out,
            models,
            workers=WorkerOptions(**options),
            groups=groups,
            again=again,
            progress=lambda done, total: progress.update(done, total, note=pace.note(done, total)),
            **rules,
        )
    _print_batch(found, out, as_json=as_json)


def _print_batch(found: BatchResult, out: str, *, as_json: bool) -> None:
    from coronet.scoring.batch import TABLE

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
            f"{out.rstrip('/')}/{TABLE} says why, and --again tries them once more."
        )
