"""What calcium drawn into real scans brings: networks that learned from phantoms, from such scans, from both.

    python benchmarks/training_sources.py --project DIR --held-out a0002b40f a0002b70f --phantoms FOLDER

DIR is a project after `dvc repro` whose cohort holds phantoms and deposited cases. Three calcium networks of
the profile demo see as many windows of either, or of both; cases of the held-out backgrounds are in none of
them. All are measured inside the known heart on the held-out cases, on which nobody trained, and on new
phantoms of `coronet data phantom --masks exact`.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from coronet import config
from coronet.dataset.cases import Case, find_cases, find_reference, load_mask
from coronet.evaluation.agreement_statistics import icc
from coronet.evaluation.candidate_outcomes import candidate_outcomes
from coronet.files import write_json
from coronet.inference.predict import calcium_candidates, predict_calcium
from coronet.io.scan_facts import DEPOSITED
from coronet.io.volume import read_nifti
from coronet.networks.factory import LoadedModel, load_model
from coronet.preprocessing.prepared_store import prepared_cases, prepared_sources
from coronet.scoring.protocol import PROTOCOLS
from coronet.training.fit import fit_model

ROOT = Path(__file__).resolve().parents[1]
"""Figures are of this code, whatever code the project has."""


def measure(model: LoadedModel, cases: Iterable[Case]) -> dict[str, float | int]:
    """Lesions, volume and score of ``model`` inside the known heart of each case."""
    found = true = false = count = 0
    volume, scores = np.zeros(2), []
    for case in cases:
        ct = read_nifti(case.ct)
        heart, calcium = (find_reference(case, kind) for kind in ("heart", "calcium"))
        assert heart is not None and calcium is not None
        probability = predict_calcium(ct, load_mask(heart.path, ct) > 0, model)
        candidates = calcium_candidates(probability, ct, model.params.threshold)
        outcome = candidate_outcomes(ct, candidates, load_mask(calcium.path, ct), PROTOCOLS["coronet"])
        counted = candidates.counted
        count += 1
        found += int((outcome.true & counted).sum())
        true += int(outcome.true.sum()) + len(outcome.missed)
        false += int((counted & ~outcome.true).sum())
        volume += [outcome.volume_mm3[chosen].sum() for chosen in (outcome.true & counted, outcome.true)]
        truth = outcome.score[outcome.true].sum() + sum(outcome.missed)
        scores.append((float(outcome.score[counted].sum()), float(truth)))
    return {
        "scans": count,
        "lesion_sensitivity": found / max(true, 1),
        "false_per_scan": false / count,
        "volume_found": float(volume[0] / max(volume[1], 1e-9)),
        "icc": float(icc(*np.array(scores, float).T[::-1])[1]),
        "mean_absolute_error": float(np.mean([abs(a - b) for a, b in scores])),
    }


def training_sets(
    prepared: Path, parts: Mapping[str, Sequence[str]], *, held_out: Sequence[str], most: int
) -> dict[str, tuple[list[str], list[str]]]:
    """Train and tune cases by name of the set; the tune cases are the same in all, and of both kinds."""
    kinds: dict[str, dict[str, list[str]]] = {}
    for part, cases in parts.items():
        for case in cases:
            (source,) = prepared_sources(prepared, [case])
            if source in ("phantom", DEPOSITED) and not _of(case, held_out):
                kinds.setdefault(source, {}).setdefault(part, []).append(case)
    phantoms = {part: _spread(cases, most) for part, cases in kinds["phantom"].items()}
    drawn = {part: cases for part, cases in kinds[DEPOSITED].items()}
    tune = [*phantoms["tune"], *drawn.get("tune", [])]
    train = {"phantoms": phantoms["train"], "real backgrounds": drawn["train"]}
    train["both"] = [*train["phantoms"], *train["real backgrounds"]]
    return {name: (cases, tune) for name, cases in train.items()}


def _spread(cases: Sequence[str], most: int) -> list[str]:
    """At most ``most`` of the cases, evenly over them."""
    step = max(1, -(-len(cases) // most))
    return list(cases[::step])


def _of(case: str, backgrounds: Sequence[str]) -> bool:
    return any(case.startswith(f"{name}-") for name in backgrounds)


def main() -> None:
    """Train, measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument(
        "--held-out", nargs="+", required=True, help="backgrounds that no network learns from"
    )
    parser.add_argument("--phantoms", type=Path, help="a folder of new phantoms with exact masks")
    parser.add_argument("--most", type=int, default=60, help="phantoms to learn from, and to measure on")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the networks; a second run goes on"
    )
    given = parser.parse_args()
    prepared = given.project / "build" / "calcium" / "prepared"
    parts = {part: prepared_cases(prepared, part) for part in ("train", "tune")}
    sets = training_sets(prepared, parts, held_out=given.held_out, most=given.most)
    held_out = [case for case in find_cases(given.project / "data") if _of(case.id, given.held_out)]
    measured = {"held-out real backgrounds": held_out}
    if given.phantoms:
        measured["new phantoms"] = list(find_cases(given.phantoms))[: given.most]
    params = config.load_params(ROOT / "params.yaml").calcium
    figures = {}
    for seed in given.seeds:
        for name, (train, tune) in sets.items():
            folder = given.out / f"{name}-{seed}"
            fit_model(
                "calcium",
                prepared,
                dataclasses.replace(params, network=dataclasses.replace(params.network, encoder="plain")),
                train_cases=train,
                tune_cases=tune,
                seed=seed,
                out=folder / "fit",
                work=folder / "work",
            )
            for cohort, cases in measured.items():
                row = measure(load_model(folder / "fit"), cases)
                figures[f"{name}, seed {seed}: {cohort}"] = row
                shown = ", ".join(f"{key} {value:.3g}" for key, value in row.items())
                print(f"{name} ({len(train)} cases), seed {seed}, {cohort}: {shown}", flush=True)
    write_json(given.out / "figures.json", figures)


if __name__ == "__main__":
    main()
