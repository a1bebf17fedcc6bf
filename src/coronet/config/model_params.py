"""Parameters of one model: its input, network and training."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Annotated

from coronet.config.schema import CheckedValue, InRange, Items, OneOf, Rising

OWN_ENCODERS = ("plain", "autoencoder")
SMP_ENCODERS = (
    *("resnet18", "resnet34", "resnet50", "vgg11_bn", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19_bn"),
    *("densenet121", "densenet169"),
    *("efficientnet-b0", "efficientnet-b1", "efficientnet-b2", "efficientnet-b3"),
)
SMP_LEVELS = (3, 4, 5)

UnitShare = Annotated[float, InRange(0, 1)]
Fraction = Annotated[float, InRange(0, 1, open_low=True, open_high=True)]
Rate = Annotated[float, InRange(0, 1, open_low=True)]
Seed = Annotated[int, InRange(0, 2**32 - 1)]
Count = Annotated[int, InRange(1, 1_000_000)]
Epochs = Annotated[int, InRange(1, 100_000)]
Patience = Annotated[int, InRange(0, 100_000)]
BatchSize = Annotated[int, InRange(1, 4096)]
Voxels = Annotated[int, InRange(1, 2048)]
Spacing = Annotated[float, InRange(0.05, 100)]
Length = Annotated[float, InRange(0, 500)]
Extent = Annotated[float, InRange(0, 10_000)]
Hu = Annotated[float, InRange(-32_768, 32_767)]
Factor = Annotated[float, InRange(0.1, 10)]
Size = Annotated[float, InRange(0, 1e9)]
Weight = Annotated[float, InRange(0, 100)]
Gamma = Annotated[float, InRange(0, 100)]
EncoderName = Annotated[str, OneOf((*OWN_ENCODERS, *SMP_ENCODERS), hint="`coronet encoders` lists all")]
Activation = Annotated[str, OneOf(("selu", "relu"))]
HuRange = Annotated[tuple[Hu, Hu], Rising()]
FactorRange = Annotated[tuple[Factor, Factor], Rising(equal=True)]
SpacingRange = Annotated[tuple[Spacing, Spacing], Rising()]


@dataclasses.dataclass(frozen=True)
class InputParams(CheckedValue):
    """What a network sees.

    ``shape`` is in voxels (x, y, z). Training takes patches of it; inference slides it with ``overlap``.
    ``margin_mm`` widens the heart's box for the calcium network; the heart network sees the trunk.
    """

    spacing_mm: tuple[Spacing, Spacing, Spacing]
    shape: tuple[Voxels, Voxels, Voxels]
    overlap: Annotated[float, InRange(0, 0.95)]
    window_hu: HuRange
    margin_mm: Length


@dataclasses.dataclass(frozen=True)
class NetworkParams(CheckedValue):
    """``encoder`` is ``plain``, ``autoencoder`` or the name of an allowed smp-3d encoder.

    ``channels`` are the features per level of the plain and autoencoder U-Nets, and the decoder's of the
    others, outermost first. ``weights`` is ``none`` or ``imagenet`` (smp-3d encoders only).
    """

    encoder: EncoderName
    channels: Annotated[tuple[Count, ...], Items(8)]
    activation: Activation
    weights: Annotated[str, OneOf(("none", "imagenet"))]

    def rules(self) -> Iterator[tuple[str, str]]:
        """The own U-Nets have no weights to start from."""
        if self.encoder in OWN_ENCODERS and self.weights != "none":
            yield "weights", f'must be none where encoder is "{self.encoder}", not "{self.weights}"'


@dataclasses.dataclass(frozen=True)
class SamplingParams(CheckedValue):
    """Where training windows lie: shares on the mask and on bright voxels outside of it; the rest anywhere.

    The shares are of all windows of an epoch. A bright voxel has at least 130 HU. Before an epoch the network
    answers on ``judged`` bright things outside of the mask; it then meets those more often that it takes for
    calcium.
    """

    positives: UnitShare
    hard_negatives: UnitShare
    judged: Annotated[int, InRange(0, 1_000_000)]

    def rules(self) -> Iterator[tuple[str, str]]:
        """Both are shares of the same windows."""
        total = self.positives + self.hard_negatives
        if total > 1 + 1e-9:
            yield "", f"positives and hard_negatives are shares of the same windows, but add up to {total:g}"


@dataclasses.dataclass(frozen=True)
class LossParams(CheckedValue):
    """``dice`` · Dice + ``focal`` · focal, the published loss with its constants."""

    dice: Weight
    focal: Weight
    focal_gamma: Gamma
    focal_alpha: Fraction

    def rules(self) -> Iterator[tuple[str, str]]:
        """Something must be learned."""
        if self.dice == self.focal == 0:
            yield "", "dice and focal are both 0; one of them must be above 0"


@dataclasses.dataclass(frozen=True)
class OptimiserParams(CheckedValue):
    """Adam with a plateau rule and early stopping.

    ``patches_per_epoch`` is how many samples make an epoch; patience is counted in epochs.
    ``averaging`` is the decay per step of the running mean of the weights, which is then what is measured and
    kept; 0 keeps the weights themselves.
    """

    epochs: Epochs
    patches_per_epoch: Count
    batch_size: BatchSize
    learning_rate: Rate
    plateau_factor: Fraction
    plateau_patience: Patience
    stop_patience: Patience
    averaging: Annotated[float, InRange(0, 1, open_high=True)]

    def rules(self) -> Iterator[tuple[str, str]]:
        """An epoch has one batch at least."""
        yield from _batch_rule(self)


@dataclasses.dataclass(frozen=True)
class AugmentParams(CheckedValue):
    """Joint random transforms of image and mask, drawn anew for every sample, each with ``probability``.

    Lengths and angles are the largest drawn; ``zoom`` and ``gamma`` are (lowest, highest). ``surface_mm`` is
    how far the calcium network is misled about the heart's surface, since scoring has no true one; ``metal``
    is the share of its windows in which a piece of metal is drawn that the mask leaves out. ``crop`` is the
    share of the heart network's windows that are cut as a short scan of a small field of view is. Models that
    were trained before one of both was there name none.
    """

    probability: UnitShare
    rotation_deg: Annotated[float, InRange(0, 180)]
    shift_mm: Length
    zoom: FactorRange
    elastic_mm: Length
    blur_mm: Length
    gamma: FactorRange
    noise_hu: Annotated[float, InRange(0, 1000)]
    surface_mm: Length
    metal: UnitShare = 0.0
    crop: UnitShare = 0.0


@dataclasses.dataclass(frozen=True)
class PretrainParams(CheckedValue):
    """The autoencoder on training patients; read only where ``network.encoder`` is ``autoencoder``."""

    epochs: Epochs
    patches_per_epoch: Count
    batch_size: BatchSize
    learning_rate: Rate

    def rules(self) -> Iterator[tuple[str, str]]:
        """An epoch has one batch at least."""
        yield from _batch_rule(self)


def _batch_rule(params: OptimiserParams | PretrainParams) -> Iterator[tuple[str, str]]:
    size, patches = params.batch_size, params.patches_per_epoch
    if size > patches:
        yield "batch_size", f"is {size}; it must be at most patches_per_epoch, {patches}"


@dataclasses.dataclass(frozen=True)
class ModelParams(CheckedValue):
    """Everything about one model: its input, network, training and the threshold of its mask."""

    input: InputParams
    network: NetworkParams
    pretrain: PretrainParams
    sampling: SamplingParams
    loss: LossParams
    optimiser: OptimiserParams
    augment: AugmentParams
    threshold: Fraction

    def rules(self) -> Iterator[tuple[str, str]]:
        """The network halves its input at each level."""
        network, shape = self.network, self.input.shape
        own, levels = network.encoder in OWN_ENCODERS, len(network.channels)
        if not own and levels not in SMP_LEVELS:
            allowed = f"{SMP_LEVELS[0]} to {SMP_LEVELS[-1]} levels"
            yield (
                "network",
                f'channels must name {allowed} where encoder is "{network.encoder}", not {levels}',
            )
        stride = 2 ** (levels - own)
        if any(size % stride for size in shape):
            fitting = [max(1, round(size / stride)) * stride for size in shape]
            encoder = f'network.encoder "{network.encoder}" with {levels} channels'
            fault = f"{list(shape)} does not divide by {stride}, as {encoder} needs"
            yield "input.shape", f"{fault}; use {fitting}, or fewer channels"
