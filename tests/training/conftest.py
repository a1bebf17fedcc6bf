"""A small cohort, prepared once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from balls import write_ball
from coronet import config
from coronet.config import ModelParams, Params
from coronet.dataset.cases import find_cases
from coronet.preprocessing.prepared_store import prepare_model
from worker_threads import worker_threads


class Parts:
    """A split by name."""

    def cases(self, part: str) -> tuple[str, ...]:
        """Cases of a part."""
        return {"train": ("a", "b", "c"), "tune": ("d",), "test": ("e", "f")}[part]


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
    chosen = config.load_params()
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
    with worker_threads():
        return {
            model: prepare_model(model, cases, split, params, out / model) for model in ("heart", "calcium")
        }
