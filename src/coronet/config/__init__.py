"""``params.yaml``, read once into frozen dataclasses.

Units are part of the names (``_mm``, ``_hu``, ``_deg``). Each field says what it allows; one error names all
that is not allowed, and for a key that no dataclass knows the nearest known one. ``profile`` chooses which of
``profiles`` fills ``heart``, ``calcium`` and ``search``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from coronet.config.model_params import (
    Activation,
    AugmentParams,
    Count,
    EncoderName,
    Epochs,
    Extent,
    Fraction,
    Gamma,
    HuRange,
    InputParams,
    Length,
    LossParams,
    ModelParams,
    NetworkParams,
    OptimiserParams,
    Patience,
    PretrainParams,
    Rate,
    SamplingParams,
    Seed,
    Size,
    SpacingRange,
    UnitShare,
    Weight,
)
from coronet.config.schema import CheckedValue, FaultyParams, InRange, Items, OneOf, ParamFault, Rising, build
from coronet.config.strict_yaml import YamlDocument, parse_yaml
from coronet.errors import InputError, ParamsError

MODELS = ("heart", "calcium")
BURDENS = ("none", "low", "moderate", "high", "extreme")  # groups of patients by their coronary calcium
_PROFILED = (*MODELS, "search")
"""What each profile fills; the rest is common to all, where `dvc.yaml` looks for it."""


@dataclasses.dataclass(frozen=True)
class PhantomParams(CheckedValue):
    """The demo cohort, pinned by ``data.dvc``; ``masks`` are ``forest`` or ``exact``.

    ``ranges`` are ``realistic``, ``wild`` for training only, or ``mixed``.
    """

    cases: Annotated[int, InRange(1, 100_000)]
    seed: Seed
    masks: Annotated[str, OneOf(("forest", "exact"))]
    ranges: Annotated[str, OneOf(("realistic", "wild", "mixed"))] = "realistic"


@dataclasses.dataclass(frozen=True)
class DepositParams(CheckedValue):
    """Calcium drawn into real scans.

    ``backgrounds`` are folders in ``data/``, none by default; ``variants`` are cases of each scan in them, to
    which the ``burdens`` are dealt out in turn. ``ranges`` of the plaques are those of phantoms; ``mixed``
    draws for each case.
    """

    backgrounds: tuple[str, ...] = ()
    variants: Annotated[int, InRange(1, 99)] = 6
    burdens: Annotated[tuple[Annotated[str, OneOf(BURDENS)], ...], Items()] = BURDENS
    ranges: Annotated[str, OneOf(("realistic", "wild", "mixed"))] = "mixed"
    seed: Seed = 1

    def rules(self) -> Iterator[tuple[str, str]]:
        """One stage makes ``data/ct``, so there is one folder at most; extreme burdens are wild ones."""
        if len(self.backgrounds) > 1:
            yield "backgrounds", f"names {len(self.backgrounds)} folders; it must name at most one"
        if self.ranges == "realistic" and "extreme" in self.burdens:
            yield "burdens", "names extreme, which needs ranges: wild or mixed"


@dataclasses.dataclass(frozen=True)
class ValidateParams(CheckedValue):
    """What must hold of the case table; every pair is (lowest, highest).

    ``calcium_body_mm3`` is the largest bright body that a calcium lesion may be part of.
    """

    in_plane_spacing_mm: SpacingRange
    slice_spacing_mm: SpacingRange
    extent_mm: Annotated[tuple[Extent, Extent], Rising()]
    air_hu: HuRange
    soft_tissue_hu: HuRange
    heart_ml: Annotated[tuple[Extent, Extent], Rising()]
    heart_hu: HuRange
    heart_air_share: UnitShare
    calcium_near_heart_mm: Length
    copy_distance: Annotated[float, InRange(0, 100)]
    least_patients: Count
    calcium_body_mm3: Annotated[float, InRange(500, 1e7)] = 3000.0


@dataclasses.dataclass(frozen=True)
class SplitParams(CheckedValue):
    """Fractions of the patients; the rest trains."""

    tune: Fraction
    test: Fraction
    seed: Seed

    def rules(self) -> Iterator[tuple[str, str]]:
        """Some patients must be left to train."""
        if self.tune + self.test >= 1:
            yield "", f"tune {self.tune} and test {self.test} must leave some patients to train"


@dataclasses.dataclass(frozen=True)
class ScoreParams(CheckedValue):
    """Which protocol and risk groups the cohort is scored with."""

    protocol: Annotated[str, OneOf(("coronet", "deepcac", "ai-cac", "orcascore", "molloi"))]
    groups: Annotated[str, OneOf(("paper", "aha", "five", "cac-drs"))]


@dataclasses.dataclass(frozen=True)
class HeartGateParams(CheckedValue):
    """Of the heart network alone. ``dice`` is the mean of the test patients; None asks for nothing."""

    dice: UnitShare | None
    dice_margin: UnitShare


@dataclasses.dataclass(frozen=True)
class CalciumGateParams(CheckedValue):
    """Of the calcium network alone, inside the true heart; None asks for nothing.

    ``f1`` is pooled over all voxels, ``lesion_sensitivity`` over all lesions. ``false_mm3`` is the mean
    volume found in calcium-free scans. The margin of Dice is of patients with calcium.
    """

    f1: UnitShare | None
    lesion_sensitivity: UnitShare | None
    false_mm3: Size | None
    dice_margin: UnitShare
    false_mm3_margin: Size


@dataclasses.dataclass(frozen=True)
class GateParams(CheckedValue):
    """What a version must reach to become champion; see docs/promotion.md.

    ``level`` is the two-sided error of tests and intervals. ``score_error`` (Agatston units, mean of the
    absolute error), ``kappa`` (linear weights), ``seconds`` (median of a scan) and ``megabytes`` are of the
    whole path; None asks for nothing. Margins are the smallest differences that matter; that of the score is
    of the error on a logarithmic scale, log(1 + score).
    """

    approval: Annotated[str, OneOf(("required", "optional"))]
    demand: Annotated[str, OneOf(("better", "not_worse"))]
    test_patients: Annotated[str, OneOf(("same", "shared"))]
    level: Fraction
    resamples: Count
    score_error: Size | None
    score_margin: Weight
    kappa: Annotated[float, InRange(-1, 1)] | None
    seconds: Size | None
    megabytes: Size | None
    heart: HeartGateParams
    calcium: CalciumGateParams


@dataclasses.dataclass(frozen=True)
class SearchParams(CheckedValue):
    """What `coronet search` draws from, and what a trial may cost.

    Pairs are (lowest, highest). ``loss.focal`` is what ``dice`` leaves of 1: a common factor of both would
    change nothing, since Adam divides it out. The training patients are dealt into ``folds``;
    ``folds_used`` of them are held out in turn. ``patches`` is the share of the final training's
    ``patches_per_epoch`` that a trial's epoch has.
    """

    encoders: Annotated[tuple[EncoderName, ...], Items(distinct=True)]
    activations: Annotated[tuple[Activation, ...], Items(distinct=True)]
    dice: Annotated[tuple[UnitShare, UnitShare], Rising()]
    focal_gamma: Annotated[tuple[Gamma, Gamma], Rising()]
    learning_rate: Annotated[tuple[Rate, Rate], Rising()]
    folds: Annotated[int, InRange(2, 1000)]
    folds_used: Annotated[int, InRange(1, 1000)]
    epochs: Epochs
    patches: Rate
    trials: Count
    pruner: Annotated[str, OneOf(("median", "hyperband", "none"))]
    random_trials: Patience
    startup_trials: Patience
    warmup_epochs: Patience
    retries: Patience
    heartbeat_s: Annotated[int, InRange(1, 100_000)]
    grace_s: Annotated[int, InRange(1, 1_000_000)]

    def rules(self) -> Iterator[tuple[str, str]]:
        """Folds are used of those there are, and a worker may be late by more than a heartbeat."""
        if self.folds_used > self.folds:
            yield "folds_used", f"is {self.folds_used}; it must be at most folds, {self.folds}"
        if self.grace_s <= self.heartbeat_s:
            yield "", f"grace_s must be more than heartbeat_s, but {self.grace_s} ≤ {self.heartbeat_s}"


@dataclasses.dataclass(frozen=True)
class ResourceParams(CheckedValue):
    """What trains a network: ``gpus`` processes on each of ``nodes`` machines; see docs/several-gpus.md.

    A machine without GPUs takes processor cores in their place. ``batch_size`` is of all of them together, so
    that the number of GPUs changes a result by rounding alone. ``batch_norm`` ``plain`` takes the statistics
    of each process's own share. A batch is worked off in ``accumulation`` parts, each with statistics and a
    Dice loss of its own.
    """

    gpus: Annotated[int, InRange(1, 64)] = 1
    nodes: Annotated[int, InRange(1, 1024)] = 1
    batch_norm: Annotated[str, OneOf(("synchronised", "plain"))] = "synchronised"
    accumulation: Annotated[int, InRange(1, 4096)] = 1

    @property
    def processes(self) -> int:
        """How many train together."""
        return self.gpus * self.nodes

    def shaping(self) -> dict[str, str | int]:
        """What of it shapes the result beyond rounding, where that is not as usual."""
        usual = ResourceParams(self.gpus, self.nodes)
        names = ("batch_norm", "accumulation") if self.processes > 1 else ("accumulation",)
        return {name: getattr(self, name) for name in names if getattr(self, name) != getattr(usual, name)}


@dataclasses.dataclass(frozen=True)
class Params(CheckedValue):
    """All of ``params.yaml`` with the chosen profile resolved."""

    profile: str
    models: Annotated[tuple[Annotated[str, OneOf(MODELS)], ...], Items(distinct=True)]
    seed: Seed
    phantom: PhantomParams
    deposits: DepositParams
    validate: ValidateParams
    split: SplitParams
    score: ScoreParams
    gate: GateParams
    search: SearchParams
    heart: ModelParams
    calcium: ModelParams
    resources: ResourceParams = dataclasses.field(default_factory=ResourceParams)

    def rules(self) -> Iterator[tuple[str, str]]:
        """What only one of the models may have; every process takes an equal share of a batch."""
        if self.calcium.augment.crop:
            yield "calcium.augment.crop", "must be 0: calcium windows lie around a whole heart"
        parts = self.resources.processes * self.resources.accumulation
        for model in self.models:
            for place in ("pretrain", "optimiser"):
                size = getattr(self.model(model), place).batch_size
                if size % parts:
                    yield (
                        f"{model}.{place}.batch_size",
                        f"is {size}; it must divide by {parts}, resources.gpus · nodes · accumulation",
                    )

    def model(self, name: str) -> ModelParams:
        """Parameters of ``heart`` or ``calcium``."""
        return getattr(self, check_model(name))


def check_model(name: str) -> str:
    """Return ``name``; an `InputError` if it is none of `MODELS`."""
    if name not in MODELS:
        raise InputError(f'There is no model "{name}"; the models are {" and ".join(MODELS)}.')
    return name


def check_project(project: Path) -> None:
    """Refuse to work on a folder that is no project.

    Raises:
        ParamsError: it holds no ``params.yaml``.
    """
    if not (project / "params.yaml").exists():
        raise ParamsError(f"{project / 'params.yaml'} is absent; run from the project's folder.")


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read ``params.yaml``.

    Raises:
        ParamsError: the file is absent, no YAML 1.2 in UTF-8, or holds keys, types or values that are not
            allowed, all of which are named.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ParamsError(f"{path} is absent; run from the project's folder.") from error
    except OSError as error:
        raise ParamsError(f"{path} cannot be read: {error.strerror}.") from error
    return parse_params(content, where=str(path))


def parse_params(content: bytes, *, where: str = "params.yaml") -> Params:
    """Parameters out of the bytes of a ``params.yaml``; see `load_params`."""
    document = parse_yaml(content, where)
    raw = document.value
    if not isinstance(raw, dict):
        raise ParamsError(f"{where} must hold keys and values.")
    profiles, name = raw.get("profiles"), raw.get("profile")
    if not isinstance(profiles, dict) or not isinstance(name, str) or name not in profiles:
        known = ", ".join(map(str, profiles)) if isinstance(profiles, dict) else "none"
        line = document.lines.get(("profile",))
        place = f"{where}, line {line}" if line else where
        raise ParamsError(f'{place}: profile "{name}" is not among profiles ({known}).')
    return _resolve(raw, profiles[name], name, document, where)


def _resolve(raw: dict[str, Any], profile: Any, name: str, document: YamlDocument, where: str) -> Params:
    def line_of(path: tuple[str, ...]) -> int | None:
        if path and path[0] in _PROFILED and path not in document.lines:
            path = ("profiles", name, *path)
        while path and path not in document.lines:
            path = path[:-1]
        return document.lines.get(path)

    place = ("profiles", name)
    if not isinstance(profile, dict):
        raise FaultyParams([ParamFault(place, "must hold keys and values")], where, line_of)
    faults = [
        ParamFault((), f'the key "{key}" must be in a profile', (key,)) for key in _PROFILED if key in raw
    ] + [
        ParamFault(place, f'the key "{key}" is not one of {", ".join(_PROFILED)}', (str(key),))
        for key in profile
        if key not in _PROFILED
    ]
    common = {key: value for key, value in raw.items() if key not in ("profiles", *_PROFILED)}
    chosen = {key: value for key, value in profile.items() if key in _PROFILED}
    try:
        params = build(Params, common | chosen, where=where)
    except FaultyParams as error:
        faults += error.faults
    if faults:
        raise FaultyParams(faults, where, line_of)
    return params
