"""`coronet demo`: from phantoms to models with a verdict of the gate. Existing data and results are kept."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from coronet.config import MODELS
from coronet.dataset.cases import scan_files
from coronet.dvc_repository import remove_broken_rwlock
from coronet.errors import InputError, StageError
from coronet.pipeline import BUILD, DATA, MLRUNS, params, timed, workers

if TYPE_CHECKING:
    from coronet.registry.versions import Version

logger = logging.getLogger("coronet")
_SEARCHED = "heart"
"""The model that the demo's small study is of."""
_REPORT_SECONDS = 60.0
_TRIALS = 4
"""Enough to see a study; too few to find better parameters."""


def run_demo() -> None:
    """Build the phantom cohort where there is no data, run `dvc repro`, search a little, run the gate.

    Raises:
        StageError: `dvc repro` ended with an error, which it has printed.
        SearchError: no trial of the study came to a value.
        PromotionError: aliases and promotion log contradict each other.
    """
    with _step("phantoms"):
        _draw_phantoms()
    with _step("dvc repro"):
        _reproduce()
    with _step("search"):
        _search()
    with _step("promotion"), timed("promotion"):
        # the gate measures the whole path, so both networks must have a version before either is judged
        for version in [version for model in MODELS if (version := _register(model))]:
            _promote(version)


@contextlib.contextmanager
def _step(name: str) -> Iterator[None]:
    """Print a line when a step starts, and one a minute while it runs, for output that is no terminal."""
    started, done = time.monotonic(), threading.Event()

    def report() -> None:
        while not done.wait(_REPORT_SECONDS):
            minutes = (time.monotonic() - started) / 60
            _print(f"demo: {name}, {minutes:.0f} min so far")

    if sys.stdout.isatty():
        yield
        return
    _print(f"demo: {name}")
    threading.Thread(target=report, daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _draw_phantoms() -> None:
    from coronet.phantom.annotated_cohort import make_cohort

    if scan_files(DATA):
        return
    chosen = params().phantom
    with timed("phantom"):
        make_cohort(
            DATA,
            masks=chosen.masks,
            cases=chosen.cases,
            seed=chosen.seed,
            ranges=chosen.ranges,
            workers=workers(),
        )


def _reproduce() -> None:
    from coronet.tracking import tracker

    remove_broken_rwlock()
    with timed("dvc repro"):
        done = subprocess.run([sys.executable, "-m", "dvc", "repro"], check=False)
    if done.returncode != 0:
        raise StageError("`dvc repro` stopped; its last lines say why. What was finished is kept.")
    with timed("ledger"):
        tracker.catch_up(Path())


def _search() -> None:
    from coronet.search import study

    with timed("search"):
        study.run_study(_SEARCHED, trials=_TRIALS)


def _register(model: str) -> Version | None:
    """A version of what was trained; None where the code is not committed."""
    from coronet.registry.registration import register_version

    try:
        return register_version(model).version
    except InputError as error:
        logger.warning("%s is not registered: %s", BUILD / model / "fit", error)
        return None


def _promote(version: Version) -> None:
    """Make the first champion where the gate lets it; a later version waits for `coronet models promote`."""
    from coronet.registry import promotion, promotion_log, versions
    from coronet.tracking import mlflow_client

    model, number = version.model, version.number
    with mlflow_client.open_client(MLRUNS) as client:
        champion = versions.find(client, model, versions.CHAMPION)
    refused = (promotion_log.REJECTED, promotion_log.UNDECIDED)
    if number in {entry.version for entry in promotion.history(model) if entry.kind in refused}:
        logger.info("%s/%d has a verdict already; see `coronet models history %s`", model, number, model)
    elif champion is None:
        done = promotion.promote(model, first=True)
        # a promotion that was killed before is finished without a new verdict
        answer = done.verdict.answer if done.verdict else done.entry.kind
        logger.info("%s/%d: %s", model, number, answer)
    elif champion.number != number:
        logger.info("%s/%d is registered; `coronet models promote %s` decides about it", model, number, model)
