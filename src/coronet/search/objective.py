"""What a trial does: the training of the stage ``train``, on inner folds, reporting every epoch."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna

from coronet.config import ModelParams
from coronet.files import exclusive
from coronet.search import space
from coronet.search.database import METRIC
from coronet.search.folds import Fold
from coronet.search.study_plan import StudyPlan
from coronet.search.trials import REASON, SAME_AS, TRAINED, TRAINING, WORKER
from coronet.terminal import lacks_space

logger = logging.getLogger("coronet")
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "alloc_failed")


class Objective:
    """The value of a trial: its metric on held-out patients, mean of the folds."""

    def __init__(self, plan: StudyPlan, *, worker: str, started: Callable[[], None]) -> None:
        """Make it.

        Args:
            plan: what the study is of.
            worker: the name of this process among the study's.
            started: called once a trial is this worker's.
        """
        self._plan, self._worker, self._started = plan, worker, started
        self.disk_full: Exception | None = None
        """Why the last trial could not be trained, where nothing about it is to blame."""

    def __call__(self, trial: optuna.Trial) -> float:
        """Train one trial, or go on with it where an earlier worker was killed."""
        trial.set_user_attr(WORKER, self._worker)
        self._started()
        try:
            params = space.apply(space.draw(trial, self._plan.params.search), self._plan.template)
            key = self._plan.training(params)
            trial.set_user_attr(TRAINING, key)
            with exclusive(self._plan.work / key / "trial.lock", seconds=None):
                known = self._known(trial, key)
                return _Run(self._plan, trial, params, key).value() if known is None else known
        except optuna.TrialPruned as pruned:
            trial.set_user_attr(REASON, str(pruned))
            raise
        except optuna.exceptions.UpdateFinishedTrialError:
            raise
        except Exception as error:
            reason = _describe(error)
            if lacks_space(error):
                # without a reason it counts as one whose worker was killed, and is taken up again
                self.disk_full = error
                raise
            if not _is_memory(error):
                trial.set_user_attr(REASON, reason)
                raise
        # Outside of the handler, so that the traceback no longer holds the memory.
        trial.set_user_attr(REASON, f"out of memory: {reason}")
        raise optuna.TrialPruned(f"out of memory: {reason}")

    def _known(self, trial: optuna.Trial, key: str) -> float | None:
        """The value of another trial with these very parameters; whoever waited meets it here."""
        for other in trial.study.get_trials(deepcopy=False):
            if other.number == trial.number or other.user_attrs.get(TRAINING) != key:
                continue
            if other.state.name == "COMPLETE":
                trial.set_user_attr(SAME_AS, other.number)
                for step, value in other.intermediate_values.items():
                    trial.report(value, step)
                return other.value
            if other.state.name == "PRUNED":
                trial.set_user_attr(SAME_AS, other.number)
                reason = other.user_attrs.get(REASON, "")
                raise optuna.TrialPruned(f"the same parameters as trial {other.number}, pruned: {reason}")
        return None


class _Run:
    """One trial's trainings."""

    def __init__(self, plan: StudyPlan, trial: optuna.Trial, params: ModelParams, key: str) -> None:
        self._plan, self._trial, self._params = plan, trial, params
        self._folder = plan.work / key
        self._metric = trial.study.user_attrs[METRIC]
        self._bests: list[float] = []
        self._trained = 0

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
        self._seen: list[float] = []
        for entry in saved.state["history"] if saved else ():
            self._report(entry)
        if self._seen:
            logger.info("trial %d goes on after epoch %d", self._trial.number, len(self._seen))
            self._ask()
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
        self._ask()

    def _report(self, entry: Mapping[str, Any]) -> None:
        """Tell the mean of the folds' best values so far, which pruners compare at equal steps."""
        self._seen.append(entry[self._metric])
        step = len(self._bests) * self._params.optimiser.epochs + len(self._seen)
        self._trial.report((sum(self._bests) + max(self._seen)) / (len(self._bests) + 1), step)

    def _ask(self) -> None:
        """Let the pruner end the trial, but not after its last epoch, when nothing is left to save."""
        epochs = self._params.optimiser.epochs
        last = len(self._bests) + 1 == len(self._plan.folds) and len(self._seen) >= epochs
        if not last and self._trial.should_prune():
            raise optuna.TrialPruned(
                f"{self._metric} {max(self._seen):.4f} after epoch {len(self._seen)} of {epochs} in fold "
                f"{len(self._bests) + 1} is not promising ({self._plan.params.search.pruner})"
            )


def pretrained_encoder(plan: StudyPlan, params: ModelParams, fold: Fold) -> Path | None:
    """An encoder that saw only what a trial with ``params`` may learn from; trained once for all trials."""
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


def _is_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a processor or a GPU."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _MEMORY_WORDS)


def _describe(error: BaseException) -> str:
    """The first line of an error, with its type."""
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}"[:500]
