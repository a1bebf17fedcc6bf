"""`coronet demo`: from nothing to two champions. What is there already is left as it is."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

from coronet.config import MODELS
from coronet.errors import InputError, StageError
from coronet.stages import BUILD, DATA, MLRUNS, params, timed, workers

logger = logging.getLogger("coronet")
SEARCHED = "heart"
"""The model that the demo's small study is of."""
TRIALS = 4
"""Enough to see a study; too few to find better parameters."""


def run() -> None:
    """Build the phantom cohort where there is no data, run `dvc repro`, search a little, make champions.

    Raises:
        StageError: `dvc repro` ended with an error, which it has printed.
        SearchError: no trial of the study came to a value.
        PromotionError: aliases and promotion log contradict each other.
    """
    _draw_phantoms()
    _reproduce()
    _search()
    with timed("promotion"):
        for model in MODELS:
            _promote(model)


def _draw_phantoms() -> None:
    from coronet.cohort.phantom import cohort

    if any((DATA / "ct").glob("*.nii.gz")):
        return
    chosen = params().phantom
    with timed("phantom"):
        cohort.write_cohort(DATA, cases=chosen.cases, seed=chosen.seed, workers=workers())


def _reproduce() -> None:
    from coronet.ledger import tracker

    with timed("dvc repro"):
        done = subprocess.run([sys.executable, "-m", "dvc", "repro"], check=False)
    if done.returncode != 0:
        raise StageError("`dvc repro` stopped; its last lines say why. What was finished is kept.")
    with timed("ledger"):
        tracker.catch_up(project=Path(), mlruns=MLRUNS)


def _search() -> None:
    from coronet.search import study

    with timed("search"):
        study.search(SEARCHED, trials=TRIALS)


def _promote(model: str) -> None:
    """Register what was trained; the first of a model becomes champion where the gate lets it."""
    from coronet.ledger import log, promotion, registry, store

    try:
        registered = registry.register(model)
    except InputError as error:
        logger.warning("%s is not registered: %s", BUILD / model / "fit", error)
        return
    with store.opened(MLRUNS) as client:
        champion = registry.find(client, model, registry.CHAMPION)
    number = registered.version.number
    judged = {
        entry.version for entry in promotion.history(model) if entry.kind in (log.REJECTED, log.UNDECIDED)
    }
    if number in judged:
        logger.info("%s/%d was judged before; `coronet history %s` tells how", model, number, model)
    elif champion is None:
        done = promotion.promote(model, first=True)
        logger.info("%s/%d: %s", model, number, done.verdict.answer)
    elif champion.number != number:
        logger.info("%s/%d is registered; `coronet promote %s` judges it", model, number, model)
