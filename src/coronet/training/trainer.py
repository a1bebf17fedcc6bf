"""The training loop: epochs, the plateau rule, early stopping, and resuming.

Nothing is drawn from a generator that has a state. A step's samples come from (seed, epoch, step), and so
does the seed of torch's own generator, which some encoders use. So a checkpoint after an epoch, weights and
optimiser together, decides everything that follows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from coronet.config import OptimiserParams, ResourceParams
from coronet.errors import StageError
from coronet.inference.devices import determinism, precision
from coronet.networks.cpu_kernels import accelerate
from coronet.networks.factory import to_device
from coronet.progress import Progress
from coronet.training import checkpoint, processes

logger = logging.getLogger("coronet")
OnEpoch = Callable[[int, Mapping[str, float]], None]


class Learner(Protocol):
    """What the loop trains."""

    metric: str
    """The value of `measure` that decides; higher is better."""

    def begin_epoch(self, epoch: int, module: nn.Module) -> None:
        """Look at the network, in evaluation mode, before an epoch (0 for the first) is drawn."""

    def batch(self, epoch: int, numbers: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets of the samples with these numbers."""

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """A scalar to be made small."""

    def measure(self, module: nn.Module, loss: float) -> dict[str, float]:
        """How good the network is after an epoch whose mean loss was ``loss``."""


@dataclasses.dataclass(frozen=True)
class TrainingOutcome:
    """What came of a training."""

    weights: Mapping[str, torch.Tensor]  # the best state by the metric
    best_epoch: int  # when it was reached, counted from 1
    best: float
    history: tuple[Mapping[str, float], ...]  # one mapping per epoch


class _Training:
    """Everything that changes while training goes on."""

    def __init__(self, module: nn.Module, params: OptimiserParams) -> None:
        self.params = params
        self.module = module
        self.average: AveragedModel | None = None
        if params.averaging:
            self.average = AveragedModel(module, multi_avg_fn=self._average, use_buffers=True)
            # the first weights are averaged too, not replaced
            self.average.n_averaged.fill_(1)
        self.optimiser = torch.optim.Adam(module.parameters(), lr=params.learning_rate, fused=True)
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimiser, mode="max", factor=params.plateau_factor, patience=params.plateau_patience
        )
        self.history: list[dict[str, float]] = []
        self.best: dict[str, torch.Tensor] = {}
        self.best_epoch, self.best_value = 0, float("-inf")

    @property
    def result(self) -> nn.Module:
        """The network that is measured and kept: the averaged one where there is one."""
        return self.module if self.average is None else self.average.module

    @property
    def finished(self) -> bool:
        epochs = len(self.history)
        return epochs >= self.params.epochs or epochs - self.best_epoch >= self.params.stop_patience > 0

    def _average(self, averages: Sequence[torch.Tensor], present: Sequence[torch.Tensor], _: object) -> None:
        """Move averages towards the present values; quickly at first, when those are still poor."""
        assert self.average is not None
        steps = int(self.average.n_averaged)
        decay = min(self.params.averaging, (1 + steps) / (10 + steps))
        for average, value in zip(averages, present, strict=True):
            if value.is_floating_point():
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)

    def close_epoch(self, loss: float, measured: Mapping[str, float], metric: str) -> dict[str, float]:
        value = measured[metric]
        self.plateau.step(value)
        entry = {
            "epoch": len(self.history) + 1,
            "loss": loss,
            **{name: float(number) for name, number in measured.items()},
            "learning_rate": self.optimiser.param_groups[0]["lr"],
        }
        self.history.append(entry)
        if value > self.best_value:
            self.best_value, self.best_epoch = float(value), len(self.history)
            self.best = {name: tensor.clone() for name, tensor in self.result.state_dict().items()}
        return entry

    def state_dict(self) -> dict[str, Any]:
        return {
            "module": self.module.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "optimiser": self.optimiser.state_dict(),
            "plateau": self.plateau.state_dict(),
            "best": self.best,
            "best_epoch": self.best_epoch,
            "best_value": self.best_value,
            "history": self.history,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name in ("module", "average", "optimiser", "plateau"):
            if state[name] is not None:
                getattr(self, name).load_state_dict(state[name])
        self.best, self.history = state["best"], state["history"]
        self.best_epoch, self.best_value = state["best_epoch"], state["best_value"]


def train_epochs(
    module: nn.Module,
    learner: Learner,
    params: OptimiserParams,
    *,
    seed: int,
    work: Path,
    device: torch.device,
    title: str,
    resources: ResourceParams = ResourceParams(),
    on_epoch: OnEpoch | None = None,
) -> TrainingOutcome:
    """Train until the epochs are used up or the metric stands still.

    Members of a group of processes call it together; the first of them writes the checkpoints.

    Args:
        module: the network; on return it is trained, though not with the best weights.
        params: epochs, steps, learning rate, patience.
        work: folder of the checkpoints; what is there is gone on with.
        resources: how batch norm and batches are shared out.
        on_epoch: called with (epoch, what was measured) after the checkpoint; may raise to give up.

    Raises:
        StageError: the loss is no longer a number.
    """
    module = to_device(accelerate(module), device)
    training = _Training(module, params)
    saved = checkpoint.latest_checkpoint(work)
    if saved is not None:
        training.load_state_dict(saved)
        logger.info("%s: going on after epoch %d", title, len(training.history))
    steps = max(1, params.patches_per_epoch // params.batch_size)
    forward = processes.parallel(module, batch_norm=resources.batch_norm)
    with determinism(device), Progress(f"{title} epochs", params.epochs) as progress:
        progress.update(len(training.history))
        while not training.finished:
            epoch = len(training.history)
            learner.begin_epoch(epoch, training.result.eval())
            tick = functools.partial(progress.advance, 1 / steps)
            loss = _epoch(
                training,
                learner,
                forward,
                epoch=epoch,
                steps=steps,
                parts=resources.accumulation,
                seed=seed,
                device=device,
                tick=tick,
            )
            measured = learner.measure(training.result.eval(), loss)
            entry = training.close_epoch(loss, measured, learner.metric)
            if processes.rank() == 0:
                checkpoint.save_checkpoint(work, epoch + 1, training.state_dict())
            note = f"loss {loss:.4f} {learner.metric} {entry[learner.metric]:.4f}"
            progress.update(epoch + 1, note=note)
            if on_epoch:
                on_epoch(epoch + 1, entry)
    logger.info(
        "%s: %d epochs, best %s %.4f after epoch %d",
        title,
        len(training.history),
        learner.metric,
        training.best_value,
        training.best_epoch,
    )
    return TrainingOutcome(training.best, training.best_epoch, training.best_value, tuple(training.history))


def read_outcome(work: Path) -> TrainingOutcome:
    """What came of a training that other processes finished, from its last checkpoint.

    Raises:
        StageError: there is none.
    """
    state = checkpoint.latest_checkpoint(work)
    if state is None:
        raise StageError(f"{work} holds no checkpoint; start the training again.")
    return TrainingOutcome(state["best"], state["best_epoch"], state["best_value"], tuple(state["history"]))


def _epoch(
    training: _Training,
    learner: Learner,
    forward: nn.Module,
    *,
    epoch: int,
    steps: int,
    parts: int,
    seed: int,
    device: torch.device,
    tick: Callable[[], Any],
) -> float:
    training.module.train()
    losses = []
    size = training.params.batch_size
    for step in range(steps):
        torch.manual_seed(int(np.random.SeedSequence([seed, epoch, step]).generate_state(1)[0]))
        training.optimiser.zero_grad(set_to_none=True)
        total = torch.zeros((), device=device)
        for part in range(parts):
            first, last = (step * size + place * size // parts for place in (part, part + 1))
            inputs, targets = learner.batch(epoch, processes.share(range(first, last)))
            inputs = inputs.to(device, memory_format=torch.channels_last_3d)
            with _averaging(forward, part == parts - 1):
                with precision(device):
                    outputs = forward(inputs)
                loss = learner.loss(processes.joined(outputs), processes.joined(targets.to(device)))
                (loss / parts if parts > 1 else loss).backward()
            total += loss.detach() / parts
        training.optimiser.step()
        if training.average:
            training.average.update_parameters(training.module)
        losses.append(total)
        tick()
    # read once: every reading would let a GPU wait for the processor
    mean = float(torch.stack(losses).double().mean())
    if not np.isfinite(mean):
        raise StageError(
            f"The loss of epoch {epoch + 1} is not a number; try a lower optimiser.learning_rate."
        )
    return mean


def _averaging(forward: nn.Module, now: bool) -> contextlib.AbstractContextManager[None]:
    """Whether the processes average their gradients at the end of this part of a batch."""
    if now or not isinstance(forward, nn.parallel.DistributedDataParallel):
        return contextlib.nullcontext()
    return forward.no_sync()
