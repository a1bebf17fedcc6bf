"""How good a network is: what it reached on its own test scans, and the gate's verdict.

For weights in ``build/MODEL/fit`` it is read from the results of the stages ``evaluate`` and ``score``. A
registered version carries it as ``quality.json`` beside its weights. Results that name other weights do not
count.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from coronet.config.floors import Floor
from coronet.errors import InputError
from coronet.files import read_json
from coronet.fingerprint import canonical

QUALITY = "quality.json"
_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What was reached on scans that were not learned from."""

    scans: int  # how many
    # how many by source, such as ``{"phantom": 16}``; empty where that is not recorded
    sources: Mapping[str, int]
    figures: Mapping[str, float | None]  # by name of the gate's floor; None where the scans cannot show it
    lesions: int | None = None  # of the reference masks; None for hearts
    lesions_found: int | None = None  # of them

    @property
    def only_phantoms(self) -> bool:
        """Whether every test scan is known to be a phantom."""
        return bool(self.sources) and not any(
            count for source, count in self.sources.items() if source != "phantom"
        )

    def to_json(self, floors: Sequence[Floor]) -> dict[str, Any]:
        """Plain data, with the names of the ``floors`` that are missed and of those that are unknown."""
        return {
            **canonical(self),
            "below_floors": [floor.name for floor in self.below(floors)],
            "unknown_floors": [floor.name for floor in self.unknown(floors)],
        }

    def below(self, floors: Sequence[Floor]) -> tuple[Floor, ...]:
        """The floors that are missed."""
        return tuple(floor for floor in floors if floor.holds(self.figures.get(floor.name)) is False)

    def unknown(self, floors: Sequence[Floor]) -> tuple[Floor, ...]:
        """The floors whose figures the test scans cannot show."""
        return tuple(floor for floor in floors if floor.holds(self.figures.get(floor.name)) is None)


@dataclasses.dataclass(frozen=True)
class ScoreEvaluation(Evaluation):
    """What two networks reached together, from scan to score."""

    # sha256 of the weights of ``heart`` and ``calcium``
    weights: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class GateVerdict:
    """The gate's last answer about a version."""

    answer: str  # ``PROMOTE``, ``REJECT`` or ``INSUFFICIENT EVIDENCE``
    reasons: tuple[str, ...]  # sentences that it rests on
    patients: int  # test patients; 0 where nothing was measured
    # default floors that were switched off; None where that is not recorded
    not_asked: tuple[str, ...] | None = None
    # default floors of which less was asked; None where that is not recorded
    lowered: tuple[str, ...] | None = None


@dataclasses.dataclass(frozen=True)
class ModelQuality:
    """All that is recorded of one network's worth; each part is None where it is not."""

    evaluation: Evaluation | None = None  # the network by itself
    scores: ScoreEvaluation | None = None  # with a network of the other model, from scan to score
    gate: GateVerdict | None = None  # the last verdict

    def to_json(self, weights_sha256: str) -> dict[str, Any]:
        """What ``quality.json`` holds, bound to the weights."""
        return {"format": _FORMAT, "weights_sha256": weights_sha256, **canonical(self)}


def network_figures(model: str, metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """The figures of a network's floors out of ``evaluation/metrics.json``: the gate's definitions."""
    if model == "heart":
        return {"dice": metrics["dice"]["mean"]}
    return {
        "f1": metrics["pooled"]["f1"],
        "lesion_sensitivity": metrics["lesions"]["sensitivity"],
        "false_mm3": metrics["calcium_free"]["false_mm3"]["mean"],
    }


def score_figures(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """The figures of the scores' floors out of ``scores/metrics.json``."""
    return {"score_error": metrics.get("score_error"), "kappa": metrics["agreement"]["kappa_linear"]}


def evaluation_of(model: str, metrics: Mapping[str, Any]) -> Evaluation:
    """A network's evaluation out of ``evaluation/metrics.json``."""
    lesions = metrics.get("lesions", {})
    return Evaluation(
        scans=metrics["cases"],
        sources=metrics["sources"],
        figures=network_figures(model, metrics),
        lesions=lesions.get("true"),
        lesions_found=lesions.get("found"),
    )


def score_evaluation_of(metrics: Mapping[str, Any]) -> ScoreEvaluation:
    """The scores' evaluation out of ``scores/metrics.json``."""
    return ScoreEvaluation(
        scans=metrics["cases"],
        sources=metrics["sources"],
        figures=score_figures(metrics),
        lesions=metrics["lesions"]["true"],
        lesions_found=metrics["lesions"]["found"],
        weights=metrics["weights_sha256"],
    )


def read_quality(folder: Path, model: str, weights_sha256: str) -> ModelQuality:
    """What is recorded of the weights in ``folder``.

    Args:
        folder: ``build/MODEL/fit``, beside which the stages ``evaluate`` and ``score`` leave their results,
            or any folder with ``quality.json``.
        weights_sha256: what is recorded of other weights is left out.

    Raises:
        InputError: a file is not understood.
    """
    folder = Path(folder).resolve()
    if (folder / QUALITY).exists():
        return _read(folder / QUALITY, lambda raw: _carried(raw, weights_sha256)) or ModelQuality()
    if folder.parent.name != model:
        return ModelQuality()

    def evaluation(raw: Mapping[str, Any]) -> Evaluation | None:
        fits = raw["part"] == "test" and raw.get("weights_sha256", {}).get(model) == weights_sha256
        return evaluation_of(model, raw) if fits else None

    def scores(raw: Mapping[str, Any]) -> ScoreEvaluation | None:
        fits = raw.get("weights_sha256", {}).get(model) == weights_sha256
        return score_evaluation_of(raw) if fits else None

    return ModelQuality(
        evaluation=_read(folder.parent / "evaluation" / "metrics.json", evaluation),
        scores=_read(folder.parents[1] / "scores" / "metrics.json", scores),
    )


def _read(path: Path, understand: Callable[[Any], Any]) -> Any:
    if not path.exists():
        return None
    raw = read_json(path)
    try:
        return understand(raw)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} is not understood ({type(error).__name__}: {error}); `dvc repro` or "
            "`coronet models register` writes it anew."
        ) from error


def _carried(raw: Mapping[str, Any], weights_sha256: str) -> ModelQuality | None:
    if raw["weights_sha256"] != weights_sha256:
        return None
    evaluation, scores, gate = raw["evaluation"], raw["scores"], raw["gate"]
    return ModelQuality(
        evaluation=Evaluation(**evaluation) if evaluation else None,
        scores=ScoreEvaluation(**scores) if scores else None,
        gate=gate_verdict(**gate) if gate else None,
    )


def gate_verdict(**plain: Any) -> GateVerdict:
    """A verdict out of plain data."""
    fields: dict[str, Any] = {
        key: tuple(item) if isinstance(item, list) else item for key, item in plain.items()
    }
    return GateVerdict(**fields)
