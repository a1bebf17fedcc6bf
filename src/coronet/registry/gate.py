"""The gate: may this version be champion? Lineage first, then both measured anew on the same patients."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from coronet.config import MODELS, GateParams, Params
from coronet.config.floors import floors_spared, gate_floors
from coronet.errors import LedgerError, PromotionError
from coronet.evaluation.paired_tests import PairedComparison, compare_paired
from coronet.files import write_json, write_text
from coronet.registry import promotion_log, versions
from coronet.registry.candidate_evaluation import (
    DICE,
    FALSE_MM3,
    SCORE,
    CandidateEvaluation,
    evaluate_candidate,
)
from coronet.registry.lineage_checks import VersionFacts, check_origin, check_weights, unpack
from coronet.registry.promotion_log import GATE_KINDS, LogEntry
from coronet.registry.test_patients import check_apart, pick_split
from coronet.registry.verdict import REJECT, VERDICT_WORDS, Check, Verdict, decide_verdict, floor_sentences
from coronet.registry.verdict_picture import draw_verdict
from coronet.registry.versions import CHALLENGER, CHAMPION, Version
from coronet.tracking import mlflow_client

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from coronet.dataset.split import Split

logger = logging.getLogger("coronet")


def evaluate_gate(project: Path, candidate: Version, champion: Version | None, params: Params) -> Verdict:
    """Evaluate a version against the champion; without one (None) the floors alone decide.

    Nothing is measured where the lineage does not hold: the project's data must be those that the candidate
    was made of.

    Raises:
        PromotionError: there is no network of the other model to run the whole path with, or champion and
            candidate cannot be measured on the same unseen patients.
        LedgerError: the champion's or the companion's bytes are lost.
    """
    project = Path(project)
    entries = promotion_log.read(project)
    old_number = champion.number if champion else None
    with tempfile.TemporaryDirectory(prefix="coronet-gate-") as name:
        folder = Path(name)
        with mlflow_client.open_client(project / "mlruns") as client:
            other, alias = _companion(client, candidate.model)
            try:
                new = unpack(client, project, candidate, folder / "candidate")
            except LedgerError as error:
                what = f"{candidate.model}/{candidate.number}: bytes"
                lost = Check(what, False, str(error), "as registered")
                return Verdict(
                    REJECT, (str(error),), candidate.model, candidate.number, old_number, checks=(lost,)
                )
            companion = unpack(client, project, other, folder / "companion")
            old = unpack(client, project, champion, folder / "champion") if champion else None
        sides = [side for side in (new, old, companion) if side is not None]
        checks = [check for side in sides for check in check_weights(side, entries, own=side is new)]
        checks += check_origin(new, project)
        evidence: CandidateEvaluation | None = None
        comparisons: tuple[PairedComparison, ...] = ()
        patients, test_sha256 = 0, ""
        if all(check.ok for check in checks):
            split = pick_split(new, old, companion, shared=params.gate.test_patients == "shared")
            check_apart(sides, split)
            patients = len(split.patients("test"))
            test_sha256 = hashlib.sha256("\n".join(split.cases("test")).encode()).hexdigest()
            evidence = _measure(new, companion, project, split, params)
            checks += check_floors(evidence, params.gate, candidate.model)
            if old is not None:
                before = _measure(old, companion, project, split, params)
                comparisons = compare_all(before, evidence, params.gate, candidate.model)
                if not comparisons:
                    checks.append(Check("comparison", None, f"no patient has {VERDICT_WORDS[DICE]}"))
    answer, reasons = decide_verdict(checks, comparisons, params.gate)
    not_asked, lowered = floors_spared(params.gate, candidate.model)
    spared = floor_sentences(not_asked, lowered, evidence.figures if evidence else {})
    return Verdict(
        answer=answer,
        reasons=(*reasons, *spared),
        model=candidate.model,
        version=candidate.number,
        champion=old_number,
        companion=f"{companion.name} ({alias})",
        patients=patients,
        test_sha256=test_sha256,
        trial=_trial(entries, candidate, test_sha256),
        checks=tuple(checks),
        comparisons=comparisons,
        challenger=evidence,
        not_asked=not_asked,
        lowered=lowered,
    )


def write_verdict(folder: Path, verdict: Verdict) -> None:
    """Write the verdict as JSON, as a table and as a picture."""
    write_json(folder / "verdict.json", verdict.to_json())
    write_text(folder / "verdict.txt", verdict.text())
    draw_verdict(folder / "verdict.png", verdict)


def check_floors(evidence: CandidateEvaluation, gate: GateParams, model: str) -> tuple[Check, ...]:
    """Ask for what ``params.yaml`` asks for; what the test patients cannot answer is unknown."""
    checks = []
    for floor in gate_floors(gate, model):
        value = evidence.figures[floor.name]
        found = "the test patients cannot answer it" if value is None else f"{value:.4g}"
        if floor.limit is not None:
            name = f"{floor.key}: {VERDICT_WORDS[floor.name]}"
            checks.append(Check(name, floor.holds(value), found, floor.text))
    return tuple(checks)


def compare_all(
    champion: CandidateEvaluation, challenger: CandidateEvaluation, gate: GateParams, model: str
) -> tuple[PairedComparison, ...]:
    """Compare by patient: Dice decides, then what guards; empty where Dice cannot be compared."""
    own = {DICE: gate.heart.dice_margin}
    if model == "calcium":
        own = {DICE: gate.calcium.dice_margin, FALSE_MM3: gate.calcium.false_mm3_margin}
    if not challenger.patients[DICE]:
        return ()
    return tuple(
        compare_paired(
            name,
            champion.patients[name],
            challenger.patients[name],
            margin=margin,
            level=gate.level,
            resamples=gate.resamples,
            higher_is_better=name == DICE,
        )
        for name, margin in {**own, SCORE: gate.score_margin}.items()
        if challenger.patients[name]
    )


def _companion(client: MlflowClient, model: str) -> tuple[Version, str]:
    """The other model's champion, else its challenger, and which it is."""
    other = next(name for name in MODELS if name != model)
    for alias in (CHAMPION, CHALLENGER):
        if (found := versions.find(client, other, alias)) is not None:
            return found, alias
    raise PromotionError(
        f"{model} is evaluated on the whole path from scan to score, which needs a {other} network too, and "
        f"none is registered; `coronet models register {other}` first."
    )


def _measure(
    side: VersionFacts, companion: VersionFacts, project: Path, split: Split, params: Params
) -> CandidateEvaluation:
    model, other = side.version.model, companion.version.model
    logger.info("measuring %s with %s on the test patients", side.name, companion.name)
    fits = {model: side.fit, other: companion.fit}
    return evaluate_candidate(model, project / "data", split, fits=fits, params=params)


def _trial(entries: tuple[LogEntry, ...], candidate: Version, test_sha256: str) -> int:
    """How many versions have been evaluated on these patients, this one included."""
    tried = {
        entry.version
        for entry in entries
        if entry.model == candidate.model
        and entry.kind in GATE_KINDS
        and entry.details.get("verdict", {}).get("test_sha256") == test_sha256
    }
    return len(tried | {candidate.number}) if test_sha256 else 0
