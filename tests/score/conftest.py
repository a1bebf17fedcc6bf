"""Made chests, and networks that call every voxel heart and every bright voxel calcium."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from coronet.cohort.cases import ScanFacts, mask_path, scan_path, write_facts
from coronet.cohort.split import Member, Split
from coronet.cohort.volume import Volume, grid_affine, write_nifti
from coronet.config import ModelParams, Params, load
from coronet.networks.builder import ModelSpec, build_network, save_model

ROOT = Path(__file__).resolve().parents[2]
SPACING = (3.0, 3.0, 4.0)
SHAPE = (112, 84, 56)
CENTRE = (165.0, 140.0, 100.0)

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
    """A chest with lungs, a heart and box-shaped calcifications of 6 × 6 × 8 mm."""

    def make(lesions: Sequence[Lesion] = (), *, seed: int = 0) -> Chest:
        x, y, z = np.meshgrid(
            *(np.arange(size) * step for size, step in zip(SHAPE, SPACING, strict=True)), indexing="ij"
        )

        def ellipsoid(centre, radii):
            parts = zip((x, y, z), centre, radii, strict=True)
            return sum(((axis - middle) / radius) ** 2 for axis, middle, radius in parts) < 1

        body = ((x - 165) / 155) ** 2 + ((y - 125) / 110) ** 2 < 1
        heart = ellipsoid(CENTRE, (58, 45, 48))
        lungs = ellipsoid((85, 125, 112), (62, 80, 100)) | ellipsoid((245, 125, 112), (62, 80, 100))
        hu = np.full(SHAPE, -1000.0)
        hu[body] = 40.0
        hu[lungs & body] = -850.0
        hu[heart] = 45.0
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

    whole = load(ROOT / "params.yaml")
    return dataclasses.replace(
        whole,
        heart=small(whole.heart, (12.0, 12.0, 12.0), (32, 24, 24)),
        calcium=small(whole.calcium, SPACING, (32, 32, 16)),
    )


@pytest.fixture(scope="session")
def save_fit(params: Params) -> Callable[..., Path]:
    """Save a network that answers the same everywhere, so that what it finds is known beforehand."""

    def save(folder: Path, model: str, *, logit: float = 9.0, cases: dict[str, int] | None = None) -> Path:
        chosen = params.model(model)
        module = build_network(chosen.network, shape=chosen.input.shape, seed=0)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.zero_()
            module.head.bias.fill_(logit)
        spec = ModelSpec(model, chosen, "f" * 64, {"phantom": 3} if cases is None else cases)
        save_model(folder, module, spec)
        return folder

    return save


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
