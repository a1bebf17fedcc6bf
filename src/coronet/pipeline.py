"""The stages that ``dvc.yaml`` runs: paths in, paths out, one function each.

Every stage reads and writes only what ``dvc.yaml`` names for it. How long it took goes to
``mlruns/timings.jsonl`` and not into a result, which must have the same bytes each time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from coronet.config import MODELS, Params, load_params
from coronet.errors import StageError
from coronet.fingerprint import fingerprint, hash_tree
from coronet.json_lines import append_line
from coronet.progress import Progress

logger = logging.getLogger("coronet")
DATA = Path("data")
BUILD = Path("build")
MLRUNS = Path(os.environ.get("DVC_ROOT", ".")) / "mlruns"
_TABLE = BUILD / "cases.csv"
_VALIDATION = BUILD / "validation"
_SPLIT = BUILD / "split.json"


def run_pipeline_stage(name: str, model: str = "") -> None:
    """Run one stage.

    Raises:
        StageError: there is no such stage, or ``model`` is missing or out of place.
    """
    stages: dict[str, Callable[[], None]] = {
        "describe": describe_stage,
        "validate": validate_stage,
        "split": split_stage,
        "calibrate": calibrate_stage,
        "score": score_stage,
        "report": report_stage,
    }
    model_stages: dict[str, Callable[[str], None]] = {
        "prepare": prepare_stage,
        "pretrain": pretrain_stage,
        "train": train_stage,
        "evaluate": evaluate_stage,
    }
    if name == "deposit" and model:
        with timed(f"{name}@{model}"):
            deposit_stage(model)
    elif name in stages and not model:
        with timed(name):
            stages[name]()
    elif name in model_stages and model in MODELS:
        with timed(f"{name}@{model}"):
            model_stages[name](model)
    elif name in stages or name in model_stages:
        wanted = "heart or calcium" if name in model_stages else "no model"
        raise StageError(f"`coronet stage {name}` takes {wanted}.")
    else:
        raise StageError(f'There is no stage "{name}"; `dvc stage list` names them.')


def deposit_stage(folder: str) -> None:
    """Draw calcium into the backgrounds of a folder in ``data/`` and lay the cases beside the others."""
    from coronet.real_backgrounds.deposited_cohort import write_deposited_cohort

    write_deposited_cohort([DATA / folder], DATA, params().deposits, workers=workers())


def describe_stage() -> None:
    """Write the case table.

    Raises:
        StageError: there are no scans; says how to get some.
    """
    from coronet.dataset import case_table

    if not any((DATA / "ct").glob("*.nii.gz")):
        raise StageError(
            f"{DATA / 'ct'} holds no scans. Make a synthetic cohort with `coronet data phantom`, import your "
            "own with `coronet data import FOLDER`, or fetch a shared one with `dvc pull`."
        )
    with Progress("describe") as progress:
        case_table.write_table(
            _TABLE, case_table.describe_cases(DATA, workers=workers(), progress=progress.update)
        )


def validate_stage() -> None:
    """Write the validation report; raise `GateFailed` last."""
    from coronet import validation as gate
    from coronet.dataset import case_table

    gate.check(gate.run_validation(case_table.read_table(_TABLE), params().validate, out=_VALIDATION))


def split_stage() -> None:
    """Write the split; raise `GateFailed` where it would leak."""
    from coronet import validation as gate
    from coronet.dataset import case_table
    from coronet.dataset import split as parts

    cases = case_table.read_table(_TABLE)
    made = parts.make_split(cases, params().split)
    gate.check_leakage(cases, made, params().validate)
    parts.write_split(_SPLIT, made)


def prepare_stage(model: str) -> None:
    """Write what the network sees of training and tuning patients."""
    from coronet.dataset.cases import find_cases
    from coronet.dataset.split import read_split
    from coronet.preprocessing import prepared_store

    with Progress(f"prepare {model}") as progress:
        prepared_store.prepare_model(
            model,
            find_cases(DATA),
            read_split(_SPLIT),
            params(),
            BUILD / model / "prepared",
            workers=workers(),
            progress=progress.update,
        )


def pretrain_stage(model: str) -> None:
    """Train the autoencoder on training patients, where the network starts from one."""
    from coronet.dataset.split import read_split
    from coronet.memory import keep_memory
    from coronet.training import pretrain as autoencoder

    keep_memory()
    chosen = params()
    folder = BUILD / model
    key = _learning_key("pretrain", model, chosen, inputs=("prepared",))
    autoencoder.pretrain_model(
        model,
        folder / "prepared",
        read_split(_SPLIT),
        chosen,
        folder / "pretrained",
        work=MLRUNS / "work" / key,
    )


@contextlib.contextmanager
def timed(stage: str) -> Iterator[None]:
    """Append the seconds that ``stage`` takes to ``mlruns/timings.jsonl``."""
    started = time.perf_counter()
    yield
    entry = {"stage": stage, "seconds": round(time.perf_counter() - started, 2)}
    try:
        append_line(MLRUNS / "timings.jsonl", entry)
    except OSError as error:
        # hours of training must not fail by it
        logger.warning("the time of %s is not kept: %s", stage, error)


def params() -> Params:
    """``params.yaml`` of the project."""
    return load_params(Path("params.yaml"))


def workers() -> int:
    """Processes that read scans side by side."""
    return max(1, min(4, os.cpu_count() or 1))


def _learning_key(stage: str, model: str, chosen: Params, *, inputs: tuple[str, ...]) -> str:
    """Fingerprint of a training; ``inputs`` are folders of ``build/<model>``, and the split is always one."""
    hashes = {name: hash_tree(BUILD / model / name) for name in inputs}
    return fingerprint(
        f"{stage}@{model}",
        params={"seed": chosen.seed, "model": chosen.model(model), **chosen.resources.shaping()},
        inputs=hashes | {"split": hash_tree(_SPLIT)},
    )


def train_stage(model: str) -> None:
    """Train a network, or resume a training that was interrupted."""
    from coronet.memory import keep_memory
    from coronet.preprocessing.prepared_store import prepared_cases
    from coronet.tracking.tracker import tracking
    from coronet.training import fit
    from coronet.training.pretrain import ENCODER

    keep_memory()
    chosen = params()
    folder = BUILD / model
    key = _learning_key("train", model, chosen, inputs=("prepared", "pretrained"))
    work = MLRUNS / "work" / key
    with tracking(model, fingerprint=key, params=chosen.model(model), project=Path()) as on_epoch:
        fit.fit_model(
            model,
            folder / "prepared",
            chosen.model(model),
            train_cases=prepared_cases(folder / "prepared", "train"),
            tune_cases=prepared_cases(folder / "prepared", "tune"),
            seed=chosen.seed,
            out=folder / "fit",
            work=work,
            pretrained=encoder if (encoder := folder / "pretrained" / ENCODER).exists() else None,
            fingerprint=key,
            resources=chosen.resources,
            on_epoch=on_epoch,
        )


def evaluate_stage(model: str) -> None:
    """Measure a network on the test patients' own grids."""
    from coronet.dataset.split import read_split
    from coronet.evaluation import segmentation as measure
    from coronet.tracking import tracker

    folder = BUILD / model
    with Progress(f"evaluate {model}") as progress:
        measure.evaluate_model(
            model, DATA, read_split(_SPLIT), folder / "fit", folder / "evaluation", progress=progress.update
        )
    tracker.track_evaluation(model, project=Path())


def calibrate_stage() -> None:
    """Calibrate the calcium network, and learn what the heart network's input looks like."""
    from coronet.dataset.split import read_split
    from coronet.evaluation.distribution_fit import fit_distribution
    from coronet.evaluation.lesion_calibration import calibrate_model
    from coronet.networks.calibration import CALIBRATION
    from coronet.networks.input_distribution import DISTRIBUTION
    from coronet.scoring.protocol import find_protocol

    heart = BUILD / "heart"
    fit_distribution(heart / "prepared", heart / "fit", heart / DISTRIBUTION)
    with Progress("calibrate") as progress:
        calibrate_model(
            DATA,
            read_split(_SPLIT),
            heart_fit=heart / "fit",
            calcium_fit=BUILD / "calcium" / "fit",
            out=BUILD / "calcium" / CALIBRATION,
            protocol=find_protocol(params().score.protocol),
            progress=progress.update,
        )


def score_stage() -> None:
    """Take test patients from scan to score."""
    from coronet.dataset.split import read_split
    from coronet.evaluation import cohort

    with Progress("score") as progress:
        cohort.score_cohort(
            DATA,
            read_split(_SPLIT),
            heart_fit=BUILD / "heart" / "fit",
            calcium_fit=BUILD / "calcium" / "fit",
            out=BUILD / "scores",
            params=params(),
            earlier=BUILD / "heart" / "evaluation",
            progress=progress.update,
        )


def report_stage() -> None:
    """Write the cohort's page and the headline figures, and print where the page is."""
    from coronet.report import cohort_page, headline

    cohort_page.write_cohort_report(BUILD, DATA, BUILD / "report", params())
    headline.write_headline(BUILD, BUILD / "metrics.json")
    logger.info("Report: %s", (BUILD / "report" / "index.html").resolve())
