"""Promotion and rollback: the only place where the aliases of a model move.

The line in the promotion log is the decision; MLflow's aliases follow it. A process killed between the two
leaves aliases behind the log, and the same command, run again, sets them: each step is idempotent.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from coronet import config
from coronet.errors import InputError, PromotionError
from coronet.files import exclusive, sha256_file
from coronet.registry import gate, promotion_log, versions
from coronet.registry.check import alias_drift, unfinished_move
from coronet.registry.promotion_log import PROMOTED, REJECTED, ROLLED_BACK, UNDECIDED, Event, LogEntry
from coronet.registry.verdict import REJECT, Verdict
from coronet.registry.version_quality import record_verdict
from coronet.registry.versions import CHALLENGER, CHAMPION, PREVIOUS, Version
from coronet.tracking import mlflow_client

Approve = Callable[[Verdict], str | None]


@dataclasses.dataclass(frozen=True)
class Promotion:
    """What a promotion or a rollback led to."""

    model: str  # `heart` or `calcium`
    champion: int | None  # number of the champion now; None where there is none
    previous: int | None  # number of the champion before; None where there was none
    entry: LogEntry
    # of the gate; None for a rollback, and for a promotion that was killed before and is finished
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
    """Evaluate the challenger and make it champion if the gate allows it.

    Promotions of one model run one after the other; each compares with the champion that the last one made.

    Args:
        first: there is no champion yet, and the challenger shall be the first.
        approved_by: name of the person who approves.
        approve: called once the gate allows it and ``approved_by`` is not given, while other promotions may
            run; returns the name of the person who approves, or None.

    Raises:
        PromotionError: there is nothing to promote, ``first`` does not fit, the approval that
            ``gate.approval: required`` asks for is missing, aliases and log contradict each other, or another
            version became champion or challenger while the approval was awaited.
        InputError: the log is damaged.
    """
    project = Path(project)
    params = config.load_params(project / "params.yaml")
    approved_by = _clean_name(approved_by)
    with contextlib.ExitStack() as lock:
        entries = lock.enter_context(_locked_log(project, model))
        if (finished := _finish(project, model, entries)) and finished.kind == PROMOTED:
            return _moved_to(finished)
        candidate, champion = _challenger_and_champion(project, model, first=first)
        if params.gate.approval == "required" and not (approved_by or approve):
            raise PromotionError(
                f"gate.approval is `required`: `coronet models promote {model} --approve-by NAME` records "
                "who approves."
            )
        verdict = gate.evaluate_gate(project, candidate, champion, params)
        evidence = _keep_evidence(project, candidate, verdict)
        if verdict.promoted and approve and not approved_by:
            # An answer may take days. Others may promote meanwhile, so all is looked at again afterwards.
            lock.close()
            approved_by = _clean_name(approve(verdict))
            lock.enter_context(_locked_log(project, model))
            _check_unchanged(project, model, first=first, compared=(candidate, champion))
        old = champion.number if champion else None
        details = {
            **_identity(candidate),
            "approved_by": approved_by or "",
            "verdict": verdict.summary(),
            **evidence,
        }
        unapproved = not approved_by and (approve or params.gate.approval == "required")
        if not verdict.promoted or unapproved:
            kind = REJECTED if verdict.answer == REJECT or verdict.promoted else UNDECIDED
            details |= {"reason": "not approved"} if verdict.promoted else {}
            entry = promotion_log.append(project, Event(kind, model, candidate.number, details))
            return Promotion(model, old, old, entry, verdict)
        entry = promotion_log.append(
            project, Event(PROMOTED, model, candidate.number, {"from": old or 0, **details})
        )
        _set_aliases(project, model)
        return _moved_to(entry, verdict)


def rollback(
    model: str, project: Path = Path(), *, reason: str = "", approved_by: str | None = None
) -> Promotion:
    """Make the previous champion champion again, and the champion the previous one.

    Raises:
        PromotionError: there is no previous champion, or aliases and log contradict each other.
        InputError: the log is damaged.
        LedgerError: the previous champion's weights are damaged.
    """
    project = Path(project)
    approved_by = _clean_name(approved_by)
    with _locked_log(project, model) as entries:
        if (finished := _finish(project, model, entries)) and finished.kind == ROLLED_BACK:
            return _moved_to(finished)
        with mlflow_client.open_client(project / "mlruns") as client:
            champion, previous = (versions.find(client, model, name) for name in (CHAMPION, PREVIOUS))
            if champion is None or previous is None:
                raise PromotionError(
                    f"{model} has no previous champion to go back to; `coronet models history {model}` "
                    "shows the promotions."
                )
            with tempfile.TemporaryDirectory(prefix="coronet-rollback-") as folder:
                versions.fetch(client, previous, Path(folder))
        details = {"from": champion.number, "reason": reason, "approved_by": approved_by or ""}
        event = Event(ROLLED_BACK, model, previous.number, details | _identity(previous))
        entry = promotion_log.append(project, event)
        _set_aliases(project, model)
        return _moved_to(entry)


def history(model: str, project: Path = Path()) -> tuple[LogEntry, ...]:
    """All lines of the log about a model, oldest first."""
    config.check_model(model)
    config.check_project(project)
    return tuple(entry for entry in promotion_log.read(project) if entry.model == model)


@contextlib.contextmanager
def _locked_log(project: Path, model: str) -> Iterator[tuple[LogEntry, ...]]:
    """The log, verified, while no other promotion of the model runs."""
    config.check_model(model)
    busy = f"Another promotion of {model} is under way; wait for it."
    # the other one may be measuring all the while
    with exclusive(project / "mlruns" / f".promotion-{model}.lock", seconds=3600, busy=busy):
        yield promotion_log.read_verified(project)


def _check_unchanged(
    project: Path, model: str, *, first: bool, compared: tuple[Version, Version | None]
) -> None:
    """Refuse an approval of a comparison that another promotion or registration has overtaken."""
    now = _challenger_and_champion(project, model, first=first)
    if [item and item.number for item in now] != [item and item.number for item in compared]:
        raise PromotionError(
            f"The champion or the challenger of {model} changed while the approval was awaited, so it is not "
            f"used. `coronet models promote {model}` compares anew."
        )


def _finish(project: Path, model: str, entries: tuple[LogEntry, ...]) -> LogEntry | None:
    """Set the aliases of a move that was killed after its line was written; its line, or None.

    Raises:
        PromotionError: MLflow's aliases contradict the log in another way.
    """
    with mlflow_client.open_client(project / "mlruns") as client:
        drift = alias_drift(client, entries, model)
        entry = unfinished_move(client, entries, model)
        if not drift and entry is None:
            return None
        logged = promotion_log.logged_aliases(entries, model)
        absent = [n for n in logged.values() if versions.find(client, model, str(n)) is None]
    if absent:
        raise PromotionError(
            f"{' '.join(drift)} MLflow lacks {model}/{absent[0]}: bring back mlruns/ from its "
            f"backup, or start a new log (`git mv {promotion_log.LOG} promotions-old.jsonl`) and register "
            "anew."
        )
    if entry is None:
        raise PromotionError(
            f"{drift[0]} It was moved by hand; move it back in MLflow's pages (`coronet tracking ui`, "
            f"Models, {model})."
        )
    _set_aliases(project, model)
    return entry


def _set_aliases(project: Path, model: str) -> None:
    """Let MLflow's aliases be what the log says."""
    logged = promotion_log.logged_aliases(promotion_log.read(project), model)
    with mlflow_client.open_client(project / "mlruns") as client:
        present = versions.aliases(client, model)
        for alias in (PREVIOUS, CHAMPION):
            if alias in logged and present.get(alias) != logged[alias]:
                client.set_registered_model_alias(model, alias, str(logged[alias]))
        if present.get(CHALLENGER) == logged[CHAMPION]:
            client.delete_registered_model_alias(model, CHALLENGER)


def _moved_to(entry: LogEntry, verdict: Verdict | None = None) -> Promotion:
    return Promotion(entry.model, entry.version, entry.details["from"] or None, entry, verdict)


def _challenger_and_champion(project: Path, model: str, *, first: bool) -> tuple[Version, Version | None]:
    """The challenger and the champion, once it is clear that there is something to compare."""
    with mlflow_client.open_client(project / "mlruns") as client:
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


def _keep_evidence(project: Path, candidate: Version, verdict: Verdict) -> dict[str, str]:
    """Store table, picture and JSON with the version's run; where they lie, for the log."""
    place = f"gate/{verdict.model}-{verdict.version}-against-{verdict.champion or 'none'}"
    with tempfile.TemporaryDirectory(prefix="coronet-verdict-") as name:
        folder = Path(name)
        gate.write_verdict(folder, verdict)
        with mlflow_client.open_client(project / "mlruns") as client:
            client.log_artifacts(candidate.run_id, str(folder), place)
            record_verdict(client, candidate, verdict)
        return {"evidence": place, "verdict_sha256": sha256_file(folder / "verdict.json")}


def _identity(version: Version) -> dict[str, str]:
    return {"fingerprint": version.fingerprint, "weights_sha256": version.weights_sha256}


def _clean_name(text: str | None) -> str | None:
    """One line of a person's name."""
    name = " ".join((text or "").split())
    if len(name) > 100:
        raise InputError(f'--approve-by takes a name; "{name[:20]}…" is too long for one.')
    return name or None
