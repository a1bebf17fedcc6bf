"""The path from scan to score as MONAI's tutorials would write it; what score.py is compared with."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from coronet.imaging.resampling import mask_box
from coronet.io.volume import Volume
from coronet.networks.factory import LoadedModel
from coronet.scoring.calcium_score import score_calcium


@dataclasses.dataclass(frozen=True)
class Found:
    """Score, and the heart's mask on the scan's grid."""

    agatston: float
    heart: np.ndarray


def peer(path: Path, heart_model: LoadedModel, calcium_model: LoadedModel) -> Found:
    """One scan by MONAI's transforms and inferer; no step is taken for doubtful findings or blurred rims."""
    from monai.inferers import SlidingWindowInferer
    from monai.transforms import (
        Compose,
        CropForeground,
        EnsureChannelFirst,
        KeepLargestConnectedComponent,
        LoadImage,
        Orientation,
        ResampleToMatch,
        ScaleIntensityRange,
        Spacing,
    )

    def answer(image: Any, model: LoadedModel) -> Any:
        spec = model.params.input
        seen = Spacing(pixdim=spec.spacing_mm, mode="bilinear")(image)
        low, high = spec.window_hu
        scaled = ScaleIntensityRange(low, high, -1.0, 1.0, clip=True)(seen)
        seen = CropForeground(select_fn=lambda values: values > -1.0)(scaled)
        infer = SlidingWindowInferer(
            spec.shape,
            sw_batch_size=4,
            overlap=spec.overlap,
            mode="gaussian",
            padding_mode="constant",
            cval=-1.0,
            sw_device=model.device,
            device="cpu",
        )
        with torch.inference_mode():
            logits = infer(seen[None].as_tensor(), model.module)[0]
        seen.set_array(torch.sigmoid(logits))
        return ResampleToMatch(mode="bilinear", padding_mode="zeros")(seen, image)

    image = Compose([LoadImage(image_only=True), EnsureChannelFirst(), Orientation("RAS")])(path)
    heart = KeepLargestConnectedComponent()(answer(image, heart_model) >= heart_model.params.threshold)
    margin = calcium_model.params.input.margin_mm
    spacing = np.sqrt((np.asarray(image.affine)[:3, :3] ** 2).sum(axis=0))
    low, high = mask_box(np.asarray(heart[0]) > 0, np.ceil(margin / spacing).astype(int))
    box = image[:, low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    likely = np.asarray(answer(box, calcium_model)[0]) >= calcium_model.params.threshold
    place = tuple(map(slice, low, high))
    calcium = np.zeros(image.shape[1:], bool)
    calcium[place] = likely & (np.asarray(box[0]) >= 130) & (np.asarray(heart[0])[place] > 0)
    ct = Volume(np.asarray(image[0]), np.asarray(image.affine))
    return Found(score_calcium(ct, calcium).scores.agatston, np.asarray(heart[0]) > 0)
