"""What a heart network sees of a scan, in a few numbers."""

from __future__ import annotations

import numpy as np
import torch

from coronet.inference.devices import precision
from coronet.io.volume import AIR_HU
from coronet.networks.factory import LoadedModel
from coronet.preprocessing.intensity import scale_intensity
from coronet.preprocessing.network_input import NetworkInput


def heart_features(
    model: LoadedModel, scan_input: NetworkInput, probability: np.ndarray
) -> np.ndarray | None:
    """Mean and standard deviation of the encoder's innermost features in a window around the heart found.

    Args:
        model: the heart network.
        scan_input: what it saw of the scan.
        probability: its answer, shape of ``scan_input.hu``.

    Returns:
        Shape (2 · channels,); None where no heart was found.
    """
    heart = np.argwhere(probability >= model.params.threshold)
    if not len(heart):
        return None
    spec = model.params.input
    window = np.full(spec.shape, np.float32(AIR_HU))
    source, place = [], []
    for centre, size, length in zip(heart.mean(axis=0), spec.shape, scan_input.hu.shape, strict=True):
        first = round(float(centre) - size / 2)
        low, high = max(first, 0), min(first + size, length)
        source.append(slice(low, high))
        place.append(slice(low - first, high - first))
    window[tuple(place)] = scan_input.hu[tuple(source)]
    image = scale_intensity(torch.from_numpy(window).to(model.device), spec.window_hu)[None, None]
    encoder = model.module.get_submodule("encoder")
    with torch.inference_mode(), precision(model.device):
        innermost = encoder(image.contiguous(memory_format=torch.channels_last_3d))[-1][0].float().flatten(1)
    found: np.ndarray = torch.cat([innermost.mean(1), innermost.std(1)]).cpu().numpy().astype(np.float64)
    return found
