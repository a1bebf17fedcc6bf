"""Start the processes of a training by torchrun, and follow the checkpoints that they leave."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from coronet import files
from coronet.config import ResourceParams
from coronet.errors import InputError, StageError
from coronet.process import end_with_parent
from coronet.progress import Progress
from coronet.training import checkpoint
from coronet.training.job import TrainingJob, write_job
from coronet.training.trainer import OnEpoch
from coronet.training.worker import FAILURE

_JOB = "job.json"
_RESTARTS = 3
"""How often a process may end, by a kill or a lost GPU, before the training is given up."""
_LOOK_EVERY_S = 1.0


def train_in_processes(job: TrainingJob, work: Path, on_epoch: OnEpoch | None = None) -> None:
    """Train in ``job.resources.processes`` processes until the last checkpoint is there.

    A process that ends early ends the others, and all go on from the last checkpoint.

    Raises:
        InputError: several nodes are asked for outside of a SLURM allocation.
        StageError: the training failed; says why.
    """
    failure = work / FAILURE
    failure.unlink(missing_ok=True)
    write_job(work / _JOB, job)
    # a store of its own for every start: in a shared one, gloo finds addresses of processes that have ended
    environment = {**os.environ, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    cores = os.cpu_count() or 1
    environment.setdefault("OMP_NUM_THREADS", str(max(1, cores // job.resources.gpus)))
    command = [*launcher(job.resources), "-m", "coronet.training.worker", str((work / _JOB).resolve())]
    with (
        Progress(f"{job.title} epochs", job.params.optimiser.epochs) as progress,
        _running(command, environment) as process,
    ):
        told = 0
        ended = False
        while not ended:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LOOK_EVERY_S)
            ended = process.poll() is not None
            history = checkpoint.latest_history(work)
            for entry in history[told:]:
                progress.update(len(history))
                if on_epoch:
                    on_epoch(int(entry["epoch"]), entry)
            told = len(history)
    if failure.exists():
        raise StageError(files.read_json(failure)["message"])
    if process.returncode:
        raise StageError(
            f"The {job.resources.processes} processes of the {job.title} training ended with status "
            f"{process.returncode} after {told} epochs; what they said is above. The same command goes on "
            "from there."
        )


def launcher(resources: ResourceParams) -> Sequence[str]:
    """The command that starts the processes, on all nodes."""
    torchrun = [
        *(sys.executable, "-m", "coronet.training.launch"),
        *("--nproc-per-node", str(resources.gpus)),
        *("--max-restarts", str(_RESTARTS)),
    ]
    if resources.nodes == 1:
        return [*torchrun, "--standalone"]
    if "SLURM_JOB_ID" not in os.environ or not shutil.which("srun"):
        raise InputError(
            f"resources.nodes is {resources.nodes}, and machines are SLURM's to give: run the command inside "
            "an allocation (deploy/train.slurm), or set resources.nodes to 1."
        )
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    return [
        *("srun", "--nodes", str(resources.nodes), "--ntasks-per-node", "1", "--kill-on-bad-exit"),
        *torchrun,
        *("--nnodes", str(resources.nodes), "--rdzv-backend", "c10d"),
        *("--rdzv-endpoint", f"{socket.gethostname()}:{port}", "--rdzv-id", os.environ["SLURM_JOB_ID"]),
    ]


@contextlib.contextmanager
def _running(command: Sequence[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with this one and with the block."""
    process = subprocess.Popen(command, env=environment)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    from torch.distributed.run import main

    end_with_parent()
    main(sys.argv[1:])
