"""``coronet models check``: is the log unchanged, and do MLflow's aliases follow it?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coronet.config import MODELS, check_project
from coronet.registry import promotion_log, versions
from coronet.registry.promotion_log import PROMOTED, ROLLED_BACK, LogEntry, LogFault
from coronet.registry.versions import CHALLENGER, CHAMPION, PREVIOUS
from coronet.tracking import mlflow_client
from coronet.tracking.git_state import missing_commit, read_committed

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclasses.dataclass(frozen=True)
class LogCheck:
    """What was found."""

    entries: int  # whole lines of the log
    committed: int  # how many of them git's `HEAD` holds
    faults: tuple[LogFault, ...]  # of the log
    drift: tuple[str, ...]  # sentences of aliases that differ from the log
    # models whose last promotion or rollback was killed before its aliases were set
    unfinished: tuple[str, ...]
    unchecked: str = ""  # why the log could not be compared with git; empty where it was

    @property
    def ok(self) -> bool:
        """Whether log and aliases hold."""
        return not self.faults and not self.drift and not self.unfinished

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"ok": self.ok, **dataclasses.asdict(self)}

    def lines(self) -> list[str]:
        """As text."""
        state = "the chain holds" if not self.faults else f"{len(self.faults)} faults"
        todo = f" Commit {promotion_log.LOG}." if self.committed < self.entries else ""
        found = [
            f"{promotion_log.LOG}: {self.entries} lines, {self.committed} of them committed; {state}.{todo}"
        ]
        found += [fault.what for fault in self.faults]
        if self.unchecked:
            found.append(f"Lines cut off from the end would not be found without git. {self.unchecked}")
        return [*found, *self.drift, *self.unfinished]


def check_log(project: Path = Path()) -> LogCheck:
    """Walk the log, and compare it with git and with MLflow's aliases."""
    project = Path(project)
    check_project(project)
    faults = promotion_log.verify(project)
    entries = () if faults else promotion_log.read(project)
    drifted: list[str] = []
    unfinished: list[str] = []
    if entries:
        with mlflow_client.open_client(project / "mlruns") as client:
            for model in MODELS:
                if move := unfinished_move(client, entries, model):
                    verb = "promote" if move.kind == PROMOTED else "rollback"
                    unfinished.append(
                        f"The {verb} of {model} in line {move.number} was killed before MLflow's aliases "
                        f"were set; run `coronet models {verb} {model}` again."
                    )
                else:
                    drifted += alias_drift(client, entries, model)
    lines = promotion_log.count_lines(project)
    return LogCheck(
        entries=lines,
        committed=min(lines, read_committed(project, promotion_log.LOG).count(b"\n")),
        faults=faults,
        drift=tuple(drifted),
        unfinished=tuple(unfinished),
        unchecked=missing_commit(project),
    )


def alias_drift(client: MlflowClient, entries: Iterable[LogEntry], model: str) -> tuple[str, ...]:
    """Where MLflow's champion and previous differ from the log; a sentence each."""
    logged, present = promotion_log.logged_aliases(entries, model), versions.aliases(client, model)

    def named(number: int | None) -> str:
        return f"{model}/{number}" if number else "absent"

    return tuple(
        f"MLflow's {alias} of {model} is {named(present.get(alias))}, the log's is "
        f"{named(logged.get(alias))}."
        for alias in (CHAMPION, PREVIOUS)
        if logged.get(alias) != present.get(alias)
    )


def unfinished_move(client: MlflowClient, entries: Iterable[LogEntry], model: str) -> LogEntry | None:
    """The last move of a model, if MLflow's aliases stand anywhere between before and after it; or None."""
    own = [entry for entry in entries if entry.model == model]
    moves = [place for place, entry in enumerate(own) if entry.kind in (PROMOTED, ROLLED_BACK)]
    if not moves:
        return None
    before = promotion_log.logged_aliases(own[: moves[-1]], model)
    after, present = promotion_log.logged_aliases(own, model), versions.aliases(client, model)
    if versions.find(client, model, str(after[CHAMPION])) is None:
        return None
    ends = [(present.get(alias), before.get(alias), after.get(alias)) for alias in (CHAMPION, PREVIOUS)]
    done = all(now == then for now, _, then in ends) and present.get(CHALLENGER) != after[CHAMPION]
    if done or any(now not in between for now, *between in ends):
        return None
    return own[moves[-1]]
