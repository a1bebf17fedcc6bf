"""What is searched, and how a trial's draws become the parameters of a training."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from coronet.config import ModelParams, SearchParams
from coronet.networks.factory import OWN, check_network
from coronet.networks.unet import ACTIVATIONS

if TYPE_CHECKING:
    import optuna

ENCODER, ACTIVATION = "network.encoder", "network.activation"
DICE, GAMMA, RATE = "loss.dice", "loss.focal_gamma", "optimiser.learning_rate"
_KEYS = (ENCODER, ACTIVATION, DICE, GAMMA, RATE)  # what a trial draws, by its place in a model's parameters
_DIGITS = 4  # significant digits of a drawn number, so that what is adopted reads well and is what was tried
_FEWEST_LEVELS = 3


def draw(trial: optuna.trial.BaseTrial, space: SearchParams) -> dict[str, Any]:
    """Let the sampler choose a value for each of `_KEYS`."""
    return {
        ENCODER: trial.suggest_categorical(ENCODER, space.encoders),
        ACTIVATION: trial.suggest_categorical(ACTIVATION, space.activations),
        DICE: trial.suggest_float(DICE, *space.dice),
        GAMMA: trial.suggest_float(GAMMA, *space.focal_gamma),
        RATE: trial.suggest_float(RATE, *space.learning_rate, log=True),
    }


def present_draw(params: ModelParams, space: SearchParams) -> dict[str, Any] | None:
    """What ``params`` say already of `_KEYS`, or None where that is outside of the space."""
    network, loss = params.network, params.loss
    names = {ENCODER: network.encoder, ACTIVATION: network.activation}
    numbers = {DICE: loss.dice, GAMMA: loss.focal_gamma, RATE: params.optimiser.learning_rate}
    limits = {DICE: space.dice, GAMMA: space.focal_gamma, RATE: space.learning_rate}
    within = network.encoder in space.encoders and network.activation in space.activations
    within &= all(low <= numbers[key] <= high for key, (low, high) in limits.items())
    return {**names, **numbers} if within else None


def apply(drawn: Mapping[str, Any], params: ModelParams) -> ModelParams:
    """``params`` with a trial's draws in place, as ``params.yaml`` would hold them.

    ``loss.focal`` becomes what ``loss.dice`` leaves of 1. An smp-3d encoder halves the grid once more than
    the own U-Nets do, so that the innermost levels are left off where the input's shape asks for it.

    Raises:
        ParamsError: the network cannot be built so.
    """
    dice = _round(drawn[DICE])
    network = dataclasses.replace(
        params.network, encoder=drawn[ENCODER], activation=drawn[ACTIVATION], weights="none"
    )
    network = dataclasses.replace(
        network, channels=_fitting_channels(network.encoder, network.channels, params.input.shape)
    )
    check_network(network, params.input.shape)
    return dataclasses.replace(
        params,
        network=network,
        loss=dataclasses.replace(
            params.loss, dice=dice, focal=_round(1 - dice), focal_gamma=_round(drawn[GAMMA])
        ),
        optimiser=dataclasses.replace(params.optimiser, learning_rate=_round(drawn[RATE])),
    )


def _budgeted(params: ModelParams, space: SearchParams) -> ModelParams:
    """``params`` with what a trial may cost: fewer epochs, and fewer patches in each."""

    def share(patches: int, batch: int) -> int:
        return max(batch, round(patches * space.patches))

    optimiser, pretrain = params.optimiser, params.pretrain
    return dataclasses.replace(
        params,
        optimiser=dataclasses.replace(
            optimiser,
            epochs=space.epochs,
            patches_per_epoch=share(optimiser.patches_per_epoch, optimiser.batch_size),
        ),
        pretrain=dataclasses.replace(
            pretrain, patches_per_epoch=share(pretrain.patches_per_epoch, pretrain.batch_size)
        ),
    )


def template(params: ModelParams, space: SearchParams) -> ModelParams:
    """What all trials of a study share: `_budgeted`, with the same value wherever trials draw their own.

    So a study stays the same one after its winner was adopted.
    """
    same = dict(zip(_KEYS, (OWN[0], next(iter(ACTIVATIONS)), 0.5, 2.0, 0.001), strict=True))
    return apply(same, _budgeted(params, space))


def _fitting_channels(encoder: str, channels: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """As many of ``channels``, outermost first, as an input of ``shape`` can be halved for."""
    if encoder in OWN:
        return tuple(channels)
    for levels in range(len(channels), _FEWEST_LEVELS, -1):
        if not any(size % 2**levels for size in shape):
            return tuple(channels[:levels])
    return tuple(channels[:_FEWEST_LEVELS])


def check_space(space: SearchParams, params: ModelParams) -> None:
    """Refuse a space that holds what cannot be trained.

    Raises:
        ParamsError: an encoder or activation that does not fit the input.
    """
    for name in space.activations:
        for encoder in space.encoders:
            apply({ENCODER: encoder, ACTIVATION: name, DICE: 0.5, GAMMA: 2.0, RATE: 0.001}, params)


def _round(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
