"""Who is champion: the one place where the aliases of a model move, and every move is in the log.

MLflow moves one alias at a time, so a line of intent goes to the log before the first and a closing line
after the last. Whoever comes next finds an intent without its closing line and carries it out; every step
sets an alias to a version that the intent names, so doing it twice is no harm.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coronet import config
from coronet.errors import Busy, InputError, ParamsError, PromotionError
from coronet.files import exclusive, sha256_file
from coronet.registry import aliases, check, gate, model_pair, promotion_log, versions
from coronet.registry.promotion_log import INTENT, PROMOTED, REJECTED, ROLLED_BACK, UNDECIDED, Event, LogEntry
from coronet.registry.verdict import REJECT, Verdict
from coronet.registry.version_quality import record_verdict
from coronet.registry.versions import CHALLENGER, CHAMPION, PREVIOUS, Version
from coronet.tracking import mlflow_client

if TYPE_CHECKING:
    from mlflow import MlflowClient

_TURN_SECONDS = 3600
"""How long a promoter waits for the one before it, which may be measuring."""

Approve = Callable[[Verdict], str | None]


@dataclasses.dataclass(frozen=True)
class Promotion:
    """What became of it.

    Attributes:
        model: ``heart`` or ``calcium``.
        champion: number of the champion now; None where there is none.
        previous: number of the champion before this; None where there was none.
        entry: the line of the log that tells it.
        verdict: of the gate; None for a rollback.
    """

    model: str
    champion: int | None
    previous: int | None
    entry: LogEntry
    verdict: Verdict | None = None

    @property
    def moved(self) -> bool:
        """Whether there is another champion than before."""
        return self.champion != self.previous

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "model": self.model,
            "moved": self.moved,
            "champion": self.champion,
            "previous": self.previous,
            "line": self.entry.number,
            "verdict": self.verdict.to_json() if self.verdict else None,
        }


def promote(
    model: str,
    project: Path = Path(),
    *,
    first: bool = False,
    approved_by: str | None = None,
    approve: Approve | None = None,
) -> Promotion:
    """Judge the challenger and make it champion where the gate says so.

    Promoters of one model take turns; each sees the champion that the one before it made.

    Args:
        model: ``heart`` or ``calcium``.
        project: the project's folder.
        first: there is no champion yet, and the challenger shall be the first.
        approved_by: whose word it is.
        approve: asked once the gate says yes and ``approved_by`` is not given; names who approves, or None
            where nobody does.

    Raises:
        PromotionError: there is nothing to promote, ``first`` does not fit, the word that
            ``gate.approval: required`` asks for is missing, or aliases and log contradict each other.
        InputError: the log is damaged.
    """
    project = Path(project)
    params = config.load_params(project / "params.yaml")
    approved_by = _name(approved_by)
    with _turn(project, model):
        _prepare(project, model)
        candidate, champion = _contestants(project, model, first=first)
        if params.gate.approval == "required" and not (approved_by or approve):
            raise PromotionError(
                f"gate.approval is «required»: `coronet models promote {model} --approve-by NAME` "
                "records whose "
                "word it is."
            )
        verdict = gate.evaluate_gate(project, candidate, champion, params)
        evidence = _keep(project, candidate, verdict)
        if verdict.promoted and approve and not approved_by:
            approved_by = _name(approve(verdict))
        old = champion.number if champion else None
        details = _details(candidate, verdict, approved_by) | evidence
        refused = verdict.promoted and params.gate.approval == "required" and not approved_by
        if not verdict.promoted or refused or (approve and not approved_by):
            kind = REJECTED if verdict.answer == REJECT or verdict.promoted else UNDECIDED
            details |= {"reason": "nobody approved it"} if verdict.promoted else {}
            entry = promotion_log.append(project, Event(kind, model, candidate.number, details))
            return Promotion(model, old, old, entry, verdict)
        entry = _move(project, model, PROMOTED, new=candidate.number, old=old, details=details)
        return Promotion(model, candidate.number, old, entry, verdict)


def rollback(
    model: str, project: Path = Path(), *, reason: str = "", approved_by: str | None = None
) -> Promotion:
    """Make the previous champion champion again, and the champion the previous one.

    Raises:
        PromotionError: there is no previous champion, or aliases and log contradict each other.
        InputError: the log or the previous champion's weights are damaged.
    """
    project = Path(project)
    approved_by = _name(approved_by)
    with _turn(project, model):
        _prepare(project, model)
        with mlflow_client.open_client(project / "mlruns") as client:
            _check_agreement(client, project, model)
            champion, previous = (versions.find(client, model, name) for name in (CHAMPION, PREVIOUS))
            if champion is None or previous is None:
                raise PromotionError(
                    f"{model} has no previous champion to go back to; "
                    f"`coronet models history {model}` shows them."
                )
            with tempfile.TemporaryDirectory(prefix="coronet-rollback-") as folder:
                versions.fetch(client, previous, Path(folder))
        details = {"reason": reason, "approved_by": approved_by or "", **_identity(previous)}
        new, old = previous.number, champion.number
        entry = _move(project, model, ROLLED_BACK, new=new, old=old, details=details)
        return Promotion(model, new, old, entry)


def history(model: str, project: Path = Path()) -> tuple[LogEntry, ...]:
    """Everything that the log tells of a model, oldest first; a move that was cut off is finished before."""
    project = Path(project)
    if model not in config.MODELS:
        raise ParamsError(f"There is no model «{model}»; the models are {' and '.join(config.MODELS)}.")
    finish(project, model)
    return tuple(entry for entry in promotion_log.read(project) if entry.model == model)


def finish(project: Path, model: str) -> LogEntry | None:
    """Carry out a move that was cut off, unless a promoter is at work; the closing line, or None."""
    if aliases.pending(promotion_log.read(project), model) is None:
        return None
    try:
        with _turn(Path(project), model, seconds=0):
            return _finish(Path(project), model)
    except Busy:
        return None


def _turn(
    project: Path, model: str, *, seconds: float = _TURN_SECONDS
) -> contextlib.AbstractContextManager[None]:
    if model not in config.MODELS:
        raise ParamsError(f"There is no model «{model}»; the models are {' and '.join(config.MODELS)}.")
    busy = f"Another promotion of {model} is under way; wait for it."
    return exclusive(project / "mlruns" / f".promotion-{model}.lock", seconds=seconds, busy=busy)


def _prepare(project: Path, model: str) -> None:
    """Mend what a kill left, and refuse a log that anything else has changed."""
    promotion_log.mend(project)
    faults = promotion_log.verify(project)
    if faults:
        raise InputError(f"{promotion_log.LOG}: {faults[0].what} `coronet models check` lists all faults.")
    _finish(project, model)


def _contestants(project: Path, model: str, *, first: bool) -> tuple[Version, Version | None]:
    """The challenger and the champion, once it is clear that there is something to judge."""
    with mlflow_client.open_client(project / "mlruns") as client:
        _check_agreement(client, project, model)
        candidate, champion = (versions.find(client, model, name) for name in (CHALLENGER, CHAMPION))
    if candidate is None:
        now = f"; {model}/{champion.number} is champion" if champion else ""
        raise PromotionError(f"There is no challenger{now}; `coronet models register {model}` makes one.")
    if first and champion is not None:
        raise PromotionError(
            f"--first is for a model without a champion; {model}/{champion.number} is one. Leave it out."
        )
    if not first and champion is None:
        raise PromotionError(
            f"{model} has no champion yet; `coronet models promote {model} --first` makes the first."
        )
    if champion is not None and champion.weights_sha256 == candidate.weights_sha256:
        raise PromotionError(
            f"There is nothing to promote: {model}/{candidate.number} has the very weights of the champion "
            f"{model}/{champion.number}."
        )
    return candidate, champion


def _check_agreement(client: MlflowClient, project: Path, model: str) -> None:
    found = check.drift(client, project, model)
    if found:
        raise PromotionError(
            f"{found[0]} `coronet tracking sync` brings back what MLflow lost, `coronet models check --mend` "
            "sets aliases by the log."
        )


def _keep(project: Path, candidate: Version, verdict: Verdict) -> dict[str, str]:
    """Store table, picture and JSON with the version's run; what the log says of them."""
    place = f"gate/{verdict.model}-{verdict.version}-against-{verdict.champion or 'none'}"
    with tempfile.TemporaryDirectory(prefix="coronet-verdict-") as name:
        folder = Path(name)
        gate.write_verdict(folder, verdict)
        with mlflow_client.open_client(project / "mlruns") as client:
            client.log_artifacts(candidate.run_id, str(folder), place)
            record_verdict(client, candidate, verdict)
        return {"evidence": place, "verdict_sha256": sha256_file(folder / "verdict.json")}


def _details(candidate: Version, verdict: Verdict, approved_by: str | None) -> dict[str, Any]:
    return {**_identity(candidate), "approved_by": approved_by or "", "verdict": verdict.summary()}


def _identity(version: Version) -> dict[str, str]:
    return {"fingerprint": version.fingerprint, "weights_sha256": version.weights_sha256}


def _name(text: str | None) -> str | None:
    """One line of a person's name."""
    name = " ".join((text or "").split())
    if len(name) > 100:
        raise InputError(f"--approve-by takes a name; «{name[:20]}…» is too long for one.")
    return name or None


def _move(
    project: Path, model: str, kind: str, *, new: int, old: int | None, details: Mapping[str, Any]
) -> LogEntry:
    intent = promotion_log.append(
        project, Event(INTENT, model, new, {"move": kind, "from": old or 0, **details})
    )
    return _carry_out(project, intent)


def _finish(project: Path, model: str) -> LogEntry | None:
    intent = aliases.pending(promotion_log.read(project), model)
    return _carry_out(project, intent, finished=True) if intent else None


def _carry_out(project: Path, intent: LogEntry, *, finished: bool = False) -> LogEntry:
    """Set the aliases that an intent names, then close it."""
    model, new, old = intent.model, intent.version, intent.details["from"]
    with mlflow_client.open_client(project / "mlruns") as client:
        if old:
            versions.set_alias(client, model, PREVIOUS, old)
        versions.set_alias(client, model, CHAMPION, new)
        challenger = versions.find(client, model, CHALLENGER)
        if challenger is not None and challenger.number == new:
            versions.drop_alias(client, model, CHALLENGER)
        details = {key: value for key, value in intent.details.items() if key != "move"}
        details |= {"intent": intent.number} | ({"finished_later": True} if finished else {})
        entry = promotion_log.append(project, Event(intent.details["move"], model, new, details))
        model_pair.refresh(client, project)
        return entry
