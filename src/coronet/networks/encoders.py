"""The smp-3d encoders that are allowed, and their pretrained weights.

The library names 124 encoders, and many fail on one-channel volumes. Only those proven by tests, on a heart
input and on a calcium input, are allowed. This is the one module that imports the library.
"""

from __future__ import annotations

import copy
import hashlib
import importlib
import logging
import re
import sys
import urllib.error
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from coronet.errors import InputError, ParamsError
from coronet.networks.unet import expect_little

logger = logging.getLogger("coronet")

ALLOWED = (
    "resnet18", "resnet34", "resnet50", "vgg11_bn", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19_bn",
    "densenet121", "densenet169",
    "efficientnet-b0", "efficientnet-b1", "efficientnet-b2", "efficientnet-b3",
)  # fmt: skip
DEPTHS = (3, 4, 5)

_MISSING_OPERATOR = re.compile(r"operator torchvision::(nms|qnms) does not exist")
_stand_ins: list[torch.library.Library] = []


def _ensure_torchvision() -> ModuleType:
    """Import torchvision where its compiled part does not fit, as beside a CPU build of torch.

    Its Python part registers shapes for two operators of the compiled part and fails when they are absent.
    Declaring the two, which are never called, lets it import. Where torchvision imports by itself,
    nothing is changed.
    """
    for _ in range(2):
        try:
            return importlib.import_module("torchvision")
        except RuntimeError as error:
            missing = _MISSING_OPERATOR.search(str(error))
            if missing is None:
                raise
            _declare(missing.group(1))
    return importlib.import_module("torchvision")


def _declare(operator: str) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    # A library's operators vanish with it, so it is kept.
    library = torch.library.Library("torchvision", "FRAGMENT")
    library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _stand_ins.append(library)


def _library() -> ModuleType:
    _ensure_torchvision()
    return importlib.import_module("segmentation_models_pytorch_3d")


class EncodedUNet(nn.Module):
    """A U-Net around an smp-3d encoder: one channel in, one channel of logits out."""

    def __init__(self, name: str, channels: Sequence[int], activation: str, *, weights: str) -> None:
        """Build it.

        Args:
            channels: the decoder's features per level, outermost first; their number is the depth.
            activation: takes the place of ReLU in encoder and decoder; other activations stay.

        Raises:
            ParamsError: the name is not allowed, or the depth is not 3, 4 or 5.
            InputError: pretrained weights are asked for and cannot be had.
        """
        super().__init__()
        if name not in ALLOWED:
            raise ParamsError(
                f'network.encoder "{name}" is not allowed; `coronet encoders` lists those that are.'
            )
        depth = len(channels)
        if depth not in DEPTHS:
            raise ParamsError(f"network.channels must name {DEPTHS[0]} to {DEPTHS[-1]} levels, not {depth}.")
        library = _library()
        self.encoder = build_encoder(name, depth=depth, weights=weights)
        self.decoder = library.decoders.unet.decoder.UnetDecoder(
            encoder_channels=self.encoder.out_channels,
            decoder_channels=tuple(reversed(channels)),
            n_blocks=depth,
            strides=((2, 2, 2),) * depth,
        )
        self.head = nn.Conv3d(channels[0], 1, 3, padding=1)
        expect_little(self.head)
        _swap_activation(self, activation)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(n, 1, x, y, z) in −1 … 1 to logits of the same shape."""
        return self.head(self.decoder(*self.encoder(image)))


def build_encoder(name: str, *, depth: int, weights: str) -> nn.Module:
    """One of the library's encoders for one input channel.

    The library's own function for this writes the asked depth and strides into a table that all later calls
    share, and fetches weights in silence; both are avoided here.

    Args:
        depth: how often the grid is halved, 3 to 5.
    """
    entry = _library().encoders.encoders[name]
    # Some encoders index five strides whatever the depth.
    strides = ((2, 2, 2),) * 5
    encoder = entry["encoder"](**{**copy.deepcopy(entry["params"]), "depth": depth, "strides": strides})
    if weights != "none":
        if weights not in entry["pretrained_settings"]:
            raise ParamsError(
                f'network.weights "{weights}" is not to be had for {name}; use none or imagenet.'
            )
        state = fetch_weights(entry["pretrained_settings"][weights]["url"])
        load_flat_weights(encoder, state, name)
    encoder.set_in_channels(1, pretrained=weights != "none")
    _drop_unused(encoder, depth)
    return encoder


def fetch_weights(url: str) -> dict[str, torch.Tensor]:
    """Weights from the user's own file, or else from the network, saying so.

    The file is looked for under torch's hub folder (``$TORCH_HOME/hub/checkpoints``). Its name carries the
    first digits of its sha256, which are checked. It is read without running any code in it.

    Raises:
        InputError: the file is absent and cannot be fetched, or is damaged.
    """
    name = url.rpartition("/")[2]
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.exists():
        logger.info("fetching pretrained weights from %s to %s", url, path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), progress=False)
        except (urllib.error.URLError, OSError) as error:
            raise InputError(
                f"The pretrained weights {name} are not at {path.parent} and cannot be fetched from {url} "
                f"({error}); put the file there, or set network.weights to none."
            ) from error
    digits = re.search(r"-([0-9a-f]{8,})\.pth$", name)
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digits and not digest.startswith(digits.group(1)):
        raise InputError(
            f"{path} is damaged: its sha256 does not begin with {digits.group(1)}; remove the file."
        )
    # The published files are pickles; weights_only admits tensors and refuses everything else in them.
    return torch.load(path, map_location="cpu", weights_only=True)


def inflate(weight: torch.Tensor) -> torch.Tensor:
    """A 2-D convolution's weight for volumes: repeated along the new axis and divided by its length.

    On a volume that does not change along that axis the result answers as the original does on a slice
    (Carreira and Zisserman 2017, section 2.4).

    Args:
        weight: (out, in, k, l).

    Returns:
        (out, in, k, l, l).
    """
    return weight.unsqueeze(-1).repeat(1, 1, 1, 1, weight.shape[-1]) / weight.shape[-1]


def load_flat_weights(encoder: nn.Module, state: dict[str, Any], name: str) -> None:
    """Load weights of the two-dimensional encoder of the same name into ``encoder``.

    Raises:
        InputError: they do not fit.
    """
    inflated = {key: inflate(value) if value.ndim == 4 else value for key, value in state.items()}
    try:
        encoder.load_state_dict(inflated)
    except RuntimeError as error:
        raise InputError(f"The pretrained weights do not fit {name}: {error}") from error


class SeluForRelu(nn.ReLU):
    """SELU that is found where the library looks for a ReLU, as its DenseNet does to take its skips."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """SELU of every element."""
        return F.selu(features, inplace=self.inplace)


def _swap_activation(module: nn.Module, activation: str) -> None:
    """Put SELU in the place of every ReLU under ``module`` where ``activation`` is ``selu``."""
    for name, child in module.named_children():
        if activation == "selu" and type(child) is nn.ReLU:
            setattr(module, name, SeluForRelu(inplace=child.inplace))
        else:
            _swap_activation(child, activation)


def _drop_unused(encoder: Any, depth: int) -> None:
    """Remove layers below ``depth`` and classifiers, which would be saved and averaged for nothing."""
    stages = encoder.get_stages()[: depth + 1]
    used = {id(layer) for stage in stages for layer in nn.ModuleList([stage]).modules()}
    for name, layer in list(encoder.named_modules()):
        own = list(layer.parameters(recurse=False)) + list(layer.buffers(recurse=False))
        if own and id(layer) not in used:
            parent, _, last = name.rpartition(".")
            setattr(encoder.get_submodule(parent), last, nn.Identity())
