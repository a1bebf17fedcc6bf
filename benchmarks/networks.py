"""How good networks are on what they did not learn from: new phantoms of both ranges, and real CT.

    python benchmarks/networks.py [--models bundled] [--realistic 64 | FOLDER] [--wild 40 | FOLDER] [--real]

Phantoms are drawn with exact masks from seeds that no cohort of the project has; a number says how many, a
folder of `coronet data phantom --masks exact` is measured as it is. --real needs ../shared/data and unpacks
it once; what a reader saw in these scans is in real_scans.yaml.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import coronet
from coronet import config
from coronet.dataset.cases import find_case, find_cases, find_reference, load_mask
from coronet.dataset.split import Member, Split
from coronet.errors import UnsuitableScan
from coronet.evaluation.cohort import METRICS, score_cohort
from coronet.files import read_json, write_json
from coronet.imaging.mask_metrics import overlap
from coronet.inference.predict import largest_heart, predict_heart
from coronet.io.masks import read_mask
from coronet.io.reader import read_scan
from coronet.io.volume import read_nifti
from coronet.networks.factory import load_model
from coronet.phantom.annotated_cohort import make_cohort
from coronet.progress import Progress
from coronet.registry.resolve_models import resolve_models
from coronet.scoring.vessel_labels import label_vessels

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
SEEDS = {"realistic": 4101, "wild": 4102}
NEAR_MM = 6.0
"""A place that a reader noted counts as marked where a counted voxel lies this near to it in its slices."""


def measure_phantoms(data: Path, folders: Mapping[str, Path], params: config.Params) -> dict[str, Any]:
    """The stage's figures of all cases of ``data``, and the share of calcium volume that is found."""
    cases = [case.id for case in find_cases(data)]
    split = Split(seed=0, members=tuple(Member(case, case, "test", "none") for case in cases))
    with tempfile.TemporaryDirectory(prefix="coronet-networks-") as name, Progress("score") as progress:
        out = Path(name) / "scores"
        rows = score_cohort(
            data,
            split,
            heart_fit=folders["heart"],
            calcium_fit=folders["calcium"],
            out=out,
            params=params,
            with_drawn=False,
            progress=progress.update,
        )
        metrics: dict[str, Any] = read_json(out / METRICS)
        calibration = load_model(folders["calcium"]).calibration
        vessels = calibration.vessels if calibration else None
        found = true = 0.0
        named: list[VesselOutcome] = []
        for row in rows:
            case = find_case(data, row.case)
            reference = find_reference(case, "calcium")
            assert reference is not None
            ct = read_nifti(case.ct)
            truth = load_mask(reference.path, ct)
            mine = out / "masks" / f"{row.case}_calcium.nii.gz"
            predicted = load_mask(mine, ct) if mine.exists() else np.zeros_like(truth)
            found += np.count_nonzero((truth > 0) & (predicted > 0)) * ct.voxel_mm3
            true += np.count_nonzero(truth) * ct.voxel_mm3
            heart = out / "masks" / f"{row.case}_heart.nii.gz"
            if vessels and heart.exists():
                labels = label_vessels(predicted > 0, load_mask(heart, ct) > 0, vessels)
                named.append(compare_vessels(truth, labels))
    if named:
        metrics["vessels"] = {
            "lesions": sum(item.lesions for item in named),
            "right": sum(item.right for item in named),
            "voxels": sum(item.voxels for item in named),
            "voxels_right": sum(item.voxels_right for item in named),
            "counts_right": sum(item.count == item.true_count for item in named),
            "cases": len(named),
        }
    return {**metrics, "volume_sensitivity": found / true, "rows": [vars(row) for row in rows]}


@dataclasses.dataclass(frozen=True)
class VesselOutcome:
    """Named vessels of a scan against the exact mask, for what both call calcium."""

    lesions: int
    right: int
    voxels: int
    voxels_right: int
    count: int  # vessels with calcium as found
    true_count: int


def compare_vessels(truth: np.ndarray, labels: np.ndarray) -> VesselOutcome:
    """Compare two labelled calcium masks of one shape (x, y, z), lesion by lesion of the true one."""
    import cc3d

    both = (truth > 0) & (labels > 0)
    lesion, right = cc3d.connected_components(truth, connectivity=26)[both], (truth == labels)[both]
    size = np.bincount(lesion)
    seen = size > 0
    share = np.bincount(lesion, weights=right)[seen] / size[seen]
    counts = [len(np.unique(mask[mask > 0])) for mask in (labels, truth)]
    return VesselOutcome(
        int(seen.sum()), int((share > 0.5).sum()), int(both.sum()), int(right.sum()), *counts
    )


def phantom_table(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and value of the figures."""
    agreement, lesions, free = found["agreement"], found["lesions"], found["calcium_free"]
    yield "scans, not scored", f"{found['cases']}, {len(found['skipped'])}"
    yield (
        "heart Dice, mean (lowest)",
        f"{found['heart_dice']['mean']:.3f} ({found['heart_dice']['lowest']:.3f})",
    )
    yield "risk groups, linear kappa", f"{agreement['kappa_linear']:.3f}"
    yield "same group", f"{agreement['same_group']['same']} of {agreement['same_group']['of']}"
    yield "score, ICC(2,1), mean absolute error", f"{agreement['icc2_1']:.3f}, {found['score_error']:.1f}"
    yield "lesions found", f"{lesions['found']} of {lesions['true']} ({lesions['sensitivity']:.3f})"
    yield "calcium volume found", f"{found['volume_sensitivity']:.3f}"
    yield "false lesions a scan", f"{lesions['false_per_scan']:.3f}"
    yield "calcium-free scans with score 0", f"{free['scored_zero']} of {free['cases']}"
    if vessels := found.get("vessels"):
        share = vessels["voxels_right"] / max(vessels["voxels"], 1)
        yield "vessel right, lesions (volume)", f"{vessels['right']} of {vessels['lesions']} ({share:.3f})"
        yield "number of vessels right", f"{vessels['counts_right']} of {vessels['cases']}"
    if certainty := found["certainty"]:
        interval, groups = certainty["interval"], certainty["groups"]
        yield "90 % interval holds the score", f"{interval['covered']} of {interval['cases']}"
        yield (
            "its median width, repeatability limit",
            f"{interval['median_width']:.0f}, {interval['median_limit']:.0f}",
        )
        yield "90 % set of groups holds the group", f"{groups['held']} of {interval['cases']}"
        yield "sets of one group, right of them", f"{groups['sure']}, {groups['sure_and_right']}"
        calibrated, network = certainty["calibrated"], certainty["network"]
        yield "calibration error, calibrated (network)", f"{calibrated['error']:.3f} ({network['error']:.3f})"


def real_hearts(heart: Path) -> Iterator[tuple[str, str]]:
    """Dice on the three LIDC scans with a drawn heart."""
    model = load_model(heart)
    for name in ("0187", "0506", "0909"):
        ct = read_scan(SHARED / "lidc_3mm" / f"{name}_img.nrrd").volume
        path = SHARED / "lidc_3mm" / f"{name}_msk.nrrd"
        labels = read_mask(path, ct, labels=(1, 3), absent_allowed=True).labels > 0
        mask = largest_heart(predict_heart(ct, model), ct, model.params.threshold)
        yield f"heart Dice, LIDC {name}", f"{overlap(labels, mask).dice:.3f}"


def real_scores(models: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    """Scores of real scans, and which of the noted places are counted."""
    folder = Path(
        subprocess.run(
            ["sh", SHARED / "unpack.sh"], check=True, capture_output=True, text=True
        ).stdout.split()[-1]
    )
    pair = coronet.load_models(",".join(f"{name}={path}" for name, path in models.items()))
    listed = yaml.safe_load((Path(__file__).parent / "real_scans.yaml").read_text())
    for name in (*listed["calcium_free"], *listed["calcified"]):
        try:
            score = coronet.score(folder / name, pair)
        except UnsuitableScan as refusal:
            yield name, f"refused: {refusal}"
            continue
        sure = score.uncertainty
        said = f"{score.agatston:.1f}, {score.result.groups['paper']}"
        if sure:
            said += f"; {sure.low:.0f} to {sure.high:.0f}, {' or '.join(sure.likely['paper'])}"
        yield name, said
        for kind, places in listed["calcified"].get(name, {}).items():
            counted = score.mask
            for place, where in places.items():
                marked = _marked(counted, score.ct.spacing_mm, **where)
                yield f"  {kind}: {place}", "counted" if marked else "not counted"


def _marked(
    mask: np.ndarray, spacing_mm: Sequence[float], *, slices: Sequence[int], at: Sequence[int] | None = None
) -> bool:
    """Whether the mask (x, y, z; RAS+) has a voxel in the slices, near (row, column) of the stored image."""
    part = mask[:, :, slices[0] : slices[1] + 1]
    if at is not None:
        column, row = mask.shape[0] - 1 - at[1], mask.shape[1] - 1 - at[0]
        reach = round(NEAR_MM / spacing_mm[0])
        part = part[max(column - reach, 0) : column + reach + 1, max(row - reach, 0) : row + reach + 1]
    return bool(part.any())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", default="bundled", help="as of `coronet score --models`")
    for ranges in SEEDS:
        parser.add_argument(f"--{ranges}", help="how many phantoms, or a folder of them")
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--json", type=Path, help="write all figures here too")
    given = parser.parse_args()
    folders, found = resolve_models(given.models), {}
    params = config.load_params(ROOT / "params.yaml")
    for ranges, seed in SEEDS.items():
        asked = getattr(given, ranges)
        if not asked:
            continue
        with tempfile.TemporaryDirectory(prefix="coronet-phantoms-") as name:
            data = Path(name) if asked.isdigit() else Path(asked)
            if asked.isdigit():
                make_cohort(
                    data, masks="exact", cases=int(asked), seed=seed, ranges=ranges, workers=os.cpu_count()
                )
            found[ranges] = measure_phantoms(data, folders, params)
        _print(f"{ranges} phantoms", phantom_table(found[ranges]))
    if given.real:
        _print("real hearts", real_hearts(folders["heart"]))
        _print("real scans", real_scores(folders))
    if given.json:
        write_json(given.json, found)


def _print(title: str, rows: Iterator[tuple[str, str]]) -> None:
    print(f"\n{title}")
    for name, value in rows:
        print(f"  {name:<55} {value}", flush=True)


if __name__ == "__main__":
    main()
