"""``params.yaml``, read once into frozen dataclasses.

Units are part of the names (``_mm``, ``_hu``, ``_deg``). A key that no dataclass knows is an error that
names the nearest known one. ``profile`` chooses which of ``profiles`` fills ``heart``, ``calcium`` and
``search``.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from coronet.errors import ParamsError
from coronet.schema import build

MODELS = ("heart", "calcium")


@dataclasses.dataclass(frozen=True)
class PhantomParams:
    """The demo cohort, pinned by ``data.dvc``; ``masks`` are ``forest`` or ``exact``."""

    cases: int
    seed: int
    masks: str

    def __post_init__(self) -> None:
        if self.masks not in ("forest", "exact"):
            raise ParamsError(f"phantom.masks is «{self.masks}»; it must be forest or exact.")


@dataclasses.dataclass(frozen=True)
class ValidateParams:
    """What must hold of the case table; every pair is (lowest, highest).

    ``calcium_body_mm3`` is the largest bright body that a calcium lesion may be part of, 500 or more.
    """

    in_plane_spacing_mm: tuple[float, float]
    slice_spacing_mm: tuple[float, float]
    extent_mm: tuple[float, float]
    air_hu: tuple[float, float]
    soft_tissue_hu: tuple[float, float]
    heart_ml: tuple[float, float]
    heart_hu: tuple[float, float]
    heart_air_share: float
    calcium_near_heart_mm: float
    copy_distance: float
    least_patients: int
    calcium_body_mm3: float = 3000.0


@dataclasses.dataclass(frozen=True)
class SplitParams:
    """Fractions of the patients; the rest trains."""

    tune: float
    test: float
    seed: int

    def __post_init__(self) -> None:
        if not (0 < self.tune < 1 and 0 < self.test < 1 and self.tune + self.test < 1):
            raise ParamsError(
                f"split: tune {self.tune} and test {self.test} must be fractions and leave some to train."
            )


@dataclasses.dataclass(frozen=True)
class InputParams:
    """What a network sees.

    ``shape`` is in voxels (x, y, z). Training takes patches of it; inference slides it with ``overlap``.
    ``margin_mm`` widens the heart's box for the calcium network; the heart network sees the trunk.
    """

    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]
    overlap: float
    window_hu: tuple[float, float]
    margin_mm: float


@dataclasses.dataclass(frozen=True)
class NetworkParams:
    """``encoder`` is ``plain``, ``autoencoder`` or the name of an allowed smp-3d encoder.

    ``channels`` are the features per level of the plain and autoencoder U-Nets, and the decoder's of the
    others, outermost first. ``weights`` is ``none`` or ``imagenet`` (smp-3d encoders only).
    """

    encoder: str
    channels: tuple[int, ...]
    activation: str
    weights: str


@dataclasses.dataclass(frozen=True)
class SamplingParams:
    """Where training windows lie: shares on the mask and on bright voxels outside of it; the rest anywhere.

    The shares are of all windows of an epoch. A bright voxel has at least 130 HU. Before an epoch the network
    answers on ``judged`` bright things outside of the mask; it then meets those more often that it takes for
    calcium.
    """

    positives: float
    hard_negatives: float
    judged: int

    def __post_init__(self) -> None:
        shares = (self.positives, self.hard_negatives)
        if min(shares) < 0 or sum(shares) > 1:
            raise ParamsError(
                f"sampling.positives {shares[0]} and hard_negatives {shares[1]} must be shares of one."
            )


@dataclasses.dataclass(frozen=True)
class LossParams:
    """``dice`` · Dice + ``focal`` · focal, the published loss with its constants."""

    dice: float
    focal: float
    focal_gamma: float
    focal_alpha: float


@dataclasses.dataclass(frozen=True)
class OptimiserParams:
    """Adam with a plateau rule and early stopping.

    ``patches_per_epoch`` is how many samples make an epoch; patience is counted in epochs.
    ``averaging`` is the decay per step of the running mean of the weights, which is then what is measured and
    kept; 0 keeps the weights themselves.
    """

    epochs: int
    patches_per_epoch: int
    batch_size: int
    learning_rate: float
    plateau_factor: float
    plateau_patience: int
    stop_patience: int
    averaging: float


@dataclasses.dataclass(frozen=True)
class AugmentParams:
    """Joint random transforms of image and mask, drawn anew for every sample, each with ``probability``.

    Lengths and angles are the largest drawn; ``zoom`` and ``gamma`` are (lowest, highest). ``surface_mm`` is
    how far the calcium network is misled about the heart's surface, since scoring has no true one; ``metal``
    is the share of its windows in which a piece of metal is drawn that the mask leaves out. ``crop`` is the
    share of the heart network's windows that are cut as a short scan of a small field of view is. Models that
    were trained before one of both was there name none.
    """

    probability: float
    rotation_deg: float
    shift_mm: float
    zoom: tuple[float, float]
    elastic_mm: float
    blur_mm: float
    gamma: tuple[float, float]
    noise_hu: float
    surface_mm: float
    metal: float = 0.0
    crop: float = 0.0


@dataclasses.dataclass(frozen=True)
class PretrainParams:
    """The autoencoder on training patients; read only where ``network.encoder`` is ``autoencoder``."""

    epochs: int
    patches_per_epoch: int
    batch_size: int
    learning_rate: float


@dataclasses.dataclass(frozen=True)
class ModelParams:
    """Everything about one model: its input, network, training and the threshold of its mask."""

    input: InputParams
    network: NetworkParams
    pretrain: PretrainParams
    sampling: SamplingParams
    loss: LossParams
    optimiser: OptimiserParams
    augment: AugmentParams
    threshold: float


@dataclasses.dataclass(frozen=True)
class ScoreParams:
    """Which protocol and risk groups the cohort is scored with."""

    protocol: str
    groups: str


@dataclasses.dataclass(frozen=True)
class HeartGateParams:
    """Of the heart network alone. ``dice`` is the mean of the test patients; None asks for nothing."""

    dice: float | None
    dice_margin: float


@dataclasses.dataclass(frozen=True)
class CalciumGateParams:
    """Of the calcium network alone, inside the true heart; None asks for nothing.

    ``f1`` is pooled over all voxels, ``lesion_sensitivity`` over all lesions. ``false_mm3`` is the mean
    volume found in calcium-free scans. The margin of Dice is of patients with calcium.
    """

    f1: float | None
    lesion_sensitivity: float | None
    false_mm3: float | None
    dice_margin: float
    false_mm3_margin: float


@dataclasses.dataclass(frozen=True)
class GateParams:
    """What a version must reach to become champion; see docs/promotion.md.

    ``level`` is the two-sided error of tests and intervals. ``score_error`` (Agatston units, mean of the
    absolute error), ``kappa`` (linear weights), ``seconds`` (median of a scan) and ``megabytes`` are of the
    whole path; None asks for nothing. Margins are the smallest differences that matter; that of the score is
    of the error on a logarithmic scale, log(1 + score).
    """

    approval: str
    demand: str
    test_patients: str
    level: float
    resamples: int
    score_error: float | None
    score_margin: float
    kappa: float | None
    seconds: float | None
    megabytes: float | None
    heart: HeartGateParams
    calcium: CalciumGateParams

    def __post_init__(self) -> None:
        choices = {
            "approval": ("required", "optional"),
            "demand": ("better", "not_worse"),
            "test_patients": ("same", "shared"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ParamsError(f"gate.{name} «{getattr(self, name)}» must be {' or '.join(known)}.")
        if not 0 < self.level < 1 or self.resamples < 1:
            raise ParamsError(
                f"gate.level {self.level} must lie between 0 and 1, and gate.resamples be 1 or more."
            )
        margins = (self.score_margin, self.heart.dice_margin, self.calcium.dice_margin)
        if min(*margins, self.calcium.false_mm3_margin) < 0:
            raise ParamsError("gate: a margin is the size of a difference, so none lies below 0.")


@dataclasses.dataclass(frozen=True)
class SearchParams:
    """What `coronet search` draws from, and what a trial may cost.

    Pairs are (lowest, highest). ``loss.focal`` is what ``dice`` leaves of 1: a common factor of both would
    change nothing, since Adam divides it out. The training patients are dealt into ``folds``;
    ``folds_used`` of them are held out in turn. ``patches`` is the share of the final training's
    ``patches_per_epoch`` that a trial's epoch has.
    """

    encoders: tuple[str, ...]
    activations: tuple[str, ...]
    dice: tuple[float, float]
    focal_gamma: tuple[float, float]
    learning_rate: tuple[float, float]
    folds: int
    folds_used: int
    epochs: int
    patches: float
    trials: int
    pruner: str
    random_trials: int
    startup_trials: int
    warmup_epochs: int
    retries: int
    heartbeat_s: int
    grace_s: int

    def __post_init__(self) -> None:
        for name in ("dice", "focal_gamma", "learning_rate"):
            low, high = getattr(self, name)
            if not low < high:
                raise ParamsError(f"search.{name}: {low} must be below {high}.")
        checks = {
            "encoders and activations must name at least one each": self.encoders and self.activations,
            "dice must lie within 0 and 1": self.dice[0] >= 0 and self.dice[1] <= 1,
            "focal_gamma must not be negative": self.focal_gamma[0] >= 0,
            "learning_rate must be above 0": self.learning_rate[0] > 0,
            "folds_used must be from 1 to folds, and folds at least 2": 1
            <= self.folds_used
            <= self.folds
            > 1,
            "epochs and trials must be at least 1": min(self.epochs, self.trials) >= 1,
            "patches must be above 0 and at most 1": 0 < self.patches <= 1,
            "pruner must be median, hyperband or none": self.pruner in ("median", "hyperband", "none"),
            "numbers of trials, epochs and retries must not be negative": min(
                self.random_trials, self.startup_trials, self.warmup_epochs, self.retries
            )
            >= 0,
            "grace_s must be more than heartbeat_s, and that at least 1": 1
            <= self.heartbeat_s
            < self.grace_s,
        }
        for words, holds in checks.items():
            if not holds:
                raise ParamsError(f"search: {words}.")


@dataclasses.dataclass(frozen=True)
class Params:
    """All of ``params.yaml`` with the chosen profile resolved."""

    profile: str
    models: tuple[str, ...]
    seed: int
    phantom: PhantomParams
    validate: ValidateParams
    split: SplitParams
    score: ScoreParams
    gate: GateParams
    search: SearchParams
    heart: ModelParams
    calcium: ModelParams

    def __post_init__(self) -> None:
        if self.calcium.augment.crop:
            raise ParamsError("calcium.augment.crop must be 0: calcium windows lie around a whole heart.")

    def model(self, name: str) -> ModelParams:
        """Parameters of ``heart`` or ``calcium``."""
        if name not in MODELS:
            raise ParamsError(f"There is no model «{name}»; the models are {' and '.join(MODELS)}.")
        return getattr(self, name)


def load(path: Path = Path("params.yaml")) -> Params:
    """Read ``params.yaml``.

    Raises:
        ParamsError: the file is absent, no YAML, or holds a key, type or value that is not understood.
    """
    import yaml

    try:
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ParamsError(f"{path} is absent; run from the project's folder.") from error
    except yaml.YAMLError as error:
        raise ParamsError(f"{path} is no YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ParamsError(f"{path} must hold keys and values.")
    profiles = raw.pop("profiles", None)
    name = raw.get("profile")
    if not isinstance(profiles, dict) or name not in profiles:
        known = ", ".join(profiles) if isinstance(profiles, dict) else "none"
        raise ParamsError(f"{path}: profile «{name}» is not among profiles ({known}).")
    return build(Params, {**raw, **profiles[name]}, where=str(path))
