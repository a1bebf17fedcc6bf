"""What a score is worth: what its networks learned from, what they reached, what the gate said of them.

It is printed before the score. Networks are compared with the default floors of `coronet.config.floors`,
since those of ``params.yaml`` may have been lowered or switched off.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from coronet.config.floors import FLOOR_WORDS, SCORE_FLOORS, Floor, floors_were
from coronet.io.scan_facts import DEPOSITED
from coronet.networks.quality import Evaluation, GateVerdict, ScoreEvaluation
from coronet.text import counted

if TYPE_CHECKING:
    from coronet.scoring.predicted_masks import ModelOrigin

LEARNED, _PHANTOM, _ORIGIN_UNKNOWN = "learned_from_this_scan", "learned_from_phantoms", "origin_not_recorded"
_DRAWN = "learned_from_drawn_calcium"
_BELOW, _REJECTED, _UNMEASURED = "below_default_floors", "rejected_by_gate", "never_measured"
_ON_PHANTOMS, _IN_PART, _NOT_ASKED = "measured_on_phantoms", "measured_in_part", "floors_not_asked"
_TITLES = {
    LEARNED: "The networks were trained on this scan: its score does not show how good they are.",
    _PHANTOM: "Learned from synthetic phantoms: this score must not be believed on patients.",
    _DRAWN: "Learned from drawn calcium: this score must not be believed on patients.",
    _ORIGIN_UNKNOWN: "What the networks learned from is not recorded: this score must not be believed.",
    _BELOW: "Not to be relied on: the networks are below the default floors of the gate.",
    _REJECTED: "Not to be relied on: the gate rejected the networks.",
    _UNMEASURED: "Not to be relied on: how good the networks are was never measured.",
    _ON_PHANTOMS: "Not to be relied on: the networks were measured on phantoms only.",
    _IN_PART: "Not to be relied on: how good the networks are was measured in part only.",
}
"""By caution, gravest first: the sentence above a score that its networks do not deserve."""


@dataclasses.dataclass(frozen=True)
class ModelStatement:
    """What must be read before a score.

    Attributes:
        cautions: keys of `_TITLES`, gravest first, then maybe `_NOT_ASKED`.
        sentences: of the scan where it was learned from, of the release of networks that come with Coronet,
            of each network, and of both together.
    """

    cautions: tuple[str, ...]
    sentences: tuple[str, ...]

    @property
    def title(self) -> str:
        """The gravest caution as a sentence; empty where the networks deserve their score."""
        return next((_TITLES[caution] for caution in self.cautions if caution in _TITLES), "")

    @property
    def facts(self) -> tuple[str, ...]:
        """What stands below the title: of what they learned from, where another caution gave the title."""
        origins = (
            _TITLES[caution] for caution in (_PHANTOM, _DRAWN, _ORIGIN_UNKNOWN) if caution in self.cautions
        )
        return (*(text for text in origins if text != self.title), *self.sentences)

    @property
    def lines(self) -> tuple[str, ...]:
        """The title, where there is one, and the facts."""
        return tuple(filter(None, (self.title, *self.facts)))

    @property
    def text(self) -> str:
        """All of it in one paragraph."""
        return " ".join(self.lines)


def state_models(
    models: Mapping[str, ModelOrigin], parts: Mapping[str, str | None] | None = None
) -> ModelStatement:
    """Say what the networks ``heart`` and ``calcium`` are worth.

    Args:
        models: where the weights come from.
        parts: in which part of each network's cases the scan was: ``train``, ``tune``, ``none``, or None
            where that is not recorded. Without it no scan is spoken of.
    """
    parts = parts or {}
    origins, scores = tuple(models.values()), find_scores(models)
    measured = [item for item in (scores, *(origin.quality.evaluation for origin in origins)) if item]
    gates = [origin.quality.gate for origin in origins if origin.quality.gate]
    found = {
        LEARNED: any(part in ("train", "tune") for part in parts.values()),
        _PHANTOM: any(origin.trained_on == "phantom" for origin in origins),
        _DRAWN: any("drawn" in origin.trained_on and "real" not in origin.trained_on for origin in origins),
        _ORIGIN_UNKNOWN: any(origin.trained_on == "unknown" for origin in origins),
        _BELOW: any(origin.below_floors for origin in origins) or bool(scores and scores.below(SCORE_FLOORS)),
        _REJECTED: any(gate.answer == "REJECT" for gate in gates),
        _UNMEASURED: len(measured) < len(origins) + 1,
        _ON_PHANTOMS: any(item.only_phantoms for item in measured),
        _IN_PART: any(origin.unknown_floors for origin in origins)
        or bool(scores and scores.unknown(SCORE_FLOORS)),
        _NOT_ASKED: any(gate.not_asked or gate.lowered for gate in gates),
    }
    sentences = (
        *_about_scan(parts),
        *_about_release(models),
        *(_about_network(name, origin) for name, origin in models.items()),
        _about_scores(scores),
    )
    return ModelStatement(tuple(caution for caution, holds in found.items() if holds), sentences)


def find_scores(models: Mapping[str, ModelOrigin]) -> ScoreEvaluation | None:
    """What these very networks reached together, where that was measured."""
    weights = {name: origin.weights_sha256 for name, origin in models.items()}
    found = (origin.quality.scores for origin in models.values())
    return next((item for item in found if item and dict(item.weights) == weights), None)


def _about_scan(parts: Mapping[str, str | None]) -> tuple[str, ...]:
    def named(part: str | None) -> str:
        names = [name for name, found in parts.items() if found == part]
        return f"The {' and the '.join(names)} network{'s' if len(names) > 1 else ''}" if names else ""

    found = []
    if learned := named("train"):
        found.append(f"{learned} learned from this very scan.")
    if tuned := named("tune"):
        found.append(f"{tuned} kept the weights that did best on the tuning scans, and this is one of them.")
    if unknown := named(None):
        found.append(f"{unknown} may have learned from this scan: which scans were used is not recorded.")
    return tuple(found)


def _about_release(models: Mapping[str, ModelOrigin]) -> tuple[str, ...]:
    """Which networks come with Coronet, and how one's own are taken; nothing where none does."""
    found = []
    for release in sorted({origin.spec.release for origin in models.values()} - {""}):
        named = [
            f"{name} network (sha256 {origin.weights_sha256[:12]})"
            for name, origin in models.items()
            if origin.spec.release == release
        ]
        found.append(f"As they come with Coronet {release}: {' and '.join(named)}.")
    return (*found, "Your own networks: `--models build` or `--models champion`.") if found else ()


def _about_network(name: str, origin: ModelOrigin) -> str:
    learned = _counts(origin.spec.cases)
    facts = [f"learned from {learned}" if learned else "what it learned from is not recorded"]
    if origin.quality.evaluation is None:
        facts.append("how good it is was never measured")
    else:
        facts.append(_measured(origin.quality.evaluation, origin.floors))
    unchecked = "" if origin.checks_scan else " Scans unlike its training scans are not recognised."
    return f"{name.capitalize()} network: {'; '.join(facts)}. {_about_gate(origin.quality.gate)}{unchecked}"


def _about_scores(scores: ScoreEvaluation | None) -> str:
    if scores is None:
        return "From scan to score: how good both networks are together was never measured."
    return f"From scan to score: {_measured(scores, SCORE_FLOORS)}."


def _measured(item: Evaluation, floors: Sequence[Floor]) -> str:
    """Such as ``on 3 test scans F1 0.063, 2 of 17 lesions found; below the default floors of the gate``."""
    words = [_figure(item, floor) for floor in floors if item.figures.get(floor.name) is not None]
    tested = f"on {_counts(item.sources, kind='test ') or f'{item.scans} test scans'}: {', '.join(words)}"
    facts = [tested.removesuffix(": ")]
    if below := item.below(floors):
        asked = ", ".join(f"{floor.key}: {FLOOR_WORDS[floor.name]} {floor.text}" for floor in below)
        facts.append(f"below the default floors of the gate ({asked})")
    if unknown := item.unknown(floors):
        facts.append(
            f"not measured: {', '.join(f'{floor.key}, {FLOOR_WORDS[floor.name]}' for floor in unknown)}"
        )
    if not below and not unknown:
        facts.append("the default floors of the gate hold")
    return "; ".join(facts)


def _figure(item: Evaluation, floor: Floor) -> str:
    value = item.figures[floor.name]
    if floor.name == "lesion_sensitivity" and item.lesions is not None:
        return f"{item.lesions_found} of {item.lesions} lesions found"
    return {
        "dice": f"Dice {value:.3f}",
        "f1": f"F1 {value:.3f}",
        "lesion_sensitivity": f"{value:.0%} of the lesions found",
        "false_mm3": f"{value:.1f} mm³ found in calcium-free scans",
        "score_error": f"mean error of the score {value:.1f}",
        "kappa": f"linear κ of the risk groups {value:.3f}",
    }[floor.name]


def _about_gate(gate: GateVerdict | None) -> str:
    if gate is None:
        return "Gate: not evaluated."
    facts = [f"Gate: {gate.answer}"]
    if gate.not_asked is None:
        facts.append("which floors were asked is not recorded")
    elif gate.not_asked:
        facts.append(f"{floors_were(len(gate.not_asked))} not asked")
    if gate.lowered:
        facts.append(f"{floors_were(len(gate.lowered))} asked for less than the default")
    return f"{', '.join(facts)}."


def _counts(sources: Mapping[str, int], *, kind: str = "") -> str:
    """Such as ``8 scans and 64 phantoms``; empty where nothing is recorded."""
    phantoms, drawn = sources.get("phantom", 0), sources.get(DEPOSITED, 0)
    scans = sum(sources.values()) - phantoms - drawn
    named = ((scans, "scan", ""), (drawn, "scan", " with drawn calcium"), (phantoms, "phantom", ""))
    return " and ".join(f"{counted(count, f'{kind}{noun}')}{more}" for count, noun, more in named if count)
