"""Types of parameters with what they allow; a name for each kind of number that has a unit or a bound."""

from __future__ import annotations

from typing import Annotated

from coronet.config.schema import OneOf, Range, Rising

OWN_ENCODERS = ("plain", "autoencoder")
SMP_ENCODERS = (
    *("resnet18", "resnet34", "resnet50", "vgg11_bn", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19_bn"),
    *(
        "densenet121",
        "densenet169",
        "efficientnet-b0",
        "efficientnet-b1",
        "efficientnet-b2",
        "efficientnet-b3",
    ),
)
SMP_LEVELS = (3, 4, 5)

Share = Annotated[float, Range(0, 1)]
Fraction = Annotated[float, Range(0, 1, open_low=True, open_high=True)]
Rate = Annotated[float, Range(0, 1, open_low=True)]
Seed = Annotated[int, Range(0, 2**32 - 1)]
Count = Annotated[int, Range(1, 1_000_000)]
Epochs = Annotated[int, Range(1, 100_000)]
Patience = Annotated[int, Range(0, 100_000)]
BatchSize = Annotated[int, Range(1, 4096)]
Voxels = Annotated[int, Range(1, 2048)]
Spacing = Annotated[float, Range(0.05, 100)]
Length = Annotated[float, Range(0, 500)]
Extent = Annotated[float, Range(0, 10_000)]
Hu = Annotated[float, Range(-32_768, 32_767)]
Factor = Annotated[float, Range(0.1, 10)]
Size = Annotated[float, Range(0, 1e9)]
Weight = Annotated[float, Range(0, 100)]
Gamma = Annotated[float, Range(0, 100)]
Encoder = Annotated[str, OneOf((*OWN_ENCODERS, *SMP_ENCODERS), hint="`coronet encoders` lists all")]
Activation = Annotated[str, OneOf(("selu", "relu"))]
HuRange = Annotated[tuple[Hu, Hu], Rising()]
FactorRange = Annotated[tuple[Factor, Factor], Rising(equal=True)]
SpacingRange = Annotated[tuple[Spacing, Spacing], Rising()]
