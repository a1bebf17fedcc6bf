"""Made chests, and networks that call what is as dense as muscle heart and every bright voxel calcium."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from coronet.config import ModelParams, Params, load_params
from coronet.dataset.cases import mask_path, scan_path, write_facts
from coronet.dataset.split import Member, Split
from coronet.files import write_json
from coronet.io.scan_facts import ScanFacts
from coronet.io.volume import Volume, grid_affine, write_nifti
from coronet.networks.calibration import CALIBRATION, Calibration, Reliability
from coronet.networks.factory import ModelSpec, build_network, save_model

ROOT = Path(__file__).resolve().parents[2]
SPACING = (3.0, 3.0, 4.0)
SHAPE = (112, 84, 56)
CENTRE = (165.0, 140.0, 100.0)
HEART_HU, FAT_HU = 60.0, -20.0
"""The heart is told from the rest of the body by its density alone."""

SURE = Calibration(
    weights_sha256="",
    heart_sha256="",
    intercept=30.0,
    slope=0.0,
    size_slope=0.0,
    error_root=0.0,
    error_share=0.0,
    missed_per_scan=0.0,
    missed_score=0.0,
    scans=9,
    patients=9,
    measured=30,
    network=Reliability(0, 0, None, None, ()),
    calibrated=Reliability(0, 0, None, None, ()),
)
"""A calibration by which every candidate is calcium and measures exactly."""

Lesion = tuple[tuple[float, float, float], int]
"""Centre in mm from the heart's centre, and HU."""


@dataclasses.dataclass(frozen=True)
class Chest:
    """A scan with its true masks."""

    ct: Volume
    heart: np.ndarray
    calcium: np.ndarray


@pytest.fixture(scope="session")
def make_chest() -> Callable[..., Chest]:
    """A chest with lungs, a heart and box-shaped calcifications of 6 × 6 × 8 mm.

    The heart lies in the middle, or ``right_mm`` to its right.
    """

    def make(lesions: Sequence[Lesion] = (), *, seed: int = 0, right_mm: float = 0.0) -> Chest:
        x, y, z = np.meshgrid(
            *(np.arange(size) * step for size, step in zip(SHAPE, SPACING, strict=True)), indexing="ij"
        )

        def ellipsoid(centre, radii):
            parts = zip((x, y, z), centre, radii, strict=True)
            return sum(((axis - middle) / radius) ** 2 for axis, middle, radius in parts) < 1

        body = ((x - 165) / 155) ** 2 + ((y - 125) / 110) ** 2 < 1
        heart = ellipsoid((CENTRE[0] + right_mm, *CENTRE[1:]), (58, 45, 48))
        lungs = ellipsoid((85, 125, 112), (62, 80, 100)) | ellipsoid((245, 125, 112), (62, 80, 100))
        hu = np.full(SHAPE, -1000.0)
        hu[body] = FAT_HU
        hu[lungs & body] = -850.0
        hu[heart] = HEART_HU
        hu += np.random.default_rng(seed).normal(0, 8, SHAPE)
        calcium = np.zeros(SHAPE, dtype=bool)
        for offset, value in lesions:
            start = [round((c + o) / s) for c, o, s in zip(CENTRE, offset, SPACING, strict=True)]
            box = tuple(slice(index, index + 2) for index in start)
            hu[box], calcium[box] = value, True
        ct = Volume(hu.round().astype(np.int16), grid_affine(SPACING, (-160.0, -120.0, -90.0)))
        return Chest(ct, heart, calcium)

    return make


@pytest.fixture(scope="session")
def params() -> Params:
    """The project's parameters with networks small enough for a test."""

    def small(model: ModelParams, spacing_mm, shape) -> ModelParams:
        return dataclasses.replace(
            model,
            input=dataclasses.replace(model.input, spacing_mm=spacing_mm, shape=shape),
            network=dataclasses.replace(model.network, encoder="plain", channels=(2, 4)),
            threshold=0.5,
        )

    whole = load_params(ROOT / "params.yaml")
    return dataclasses.replace(
        whole,
        heart=small(whole.heart, (12.0, 12.0, 12.0), (32, 24, 24)),
        calcium=small(whole.calcium, SPACING, (32, 32, 16)),
    )


def write_calibration(folder: Path, weights_sha256: str, **changes: float) -> Path:
    """Write `SURE` with some other values as the calibration of weights."""
    calibration = dataclasses.replace(SURE, weights_sha256=weights_sha256, **changes)
    write_json(folder / CALIBRATION, calibration.to_json())
    return folder / CALIBRATION


@pytest.fixture(scope="session")
def save_fit(params: Params) -> Callable[..., Path]:
    """Save a network whose answer is known beforehand.

    It says 1 of every voxel, or, for the heart and without ``logit``, of what is denser than halfway from fat
    to heart.
    """

    def save(
        folder: Path,
        model: str,
        *,
        logit: float | None = None,
        cases: dict[str, int] | None = None,
        scans: dict[str, list[str]] | None = None,
    ) -> Path:
        chosen = params.model(model)
        module = build_network(chosen.network, shape=chosen.input.shape, seed=0)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.zero_()
            module.head.bias.fill_(9.0 if logit is None else logit)
            if model == "heart" and logit is None:
                low, high = chosen.input.window_hu
                _answer_density(module, ((HEART_HU + FAT_HU) / 2 - low) / (high - low) * 2 - 1)
        spec = ModelSpec(model, chosen, "f" * 64, {"phantom": 3} if cases is None else cases, scans=scans)
        save_model(folder, module, spec)
        return folder

    return save


def _answer_density(module: torch.nn.Module, threshold: float) -> None:
    """Let a U-Net without weights answer whether its input, −1 … 1, is above ``threshold``."""
    first, merge = module.encoder.levels[0], module.decoder.merge[-1]
    beside = merge[0].weight.shape[1] // 2
    for block, channel in ((first, 0), (merge, beside)):
        block[0].weight[0, channel, 1, 1, 1] = 1
        block[1].weight[0] = 1
    # lifts the input above 0, where the activation is a factor
    first[1].bias[0] = 2
    factor = float(torch.nn.functional.selu(torch.ones(1)))
    module.head.weight[0, 0] = 60
    module.head.bias.fill_(-60 * factor**2 * (threshold + 2))


@pytest.fixture(scope="session")
def make_cohort(make_chest: Callable[..., Chest]) -> Callable[[Path], Split]:
    """Four test patients: without calcium, scored right, with a false lesion, and without a calcium mask."""

    def make(data: Path) -> Split:
        near, far = ((20.0, 10.0, 4.0), 350), ((-20.0, 20.0, -12.0), 500)
        chests = {
            "free": make_chest(seed=1),
            "right": make_chest([near, far], seed=2),
            "false": make_chest([near, far], seed=3),
            "bare": make_chest([near], seed=4),
        }
        wrong = make_chest([near]).calcium
        for name, chest in chests.items():
            write_nifti(scan_path(data, name), chest.ct)
            write_nifti(mask_path(data, name, "heart"), chest.ct.with_array(chest.heart.astype(np.uint8)))
            calcium = wrong if name == "false" else chest.calcium
            if name != "bare":
                write_nifti(mask_path(data, name, "calcium"), chest.ct.with_array(calcium.astype(np.uint8)))
            write_facts(data, name, ScanFacts(patient=f"patient-{name}", source="phantom"))
        members = [Member(name, f"patient-{name}", "test", "none") for name in sorted(chests)]
        return Split(seed=0, members=(*members, Member("absent", "patient-absent", "train", "none")))

    return make
