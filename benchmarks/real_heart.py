"""The heart network on real chest CT: phantoms alone, then leave-one-out over three real cases.

    python benchmarks/real_heart.py [--work mlruns/real-heart] [--phantoms 120]

Its parameters are in real_heart.yaml. Phantoms are drawn from the wild and the realistic ranges; the scans
and their heart masks come from ../shared/data/lidc_3mm, and without that folder the script says so and ends.
No real case trains or tunes a network that is measured on it: a fold learns from the two others beside some
phantoms, starts from the phantoms' network, and keeps the epoch that is best on phantoms kept aside.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import yaml
from transfer_pairs import draw_heart_pair

from coronet.config import ModelParams, Params, load_params
from coronet.config.schema import build
from coronet.dataset import cases
from coronet.dataset.import_masks import MaskSources
from coronet.dataset.import_scans import import_scans
from coronet.dataset.split import Member, Split
from coronet.evaluation.segmentation import evaluate_model
from coronet.files import read_json, write_json
from coronet.io.volume import Volume, write_nifti
from coronet.phantom.ranges import REALISTIC, WILD
from coronet.preprocessing.prepared_store import prepare_model
from coronet.training.fit import fit_model

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT.parent / "shared" / "data" / "lidc_3mm"
NAMES = ("0187", "0506", "0909")
DEEPCAC = {"0187": 0.951, "0506": 0.921, "0909": 0.936}
"""Dice of DeepCAC's localisation on the same masks, for comparison."""
SPACING_MM, SHAPE = (3.5, 3.5, 3.5), (104, 104, 96)
SEED = 77
TUNE_EVERY = 20
REALISTIC_OF_FIVE = 2
"""Phantoms of each five that are drawn from the realistic ranges; the others are wild."""
FOLD_PATCHES, FOLD_RATE = 64, 0.0005


def draw(data: Path, index: int) -> None:
    """Write one phantom as a case."""
    name = f"wild-{index:04d}"
    if cases.mask_path(data, name, "heart").exists():
        return
    ranges = REALISTIC if index % 5 < REALISTIC_OF_FIVE else WILD
    ct, heart = draw_heart_pair(SEED, index, spacing_mm=SPACING_MM, shape=SHAPE, ranges=ranges)
    hu = np.clip(np.rint(ct.array), -3024, 3071).astype(np.int16)
    write_nifti(cases.scan_path(data, name), Volume(hu, ct.affine), level=1)
    cases.write_facts(data, name, cases.ScanFacts(patient=name, source="phantom"))
    write_nifti(cases.mask_path(data, name, "heart"), Volume(heart.astype(np.uint8), ct.affine), level=1)


def add_real(data: Path) -> None:
    """Write the three real scans with the hearts of their label maps; calcium lies inside the heart."""
    for name in NAMES:
        if not cases.mask_path(data, name, "heart").exists():
            masks = MaskSources(heart=REAL / f"{name}_msk.nrrd", heart_labels=(1, 3))
            import_scans([REAL / f"{name}_img.nrrd"], data=data, masks=masks, case=name, patient=name)


def as_split(**parts: list[str]) -> Split:
    """A split of named cases, each its own patient."""
    members = [Member(case, case, part, "none") for part, names in parts.items() for case in names]
    return Split(seed=SEED, members=tuple(sorted(members, key=lambda member: member.case)))


def measured(folder: Path, names: list[str]) -> dict[str, float]:
    """Dice by case from an evaluation."""
    lines = (folder / "cases.csv").read_text().splitlines()
    header = lines[0].split(",")
    rows = [dict(zip(header, line.split(","), strict=True)) for line in lines[1:]]
    return {row["case"]: round(float(row["dice"]), 4) for row in rows if row["case"] in names}


def learn(
    data: Path,
    parts: Split,
    params: Params,
    work: Path,
    *,
    start: Path | None = None,
    epochs: int | None = None,
) -> Path:
    """Prepare and train; return the folder of the model."""
    chosen = params.heart
    if epochs is not None:
        optimiser = dataclasses.replace(
            chosen.optimiser, epochs=epochs, patches_per_epoch=FOLD_PATCHES, learning_rate=FOLD_RATE
        )
        chosen = dataclasses.replace(chosen, optimiser=optimiser)
    if not (work / "prepared").exists():
        prepare_model("heart", cases.find_cases(data), parts, params, work / "prepared")
    fit_model(
        "heart",
        work / "prepared",
        chosen,
        train_cases=parts.cases("train"),
        tune_cases=parts.cases("tune"),
        seed=params.seed,
        out=work / "fit",
        work=work / "work",
        start=start,
    )
    return work / "fit"


def main() -> None:
    """Draw, train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / "mlruns" / "real-heart")
    parser.add_argument("--phantoms", type=int, default=120)
    parser.add_argument("--beside", type=int, default=6, help="phantoms that stay beside the two real cases")
    parser.add_argument("--fold-epochs", type=int, default=3)
    options = parser.parse_args()
    if not REAL.exists():
        sys.exit("../shared/data/lidc_3mm is absent beside the project; there is nothing to measure on.")
    raw = yaml.safe_load((ROOT / "benchmarks" / "real_heart.yaml").read_text())
    heart = build(ModelParams, raw, where="benchmarks/real_heart.yaml")
    params = dataclasses.replace(load_params(ROOT / "params.yaml"), heart=heart)
    data = options.work / "data"
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(draw, [data] * options.phantoms, range(options.phantoms)))
    add_real(data)

    phantoms = [f"wild-{index:04d}" for index in range(options.phantoms)]
    tune = phantoms[::TUNE_EVERY]
    rest = [name for name in phantoms if name not in tune]
    base = learn(data, as_split(train=rest, tune=tune), params, options.work / "phantoms")
    tests = as_split(test=list(NAMES))
    evaluate_model("heart", data, tests, base, options.work / "phantoms" / "evaluation")
    alone = measured(options.work / "phantoms" / "evaluation", list(NAMES))

    folds = {}
    for name in NAMES:
        work = options.work / f"without-{name}"
        shutil.rmtree(work / "prepared", ignore_errors=True)
        others = [other for other in NAMES if other != name]
        parts = as_split(train=others + rest[: options.beside], tune=tune[:4])
        tuned = learn(data, parts, params, work, start=base, epochs=options.fold_epochs)
        evaluate_model("heart", data, as_split(test=[name]), tuned, work / "evaluation")
        folds |= measured(work / "evaluation", [name])

    result = {
        "phantoms_alone": alone,
        "leave_one_out": folds,
        "deepcac": DEEPCAC,
        "phantoms": options.phantoms,
    }
    write_json(ROOT / "benchmarks" / "results" / "real_heart.json", result)
    print(f"{'case':8}{'phantoms alone':>16}{'leave one out':>16}{'DeepCAC':>10}")
    for name in NAMES:
        print(f"{name:8}{alone[name]:16.3f}{folds[name]:16.3f}{DEEPCAC[name]:10.3f}")
    print(json.dumps(read_json(options.work / "phantoms" / "fit" / "metrics.json")))


if __name__ == "__main__":
    main()
