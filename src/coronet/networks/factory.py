"""The one place where networks are built, saved and loaded."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from coronet import config
from coronet.config import ModelParams, NetworkParams
from coronet.errors import InputError, ParamsError, StageError
from coronet.files import read_json, replacing, sha256_file, write_json
from coronet.fingerprint import canonical
from coronet.networks.calibration import Calibration, read_calibration
from coronet.networks.cpu_kernels import accelerate
from coronet.networks.input_distribution import InputDistribution, read_distribution
from coronet.networks.quality import ModelQuality, read_quality
from coronet.networks.unet import ACTIVATIONS, Autoencoder, UNet

if TYPE_CHECKING:
    from coronet.networks.encoders import EncodedUNet

WEIGHTS, SPEC = "weights.safetensors", "model.json"
OWN = ("plain", "autoencoder")
LEARNING_PARTS = ("train", "tune")  # parts of the split whose scans shape the weights


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """What ``model.json`` says of the weights beside it."""

    model: str  # ``heart`` or ``calcium``
    params: ModelParams  # all parameters it was trained with
    fingerprint: str  # of the stage that trained it, or empty
    cases: Mapping[str, int]  # how many cases it learned from, by source, such as ``{"phantom": 24}``
    data_sha256: str = ""  # of the index of prepared cases, which holds the hash of each; or empty
    # `coronet.io.content_hash.content_sha256` of every scan that was used, by part: ``train`` was learned
    # from, by ``tune`` the best epoch was chosen. None where that is not recorded.
    scans: Mapping[str, Sequence[str]] | None = None
    attributions: Sequence[str] = ()  # what must be said of the scans it learned from wherever it is shared
    release: str = ""  # the version of Coronet that these weights come with; empty of one's own training

    def part_of(self, content_sha256: str) -> str | None:
        """The part that a scan was in: ``train``, ``tune`` or ``none``; None where that is not recorded."""
        if self.scans is None:
            return None
        return next((part for part in LEARNING_PARTS if content_sha256 in self.scans.get(part, ())), "none")


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A network ready to predict, and what is known of it."""

    module: nn.Module  # (n, 1, x, y, z) in −1 … 1 to logits; in evaluation mode
    spec: ModelSpec  # parameters and origin
    sha256: str  # of the weights file
    device: torch.device  # where ``module`` lies
    # what is recorded of how good it is
    quality: ModelQuality = dataclasses.field(default_factory=ModelQuality)
    # how to read its probabilities; None of a heart network, and of one that was not calibrated
    calibration: Calibration | None = None
    # what its input looks like; None of a calcium network, and where it was not recorded
    distribution: InputDistribution | None = None

    @property
    def params(self) -> ModelParams:
        """All parameters it was trained with."""
        return self.spec.params


def network_stride(params: NetworkParams) -> int:
    """What every axis of an input must divide by."""
    return 2 ** (len(params.channels) - (1 if params.encoder in OWN else 0))


def check_network(params: NetworkParams, shape: Sequence[int]) -> None:
    """Refuse a network that cannot be built, or an input it cannot take.

    Raises:
        ParamsError: says which parameter, and what would fit.
    """
    if params.activation not in ACTIVATIONS:
        names = " or ".join(ACTIVATIONS)
        raise ParamsError(f'network.activation "{params.activation}" is unknown; use {names}.')
    if params.encoder in OWN and params.weights != "none":
        raise ParamsError(f'network.weights must be none where network.encoder is "{params.encoder}".')
    stride = network_stride(params)
    if any(size % stride for size in shape):
        fitting = [max(1, round(size / stride)) * stride for size in shape]
        raise ParamsError(
            f'input.shape {list(shape)} does not divide by {stride}, as network.encoder "{params.encoder}" '
            f"with {len(params.channels)} channels needs; use {fitting}, or fewer channels."
        )


def build_network(
    params: NetworkParams,
    *,
    shape: Sequence[int],
    seed: int,
    pretrained: Path | None = None,
    start: Path | None = None,
) -> nn.Module:
    """Build a segmentation network; without ``start``, weights depend on ``seed`` and ``pretrained`` alone.

    Args:
        shape: the input's (x, y, z) in voxels.
        pretrained: an autoencoder's encoder (see `save_encoder`), for ``encoder: autoencoder``.
        start: weights of a trained model of the same network, to go on from.

    Returns:
        A module from (n, 1, x, y, z) in −1 … 1 to logits of the same shape.

    Raises:
        ParamsError: the parameters do not fit together.
    """
    check_network(params, shape)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if params.encoder in OWN:
            network: UNet | EncodedUNet = UNet(params.channels, params.activation)
        else:
            from coronet.networks.encoders import EncodedUNet

            weights = "none" if start else params.weights
            network = EncodedUNet(params.encoder, params.channels, params.activation, weights=weights)
    if pretrained is not None:
        _load(network.encoder, pretrained)
    if start is not None:
        _load(network, start)
    return network


def to_device(module: nn.Module, device: torch.device) -> nn.Module:
    """The module on a device, in the memory layout in which convolutions are fastest."""
    # torch's annotations of `to` lack `memory_format`
    return module.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def build_autoencoder(params: NetworkParams, *, shape: Sequence[int], seed: int) -> Autoencoder:
    """Build the autoencoder that shares its encoder with ``encoder: autoencoder``."""
    check_network(params, shape)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Autoencoder(params.channels, params.activation)


def save_encoder(path: Path, autoencoder: Autoencoder) -> None:
    """Write the encoder's weights as safetensors."""
    _save(path, autoencoder.encoder)


def save_model(folder: Path, module: nn.Module, spec: ModelSpec) -> None:
    """Write ``weights.safetensors`` and ``model.json``."""
    folder = Path(folder)
    _save(folder / WEIGHTS, module)
    content = canonical(spec)
    for optional in ("attributions", "release"):
        if not content[optional]:
            del content[optional]
    write_json(
        folder / SPEC,
        {
            "format": 1,
            **content,
            "scans": None if spec.scans is None else {part: sorted(spec.scans[part]) for part in spec.scans},
            "weights_sha256": sha256_file(folder / WEIGHTS),
        },
    )


def load_model(folder: Path, *, device: torch.device | None = None) -> LoadedModel:
    """Read what `save_model` wrote, ready to predict.

    Args:
        folder: holds ``weights.safetensors`` and ``model.json``.

    Raises:
        StageError: the folder holds no model.
        InputError: the weights are damaged or not those of ``model.json``.
    """
    folder = Path(folder)
    if not (folder / SPEC).exists() or not (folder / WEIGHTS).exists():
        raise StageError(f"{folder} holds no model; train one with `dvc repro`, or fetch it with `dvc pull`.")
    raw = read_json(folder / SPEC)
    digest = sha256_file(folder / WEIGHTS)
    if raw.get("weights_sha256") != digest:
        raise InputError(
            f"{folder / WEIGHTS} is not what {SPEC} beside it describes; train or fetch it again."
        )
    params = config.build(ModelParams, raw["params"], where=f"{folder / SPEC}: params")
    plain = {key: raw[key] for key in ("model", "fingerprint", "cases", "data_sha256")}
    spec = ModelSpec(
        params=params,
        scans=raw.get("scans"),
        attributions=raw.get("attributions", ()),
        release=raw.get("release", ""),
        **plain,
    )
    module = build_network(params.network, shape=params.input.shape, seed=0, start=folder / WEIGHTS)
    device = device or torch.device("cpu")
    module = module.eval().requires_grad_(False)
    _fold_norms(module)
    return LoadedModel(
        module=to_device(accelerate(module), device),
        spec=spec,
        sha256=digest,
        device=device,
        quality=read_quality(folder, spec.model, digest),
        calibration=read_calibration(folder, digest) if spec.model == "calcium" else None,
        distribution=read_distribution(folder, digest) if spec.model == "heart" else None,
    )


def _fold_norms(module: nn.Module) -> None:
    """Make each batch norm part of the convolution before it, in place; such a network can learn no more."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for block in module.modules():
        if not isinstance(block, nn.Sequential):
            continue
        for index, (first, second) in enumerate(itertools.pairwise(block)):
            if isinstance(first, nn.Conv3d) and isinstance(second, nn.BatchNorm3d):
                block[index], block[index + 1] = fuse_conv_bn_eval(first, second), nn.Identity()


def _save(path: Path, module: nn.Module) -> None:
    from safetensors.torch import save_file

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    with replacing(Path(path)) as part:
        save_file(state, part)


def _load(module: nn.Module, path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        module.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise InputError(f"{path} does not hold the weights of this network: {error}") from error
