"""The workers of a cohort: actors of Ray, each with the networks loaded, that Ray restarts when they die."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from coronet.dataset.scan_folder import FolderEntry, ScanOutcome
from coronet.errors import InputError, Unreachable
from coronet.networks.factory import LoadedModel
from coronet.scoring.entry_scoring import EntryScoring, SourceOutcome

_AHEAD = 2
"""Entries at work in a worker at once: one is read or written while the networks of the other run."""
_POLL_S = 1.0
_START_S = 300.0  # longest that there may be no worker at all
_STORE_BYTES = 200_000_000  # Ray's memory for objects where this process starts it; only networks lie there


@dataclasses.dataclass(frozen=True)
class WorkerOptions:
    """Where the workers are, how many, and what each may use.

    Attributes:
        address: of a Ray cluster; empty for that of ``RAY_ADDRESS``, or else for one on this machine.
        count: of workers; None for as many as the cluster has room for.
        cores: of each.
        gpus: of each; a fraction shares one, 0 computes on cores.
    """

    address: str = ""
    count: int | None = None
    cores: int = 1
    gpus: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no worker can use."""
        if self.cores < 1 or self.gpus < 0 or (self.count is not None and self.count < 1):
            raise InputError(
                "Workers need at least one core, no negative share of GPUs, and a count above 0."
            )


@dataclasses.dataclass(frozen=True)
class WorkerDied:
    """A worker ended before it answered; ``with_node`` where its machine did."""

    with_node: bool


class _Worker:
    """What runs in a process of Ray."""

    def __init__(
        self, scoring: EntryScoring, options: WorkerOptions, number: int, sample: FolderEntry
    ) -> None:
        import torch

        from coronet.inference.devices import pick_device

        _settle_scratch(scoring.results.place, number)
        torch.set_num_threads(options.cores)
        device = pick_device() if options.gpus else torch.device("cpu")
        scorer = scoring.scorer
        scorer = dataclasses.replace(
            scorer,
            heart_model=_moved(scorer.heart_model, device),
            calcium_model=_moved(scorer.calcium_model, device),
        )
        self._scoring = dataclasses.replace(scoring, scorer=scorer)
        scoring.results.check_shared()
        if type(sample) is FolderEntry and not os.path.lexists(sample.path):
            raise InputError(f"{sample.path.parent} is not on every machine; use a shared folder or s3://.")

    def node(self) -> str:
        """The machine that it is on, as Ray calls it."""
        import ray

        return str(ray.get_runtime_context().get_node_id())

    def score_entry(self, entry: FolderEntry, done: Mapping[str, ScanOutcome]) -> list[SourceOutcome]:
        """See `EntryScoring.score_entry`."""
        return self._scoring.score_entry(entry, done)

    def labels(self, entry: FolderEntry) -> list[str]:
        """Labels of the scans of an entry; an empty one stands for an entry that cannot be had."""
        try:
            with self._scoring.sources(entry) as sources:
                return [source.label for source in sources]
        except InputError:
            return [""]

    def score_label(self, entry: FolderEntry, label: str) -> SourceOutcome | None:
        """Score one scan of an entry."""
        if not label:
            return next(iter(self.score_entry(entry, {})), None)
        with self._scoring.sources(entry) as sources:
            found = [source for source in sources if source.label == label]
            return self._scoring.score_source(entry, found[0]) if found else None


class RayWorkers:
    """The workers of a run, used as a context; they end with it, and with the process that began it."""

    def __init__(self, scoring: EntryScoring, options: WorkerOptions, entries: Sequence[FolderEntry]) -> None:
        """Connect to the cluster, or start one on this machine.

        Args:
            scoring: what each worker does.
            options: where and how many.
            entries: what is to do; there are no more workers than that, and each must see the first.

        Raises:
            InputError: Ray is not installed, or the cluster has no room for one worker.
            Unreachable: the cluster does not answer.
        """
        self._ray = ray = _connect(options.address)
        count = min(len(entries), options.count or _room(ray.cluster_resources(), options))
        # held as long as workers may be restarted with it
        self._scoring = ray.put(scoring)
        actor = ray.remote(_Worker).options(
            num_cpus=options.cores,
            num_gpus=options.gpus,
            max_restarts=-1,
            max_task_retries=0,
            max_concurrency=_AHEAD + 1,
            scheduling_strategy="SPREAD",
        )
        self._actors = [actor.remote(self._scoring, options, number, entries[0]) for number in range(count)]
        self._up: set[int] = set()  # workers that take work
        self._last_up = time.monotonic()  # when there was one
        self._nodes: dict[int, str] = {}  # where each worker was when it was last up
        self._starting: dict[Any, int] = {}  # worker by the question whether it is up
        self._entries: dict[Any, tuple[int, FolderEntry]] = {}  # worker and entry by the answer to come
        for number in range(count):
            self._start(number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        for actor in self._actors:
            self._ray.kill(actor)
        self._ray.shutdown()

    def _start(self, number: int) -> None:
        self._up.discard(number)
        if number not in self._starting.values():
            self._starting[self._actors[number].node.remote()] = number

    @property
    def busy(self) -> bool:
        """Whether an answer is to come."""
        return bool(self._entries)

    @property
    def has_room(self) -> bool:
        """Whether a worker takes one more entry."""
        return self._free() is not None

    def _free(self) -> int | None:
        loads = dict.fromkeys(self._up, 0)
        for number, _ in self._entries.values():
            if number in loads:
                loads[number] += 1
        free = [number for number, load in loads.items() if load < _AHEAD]
        return min(free, key=loads.__getitem__) if free else None

    def submit(self, entry: FolderEntry, done: Mapping[str, ScanOutcome]) -> None:
        """Give an entry to the worker that has least to do; see `has_room`."""
        number = self._free()
        assert number is not None
        self._entries[self._actors[number].score_entry.remote(entry, done)] = number, entry

    def wait(self) -> Iterator[tuple[FolderEntry, list[SourceOutcome] | WorkerDied]]:
        """The answers that have come, after a second at most; workers that are up again take work.

        Raises:
            Unreachable: no worker has been up for minutes.
        """
        if self._up:
            self._last_up = time.monotonic()
        elif time.monotonic() - self._last_up > _START_S:
            raise Unreachable(
                "The Ray cluster has given no worker for five minutes; the same command goes on once it does."
            )
        asked = [*self._entries, *self._starting]
        ready, _ = self._ray.wait(asked, num_returns=1, timeout=_POLL_S)
        more, _ = self._ray.wait(asked, num_returns=len(asked), timeout=0)
        for answer in dict.fromkeys([*ready, *more]):
            if answer in self._starting:
                self._note_up(answer)
            else:
                number, entry = self._entries.pop(answer)
                yield entry, self._answer(answer, number)

    def _note_up(self, question: Any) -> None:
        number = self._starting.pop(question)
        node = self._answer(question, number)
        if not isinstance(node, WorkerDied):
            self._nodes[number] = node
            self._up.add(number)

    def _answer(self, answer: Any, number: int) -> Any:
        """What a worker says, or that it has died; an error of its work is raised."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(answer)
        except errors.RayTaskError as error:
            raise error.as_instanceof_cause() from None
        except errors.RayError as error:
            cause = getattr(error, "cause", None)
            if getattr(error, "actor_init_failed", False) or getattr(error, "_actor_init_failed", False):
                text = str(cause or error).strip().splitlines()[-1]
                raise InputError(f"A worker cannot start: {text}") from None
            there = {item["NodeID"] for item in self._ray.nodes() if item["Alive"]}
            with_node = self._nodes.get(number, "") not in there
            self._start(number)
            return WorkerDied(with_node)

    def ask_alone(self, method: str, *values: Any) -> Any:
        """Ask one worker while all others rest."""
        while not self._up:
            list(self.wait())
        number = min(self._up)
        return self._answer(getattr(self._actors[number], method).remote(*values), number)


def _connect(address: str) -> Any:
    # no word of this to Ray's makers
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise InputError('--ray needs Ray: pip install "coronet[scale]".') from error
    elsewhere = address or os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"address": elsewhere}
    if not elsewhere:
        options = {"address": "local", "object_store_memory": _STORE_BYTES}
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:  # Ray raises bare ones where its processes do not start in time
        where = elsewhere or "on this machine"
        raise Unreachable(f"Ray cluster {where} does not answer ({str(error).splitlines()[0]}).") from error
    return ray


def _room(resources: Mapping[str, float], options: WorkerOptions) -> int:
    room = int(resources.get("CPU", 0) // options.cores)
    if options.gpus:
        room = min(room, int(resources.get("GPU", 0) / options.gpus))
    if room < 1:
        gpus = f" and {options.gpus:g} GPUs" if options.gpus else ""
        raise InputError(f"The Ray cluster has no room for a worker with {options.cores} cores{gpus}.")
    return room


def _settle_scratch(place: str, number: int) -> None:
    """Give the process a folder for temporary files; what a killed one left in it is removed."""
    run = hashlib.sha256(place.encode()).hexdigest()[:10]
    root = Path(os.environ.get("TMPDIR", "/tmp")) / f"coronet-{os.getuid()}-{run}"
    root.mkdir(mode=0o700, exist_ok=True)
    if root.is_symlink() or root.stat().st_uid != os.getuid():
        raise InputError(f"{root} belongs to somebody else; set TMPDIR to a folder of yours.")
    scratch = root / str(number)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(mode=0o700)
    tempfile.tempdir = str(scratch)


def _moved(model: LoadedModel, device: Any) -> LoadedModel:
    return dataclasses.replace(model, module=model.module.to(device), device=device)
