"""A training as plain data, so that several processes can each build what they train."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from coronet import files
from coronet.config import ModelParams, ResourceParams
from coronet.config.schema import CheckedValue, build
from coronet.fingerprint import canonical
from coronet.inference.devices import pick_device
from coronet.networks.factory import WEIGHTS, build_autoencoder, build_network
from coronet.preprocessing.prepared_store import load_prepared
from coronet.training.learners import ReconstructionLearner, SegmentationLearner
from coronet.training.sampling import WindowSampler
from coronet.training.trainer import Learner, OnEpoch, TrainingOutcome, read_outcome, train_epochs


@dataclasses.dataclass(frozen=True)
class TrainingJob(CheckedValue):
    """Everything that decides what a training gives, and where its inputs are.

    ``tune_cases`` are empty for an autoencoder. ``pretrained`` is an autoencoder's encoder and ``start`` the
    folder of a trained model to go on from, both or either empty. Folders are of the project's folder.
    """

    model: str
    params: ModelParams
    train_cases: tuple[str, ...]
    tune_cases: tuple[str, ...]
    seed: int
    prepared: str
    pretrained: str = ""
    start: str = ""
    autoencoder: bool = False
    resources: ResourceParams = dataclasses.field(default_factory=ResourceParams)

    @property
    def title(self) -> str:
        """What progress calls it."""
        return f"{self.model} autoencoder" if self.autoencoder else self.model

    @property
    def identity(self) -> dict[str, Any]:
        """What its checkpoints belong to; files by their hashes."""
        start = f"{self.start}/{WEIGHTS}" if self.start else ""
        named = {} if self.autoencoder else {"tune_cases": list(self.tune_cases)}
        used = {} if self.autoencoder else {"pretrained": self.pretrained, "start": start}
        return {
            "model": self.model,
            "params": self.params,
            "train_cases": list(self.train_cases),
            **named,
            "seed": self.seed,
            "prepared": files.sha256_file(Path(self.prepared) / "index.json"),
            **{name: files.sha256_file(Path(path)) if path else None for name, path in used.items()},
            **self.resources.shaping(),
        }

    def module(self) -> nn.Module:
        """The network before its first epoch; the same in every process."""
        network, shape = self.params.network, self.params.input.shape
        if self.autoencoder:
            return build_autoencoder(network, shape=shape, seed=self.seed)
        return build_network(
            network,
            shape=shape,
            seed=self.seed,
            pretrained=Path(self.pretrained) if self.pretrained else None,
            start=Path(self.start) / WEIGHTS if self.start else None,
        )

    def learner(self, device: torch.device) -> Learner:
        """What the loop trains the network by; loads the cases."""
        prepared = Path(self.prepared)
        train = load_prepared(prepared, self.train_cases, self.params.input)
        if self.autoencoder:
            return ReconstructionLearner(WindowSampler(train, self.params, seed=self.seed, device=device))
        return SegmentationLearner(
            self.model,
            self.params,
            train_cases=train,
            tune_cases=load_prepared(prepared, self.tune_cases, self.params.input),
            seed=self.seed,
            device=device,
        )


def write_job(path: Path, job: TrainingJob) -> None:
    """Write a job for other processes to read."""
    files.write_json(path, canonical(job))


def read_job(path: Path) -> TrainingJob:
    """A job as `write_job` wrote it."""
    content: Mapping[str, Any] = files.read_json(path)
    job: TrainingJob = build(TrainingJob, content, where=str(path))
    return job


def train_here(
    job: TrainingJob, work: Path, on_epoch: OnEpoch | None = None
) -> tuple[nn.Module, TrainingOutcome]:
    """Train in this process, as one of several where it is a member of a group; see `train_epochs`."""
    device = pick_device()
    module = job.module()
    outcome = train_epochs(
        module,
        job.learner(device),
        job.params.optimiser,
        seed=job.seed,
        work=work,
        device=device,
        title=job.title,
        resources=job.resources,
        on_epoch=on_epoch,
    )
    return module, outcome


def train(job: TrainingJob, work: Path, on_epoch: OnEpoch | None = None) -> tuple[nn.Module, TrainingOutcome]:
    """Train, or resume a training that was interrupted, in as many processes as the job asks for.

    Args:
        work: folder of the checkpoints, locked and claimed for this job.
        on_epoch: called in this process with (epoch, what was measured) after every epoch.

    Returns:
        The network with its best weights, and what came of the training.

    Raises:
        StageError: the loss is no longer a number, or processes end again and again.
    """
    if job.resources.processes == 1:
        module, outcome = train_here(job, work, on_epoch)
    else:
        from coronet.training.launch import train_in_processes

        train_in_processes(job, work, on_epoch)
        module, outcome = job.module(), read_outcome(work)
    module.load_state_dict(outcome.weights)
    return module, outcome
