"""Types of parameters with what they allow; a name for each kind of number that has a unit or a bound."""

from __future__ import annotations

from typing import Annotated

from coronet.config.schema import InRange, OneOf, Rising

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
