"""A small cohort, prepared once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from coronet import config
from coronet.cohort.cases import ScanFacts, find_cases, mask_path, scan_path, write_facts
from coronet.cohort.volume import Volume, grid_affine, write_nifti
from coronet.config import ModelParams, Params
from coronet.prepare.store import prepare_model

SHAPE, SPACING = (64, 64, 40), (3.0, 3.0, 4.0)


class Parts:
    """A split by name."""

    def cases(self, part: str) -> tuple[str, ...]:
        """Cases of a part."""
        return {"train": ("a", "b", "c"), "tune": ("d",), "test": ("e", "f")}[part]


def write_ball(data: Path, name: str, rng: np.random.Generator, *, spots: int) -> None:
    """A ball for a heart in a cylinder for a body, with calcium on its surface and a decoy in its middle."""
    places = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), axis=-1)
    centre = np.asarray(SHAPE) / 2 + rng.uniform(-4, 4, 3)
    offset = (places - centre) * SPACING
    heart = np.linalg.norm(offset, axis=-1) < 42
    body = (offset[..., 0] / 90) ** 2 + (offset[..., 1] / 80) ** 2 < 1
    hu = np.where(heart, 40.0, np.where(body, -800.0, -1000.0)) + rng.normal(0, 10, SHAPE)
    calcium = np.zeros(SHAPE, bool)
    for _ in range(spots):
        way = rng.normal(size=3)
        calcium |= np.linalg.norm(offset - 38 * way / np.linalg.norm(way), axis=-1) < 5
    hu[calcium] = 500
    affine = grid_affine(SPACING, (-96.0, -96.0, -80.0))
    write_nifti(scan_path(data, name), Volume(hu.astype(np.int16), affine))
    write_nifti(mask_path(data, name, "heart"), Volume(heart.astype(np.uint8), affine))
    write_nifti(mask_path(data, name, "calcium"), Volume(calcium.astype(np.uint8), affine))
    write_facts(data, name, ScanFacts(patient=name, source="phantom"))


def small(params: ModelParams, **input_changes) -> ModelParams:
    """Parameters that train in a second."""
    change = dataclasses.replace
    return change(
        params,
        input=change(params.input, **input_changes),
        network=change(params.network, encoder="autoencoder", channels=(4, 8, 16), weights="none"),
        optimiser=change(
            params.optimiser,
            epochs=3,
            patches_per_epoch=8,
            batch_size=2,
            learning_rate=0.005,
            stop_patience=10,
            averaging=0.5,
        ),
        pretrain=change(params.pretrain, epochs=2, patches_per_epoch=4, batch_size=2),
    )


@pytest.fixture(scope="session")
def params() -> Params:
    """The demo's parameters, made small."""
    chosen = config.load()
    return dataclasses.replace(
        chosen,
        heart=small(chosen.heart, spacing_mm=(8.0, 8.0, 8.0), shape=(24, 24, 20)),
        calcium=small(chosen.calcium, spacing_mm=(3.0, 3.0, 4.0), shape=(16, 16, 16)),
    )


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six cases, the last without calcium."""
    folder = tmp_path_factory.mktemp("cohort")
    rng = np.random.default_rng(0)
    for name in "abcdef":
        write_ball(folder, name, rng, spots=0 if name == "f" else 3)
    return folder


@pytest.fixture(scope="session")
def split() -> Parts:
    """Three train, one tunes, two test."""
    return Parts()


@pytest.fixture(scope="session")
def prepared(data: Path, split: Parts, params: Params, tmp_path_factory: pytest.TempPathFactory):
    """Folders of prepared cases by model."""
    out = tmp_path_factory.mktemp("prepared")
    cases = find_cases(data)
    return {model: prepare_model(model, cases, split, params, out / model) for model in ("heart", "calcium")}
