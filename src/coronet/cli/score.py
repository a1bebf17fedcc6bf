"""``coronet score``: one scan by networks, one scan by an existing mask, or a folder of scans."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coronet.cli.options import AsJson, ModelsOption

if TYPE_CHECKING:
    from coronet.scoring.score_scan import ScanScore
    from coronet.scoring.score_with_mask import MaskScore

_ALL = "all"


@dataclasses.dataclass(frozen=True)
class _Rules:
    """How any mask is scored: options of both ways."""

    protocol: str
    method: str
    calibration: float | None
    groups: str

    @property
    def scoring(self) -> dict[str, Any]:
        """Arguments of the scoring functions."""
        chosen = "coronet" if self.protocol == _ALL else self.protocol
        return {"protocol": chosen, "method": self.method, "calibration_factor": self.calibration}


def score_command(
    scan: Annotated[
        Path, typer.Argument(metavar="SCAN", help="A volume file, a DICOM folder, or a folder with --batch.")
    ],
    *,
    models: ModelsOption = "build",
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
    probability: Annotated[
        Path | None, typer.Option(help="With --mask: a map of calcium probability, for the uncertainty.")
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
        Path | None, typer.Option(help="Folder for score.json; without --mask also both masks and a page.")
    ] = None,
    batch: Annotated[
        bool, typer.Option("--batch", help="SCAN is a folder of scans; each is scored into --out.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="With --batch: retry scans that could not be scored.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """\b
    coronet score scan.nii.gz --out result                 # networks find the calcium
    coronet score dicom/ --models champion
    coronet score scan.nii.gz --mask calcium.nii.gz        # your own calcium mask
    coronet score inbox/ --batch --out scores              # a folder of scans

    Score coronary calcium: Agatston, volume, weighted volume, mass, risk group.

    The rules are explained in docs/scoring.md, batches in docs/batch.md.
    """
    from coronet.errors import InputError
    from coronet.files import check_writable
    from coronet.scoring.protocol import find_protocol
    from coronet.scoring.risk_groups import find_groups

    rules = _Rules(protocol, method, calibration, find_groups(groups).name)
    find_protocol(rules.scoring["protocol"])
    if batch and (out is None or mask is not None or series is not None or protocol == _ALL):
        raise InputError(
            "--batch takes a folder of scans, --out and one --protocol, and neither --mask nor --series."
        )
    if mask is None and (labels or resample_mask or not (vessels is calcium_labels is probability is None)):
        raise InputError(
            "--labels, --vessels, --calcium-labels, --probability and --resample-mask go with --mask."
        )
    if out is not None:
        check_writable(out)
    if batch:
        from coronet.cli.batch import score_batch

        assert out is not None
        score_batch(
            scan,
            out,
            models=models,
            scoring=rules.scoring,
            groups=groups,
            force=force,
            again=again,
            as_json=as_json,
        )
    elif mask is None:
        _score_by_networks(scan, models, rules, series=series, force=force, out=out, as_json=as_json)
    else:
        _score_by_mask(
            scan,
            mask,
            rules,
            labels=labels,
            vessels=vessels,
            calcium_labels=calcium_labels,
            probability=probability,
            resample_mask=resample_mask,
            series=series,
            out=out,
            as_json=as_json,
        )


def _score_by_networks(
    scan: Path,
    models: str,
    rules: _Rules,
    *,
    series: str | None,
    force: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Let networks find heart and calcium, and score the calcium."""
    from coronet import api
    from coronet.files import filling
    from coronet.report.scan_page import write_scan_result

    found = api.score(scan, models, series=series, force=force, **rules.scoring)
    compared = _compare_protocols(found, rules)
    if out is not None:
        with filling(out) as part:
            write_scan_result(part, found)
            _write_table(part, compared)
    _print_score(found, rules, compared, as_json=as_json)


def _score_by_mask(
    scan: Path,
    mask: Path,
    rules: _Rules,
    *,
    labels: bool,
    vessels: str | None,
    calcium_labels: str | None,
    probability: Path | None,
    resample_mask: bool,
    series: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Score an existing calcium mask; no network is loaded."""
    from coronet.files import filling
    from coronet.lists import split_list
    from coronet.scoring.calcium_score import VESSELS
    from coronet.scoring.score_with_mask import score_mask

    named = split_list(vessels, "--vessels")
    names = dict(enumerate(named, start=1)) if named else VESSELS if labels else None
    found = score_mask(
        scan,
        mask,
        vessels=names,
        labels=split_list(calcium_labels, "--calcium-labels"),
        probability=probability,
        series=series,
        resample_mask=resample_mask,
        **rules.scoring,
    )
    compared = _compare_protocols(found, rules, names)
    if out is not None:
        with filling(out) as part:
            found.save(part)
            _write_table(part, compared)
    _print_score(found, rules, compared, as_json=as_json)


def _compare_protocols(
    found: ScanScore | MaskScore, rules: _Rules, vessels: Mapping[int, str] | None = None
) -> list[dict[str, Any]]:
    """The scores of the same mask under every protocol; empty unless ``--protocol all`` asks for it."""
    if rules.protocol != _ALL:
        return []
    from coronet.scoring.calcium_score import score_under_all

    results = score_under_all(
        found.ct, found.mask, found.result, calibration_factor=rules.calibration, vessels=vessels
    )
    return [
        {"protocol": name, **dataclasses.asdict(result.scores), "groups": result.groups}
        for name, result in results.items()
    ]


def _write_table(folder: Path, compared: list[dict[str, Any]]) -> None:
    if compared:
        import pandas

        from coronet.files import write_text

        rows = [{**row, **row["groups"]} for row in compared]
        table = pandas.DataFrame(rows).drop(columns="groups")
        write_text(folder / "protocols.csv", table.to_csv(index=False))


def _print_score(
    found: ScanScore | MaskScore, rules: _Rules, compared: list[dict[str, Any]], *, as_json: bool
) -> None:
    import json

    if as_json:
        answer = found.to_json()
        typer.echo(json.dumps(answer | {"protocols": compared} if compared else answer))
        return
    lines = found.lines(rules.groups)
    if compared:
        head = f"{'protocol':<10}{'agatston':>10}{'weighted mm³':>14}{'volume mm³':>12}{'mass mg':>9}  group"
        lines += ["", f"{head} ({rules.groups})"]
        for row in compared:
            mass = "-" if row["mass_mg"] is None else f"{row['mass_mg']:.2f}"
            lines.append(
                f"{row['protocol']:<10}{row['agatston']:>10.1f}{row['volume_weighted']:>14.1f}"
                f"{row['volume_mm3']:>12.1f}{mass:>9}  {row['groups'][rules.groups]}"
            )
    typer.echo("\n".join(lines))
