"""Does the log hold together, and do MLflow's aliases say what it says."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coronet.config import MODELS
from coronet.errors import LedgerError
from coronet.registry import aliases, promotion_log, versions
from coronet.registry.promotion_log import LogFault
from coronet.registry.versions import CHAMPION, PREVIOUS
from coronet.tracking import mlflow_client
from coronet.tracking.git_state import missing_commit, read_committed

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclasses.dataclass(frozen=True)
class Audit:
    """What was found.

    Attributes:
        entries: whole lines of the log.
        committed: how many of them git's ``HEAD`` holds.
        faults: of the log.
        drift: sentences of aliases that are others than the log tells.
        mended: whether the drift was mended.
        unchecked: why the log could not be compared with git; empty where it was.
        unfinished: models with a move that was cut off; the next verb finishes it.
    """

    entries: int
    committed: int
    faults: tuple[LogFault, ...]
    drift: tuple[str, ...]
    mended: bool
    unfinished: tuple[str, ...]
    unchecked: str = ""

    @property
    def ok(self) -> bool:
        """Whether everything holds now."""
        return not self.faults and (self.mended or not self.drift)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"ok": self.ok, **dataclasses.asdict(self)}

    def lines(self) -> list[str]:
        """As text."""
        state = "the chain holds" if not self.faults else f"{len(self.faults)} faults"
        found = [f"{promotion_log.LOG}: {self.entries} lines, {self.committed} of them committed; {state}."]
        found += [fault.what for fault in self.faults]
        if self.unchecked:
            found.append(f"Lines cut off from the end would not be found without git. {self.unchecked}")
        found += [f"{sentence} {'Mended.' if self.mended else ''}".strip() for sentence in self.drift]
        found += [f"A move of {model} was cut off; its next verb finishes it." for model in self.unfinished]
        return found


def audit(project: Path = Path(), *, mend: bool = False) -> Audit:
    """Walk the log and compare it with git and with MLflow.

    Args:
        project: the project's folder.
        mend: set champion and previous as the log tells them, where the log holds together.
    """
    project = Path(project)
    faults = promotion_log.verify(project)
    entries = () if faults else promotion_log.read(project)
    unfinished = tuple(model for model in MODELS if aliases.pending(entries, model))
    drifted: list[str] = []
    if entries:
        with mlflow_client.open_client(project / "mlruns") as client:
            for model in MODELS:
                # a move under way is no drift: its aliases are between two states
                if model in unfinished:
                    continue
                drifted += drift(client, project, model)
                if mend:
                    _set_by_log(client, project, model)
    lines = promotion_log.count_lines(project)
    committed = min(lines, read_committed(project, promotion_log.LOG).count(b"\n"))
    return Audit(
        entries=lines,
        committed=committed,
        faults=faults,
        drift=tuple(drifted),
        mended=bool(drifted) and mend,
        unfinished=unfinished,
        unchecked=missing_commit(project),
    )


def drift(client: MlflowClient, project: Path, model: str) -> tuple[str, ...]:
    """Where MLflow's aliases are others than the log tells; a sentence each."""
    told, there = aliases.logged_aliases(promotion_log.read(project), model), versions.aliases(client, model)
    return tuple(
        f"MLflow's {alias} of {model} is {_named(model, there.get(alias))}, the log's is "
        f"{_named(model, told.get(alias))}."
        for alias in (CHAMPION, PREVIOUS)
        if told.get(alias) != there.get(alias)
    )


def _set_by_log(client: MlflowClient, project: Path, model: str) -> None:
    """Let champion and previous be what the log tells.

    Raises:
        LedgerError: MLflow lacks a version that the log tells of.
    """
    told, there = aliases.logged_aliases(promotion_log.read(project), model), versions.aliases(client, model)
    for alias in (CHAMPION, PREVIOUS):
        if alias in told and there.get(alias) != told[alias]:
            if versions.find(client, model, str(told[alias])) is None:
                raise LedgerError(
                    f"MLflow lacks {model}/{told[alias]}; `coronet tracking sync` brings it back "
                    "from the log."
                )
            versions.set_alias(client, model, alias, told[alias])
        elif alias in there and alias not in told:
            versions.drop_alias(client, model, alias)


def _named(model: str, number: int | None) -> str:
    return f"{model}/{number}" if number else "nobody"
