"""The stages that ``dvc.yaml`` runs: paths in, paths out, one function each.

Every stage reads and writes only what ``dvc.yaml`` names for it. How long it took goes to
``mlruns/timings.jsonl`` and not into a result, which must have the same bytes each time.
"""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path

from coronet.config import MODELS, Params, load
from coronet.errors import StageError
from coronet.fingerprint import fingerprint, hash_tree

logger = logging.getLogger("coronet")

DATA = Path("data")
BUILD = Path("build")
MLRUNS = Path(os.environ.get("DVC_ROOT", ".")) / "mlruns"
TABLE = BUILD / "cases.csv"
VALIDATION = BUILD / "validation"
SPLIT = BUILD / "split.json"
LEARNING_SOURCE = ("train", "networks", "prepare")


def run(name: str, model: str = "") -> None:
    """Run a stage and append its seconds to ``mlruns/timings.jsonl``.

    Raises:
        StageError: there is no such stage, or ``model`` is missing or out of place.
    """
    whole = {"describe": describe, "validate": validate, "split": split, "score": score, "report": report}
    each = {"prepare": prepare, "pretrain": pretrain, "train": train, "evaluate": evaluate}
    if name not in whole and name not in each:
        raise StageError(f"There is no stage «{name}»; `dvc stage list` names them.")
    if (name in each) != (model in MODELS):
        raise StageError(
            f"`coronet stage {name}` takes {'heart or calcium' if name in each else 'no model'}."
        )
    started = time.perf_counter()
    if name in whole:
        whole[name]()
    else:
        each[name](model)
    entry = {
        "stage": f"{name}@{model}" if model else name,
        "seconds": round(time.perf_counter() - started, 2),
    }
    MLRUNS.mkdir(parents=True, exist_ok=True)
    with (MLRUNS / "timings.jsonl").open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(entry) + "\n")


def describe() -> None:
    """Write the case table."""
    from coronet.cohort import table

    table.write_table(TABLE, table.describe(DATA, workers=workers()))


def validate() -> None:
    """Write the validation report; raise `GateFailed` last."""
    from coronet import validate as gate
    from coronet.cohort import table

    gate.check(gate.run(table.read_table(TABLE), params().validate, out=VALIDATION))


def split() -> None:
    """Write the split; raise `GateFailed` where it would leak."""
    from coronet import validate as gate
    from coronet.cohort import split as parts
    from coronet.cohort import table

    cases = table.read_table(TABLE)
    made = parts.make_split(cases, params().split)
    gate.check_leakage(cases, made, params().validate)
    parts.write_split(SPLIT, made)


def prepare(model: str) -> None:
    """Write what the network sees of training and tuning patients."""
    from coronet.cohort.split import read_split
    from coronet.prepare import store

    store.prepare_model(
        model, DATA, read_split(SPLIT), params(), out=BUILD / model / "prepared", workers=workers()
    )


def pretrain(model: str) -> None:
    """Train the autoencoder on training patients, where the network starts from one."""
    from coronet.cohort.split import read_split
    from coronet.train import pretrain as autoencoder

    chosen = params()
    folder = BUILD / model
    key = fingerprint(
        f"pretrain@{model}",
        params={"seed": chosen.seed, "model": chosen.model(model)},
        inputs={"prepared": hash_tree(folder / "prepared"), "split": hash_tree(SPLIT)},
        source=LEARNING_SOURCE,
    )
    autoencoder.pretrain_model(
        model,
        folder / "prepared",
        read_split(SPLIT),
        chosen,
        out=folder / "pretrained",
        work=MLRUNS / "work" / key,
    )


def params() -> Params:
    """``params.yaml`` of the project."""
    return load(Path("params.yaml"))


def workers() -> int:
    """Processes that read scans side by side."""
    return max(1, min(4, os.cpu_count() or 1))


def needs(path: Path, stage: str) -> Path:
    """Return ``path``.

    Raises:
        StageError: it is absent; the message names the stage that writes it.
    """
    if not path.exists():
        raise StageError(f"{path} is absent; `dvc repro {stage}` writes it.")
    return path


def train(model: str) -> None:
    """Train a network and tell the ledger; training never fails because MLflow is away."""
    from coronet.cohort.split import read_split
    from coronet.train import fit

    chosen = params()
    folder = BUILD / model
    parts = read_split(SPLIT)
    key = fingerprint(
        f"train@{model}",
        params={"seed": chosen.seed, "model": chosen.model(model)},
        inputs={name: hash_tree(folder / name) for name in ("prepared", "pretrained")}
        | {"split": hash_tree(SPLIT)},
        source=LEARNING_SOURCE,
    )
    fit.fit(
        model,
        folder / "prepared",
        chosen.model(model),
        train=parts.cases("train"),
        tune=parts.cases("tune"),
        seed=chosen.seed,
        out=folder / "fit",
        work=MLRUNS / "work" / key,
        pretrained=folder / "pretrained",
        fingerprint=key,
    )


def evaluate(model: str) -> None:
    """Measure a network on the test patients' own grids."""
    from coronet.cohort.split import read_split
    from coronet.train import evaluate as measure

    measure.evaluate_model(
        model,
        DATA,
        read_split(SPLIT).cases("test"),
        fit=BUILD / model / "fit",
        out=BUILD / model / "evaluation",
    )


def score() -> None:
    """Take test patients from scan to score."""
    from coronet.cohort.split import read_split
    from coronet.score import cohort

    cohort.score_cohort(
        DATA,
        read_split(SPLIT),
        heart_fit=BUILD / "heart" / "fit",
        calcium_fit=BUILD / "calcium" / "fit",
        out=BUILD / "scores",
        params=params(),
    )


def report() -> None:
    """Write the cohort's page."""
    from coronet.report import cohort_page

    cohort_page.write_report(BUILD, DATA, BUILD / "report", params())
