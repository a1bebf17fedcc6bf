"""What a trial does: the training of the stage ``train``, on inner folds, reporting every epoch."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RetryHeartbeatStaleTrialCallback

from coronet.config import ModelParams
from coronet.files import exclusive
from coronet.imaging.mask_metrics import DECISIVE
from coronet.search import space
from coronet.search.folds import Fold
from coronet.search.study_plan import StudyPlan
from coronet.search.study_record import REASON, TRAINED, TRAINING
from coronet.terminal import lacks_space

logger = logging.getLogger("coronet")
BEGUN = "begun"
"""A trial notes its own number here once it is sure to have a heartbeat; a retry inherits another's."""
_MEMORY_ERRORS = ("out of memory", "can't allocate memory", "alloc_failed")


class TrialFailed(Exception):
    """A trial failed for a reason that it has noted; the search goes on."""


class Objective:
    """The value of a trial: its metric on held-out patients, mean of the folds."""

    def __init__(self, plan: StudyPlan, *, on_drawn: Callable[[], None] = lambda: None) -> None:
        """Make it.

        Args:
            plan: what the study is of.
            on_drawn: called once the trial has its parameters, so that the next one may be drawn.
        """
        self._plan, self._on_drawn = plan, on_drawn
        self.lost = False
        """Whether another worker took this one for dead and repeats its trial."""

    def __call__(self, trial: optuna.Trial) -> float:
        """Train one trial, from the last checkpoint where it repeats one that was stopped.

        Raises:
            optuna.TrialPruned: the pruner gave it up, or memory ran out.
            TrialFailed: any other error of the trial.
            Exception: nothing of the trial is to blame, such as a full disk; it is queued again.
        """
        trial.set_user_attr(BEGUN, trial.number)
        try:
            return self._train(trial)
        except optuna.TrialPruned as pruned:
            trial.set_user_attr(REASON, str(pruned))
            raise
        except optuna.exceptions.UpdateFinishedTrialError:
            self.lost = True
            raise
        except KeyboardInterrupt:
            _queue_again(trial)
            raise
        except Exception as error:
            if lacks_space(error):
                _queue_again(trial)
                raise
            reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"[:500]
            if not _is_memory(error):
                trial.set_user_attr(REASON, reason)
                raise TrialFailed(reason) from error
        # Outside of the handler, so that the traceback no longer holds the memory.
        reason = f"out of memory: {reason}"
        trial.set_user_attr(REASON, reason)
        raise optuna.TrialPruned(reason)

    def _train(self, trial: optuna.Trial) -> float:
        params = space.apply(space.draw(trial, self._plan.params.search), self._plan.template)
        key = self._plan.training(params)
        trial.set_user_attr(TRAINING, key)
        self._on_drawn()
        folder = self._plan.work / key
        # A worker that is taken for dead may still live, and write where the retry goes on.
        with exclusive(folder / "trial.lock", seconds=None):
            return _Run(self._plan, trial, params, folder).value()


class _Run:
    """One trial's trainings."""

    def __init__(self, plan: StudyPlan, trial: optuna.Trial, params: ModelParams, folder: Path) -> None:
        self._plan, self._trial, self._params, self._folder = plan, trial, params, folder
        self._metric = DECISIVE[plan.model]
        self._bests: list[float] = []
        self._trained = 0
        trial.set_user_attr(TRAINED, 0)

    def value(self) -> float:
        for fold in self._plan.folds:
            self._fit(fold)
        return sum(self._bests) / len(self._bests)

    def _fit(self, fold: Fold) -> None:
        from coronet.training import checkpoint
        from coronet.training.fit import fit_model

        work = self._folder / f"fold-{fold.number}"
        pretrained = pretrained_encoder(self._plan, self._params, fold)
        saved = checkpoint.latest_checkpoint(work)
        self._values: list[float] = []
        for entry in saved["history"] if saved else ():
            self._report(entry)
        if self._values:
            logger.info("trial %d goes on after epoch %d", self._trial.number, len(self._values))
            self._prune()
        result = fit_model(
            self._plan.model,
            self._plan.prepared,
            self._params,
            train_cases=fold.train,
            tune_cases=fold.held_out,
            seed=self._plan.params.seed,
            out=self._folder / f"fit-{fold.number}",
            work=work,
            pretrained=pretrained,
            on_epoch=self._on_epoch,
        )
        self._bests.append(result.best)

    def _on_epoch(self, epoch: int, entry: Mapping[str, float]) -> None:
        self._trained += 1
        self._trial.set_user_attr(TRAINED, self._trained)
        self._report(entry)
        self._prune()

    def _report(self, entry: Mapping[str, Any]) -> None:
        """Report the mean of the folds' best values so far, which pruners compare at equal steps."""
        self._values.append(entry[self._metric])
        step = len(self._bests) * self._params.optimiser.epochs + len(self._values)
        self._trial.report((sum(self._bests) + max(self._values)) / (len(self._bests) + 1), step)

    def _prune(self) -> None:
        """Let the pruner end the trial, but not after its last epoch, when nothing is left to save."""
        epochs = self._params.optimiser.epochs
        last = len(self._bests) + 1 == len(self._plan.folds) and len(self._values) >= epochs
        if not last and self._trial.should_prune():
            raise optuna.TrialPruned(
                f"{self._metric} {max(self._values):.4f} after epoch {len(self._values)} of {epochs} in fold "
                f"{len(self._bests) + 1} is not promising ({self._plan.params.search.pruner})"
            )


def pretrained_encoder(plan: StudyPlan, params: ModelParams, fold: Fold) -> Path | None:
    """An encoder trained on what a trial with ``params`` may learn from; made once for all trials."""
    from coronet.training.pretrain import ENCODER, pretrain_model

    if params.network.encoder != "autoencoder":
        return None
    key, chosen = plan.pretraining(params, fold)
    folder = plan.work / key
    encoder = folder / "pretrained" / ENCODER
    with exclusive(folder / "trial.lock", seconds=None):
        if not encoder.exists():
            work = folder / "epochs"
            pretrain_model(plan.model, plan.prepared, fold.split, chosen, encoder.parent, work=work)
            shutil.rmtree(work)
    return encoder


def _queue_again(trial: optuna.Trial) -> None:
    """Queue a trial that is stopped from outside, as Optuna does where a heartbeat stopped."""
    RetryHeartbeatStaleTrialCallback()(trial.study, trial.study.get_trials()[trial.number])


def _is_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a processor or a GPU."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(part in str(error).lower() for part in _MEMORY_ERRORS)
