"""A project with a cohort of balls, on which a trial trains in a second."""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from coronet import config
from coronet.dataset.cases import find_cases, mask_path, scan_path, write_facts
from coronet.dataset.split import Member, Split, write_split
from coronet.io.scan_facts import ScanFacts
from coronet.io.volume import Volume, grid_affine, write_nifti
from coronet.preprocessing.prepared_store import prepare_model
from coronet.search.adopt import replace_values
from coronet.search.study import run_study
from repositories import commit
from worker_threads import worker_threads

ROOT = Path(__file__).resolve().parents[2]
SHAPE, SPACING = (40, 40, 32), (6.0, 6.0, 6.0)
PARTS = {"train": 8, "tune": 2, "test": 2}
SMALL = {
    "input.spacing_mm": [12.0, 12.0, 12.0],
    "input.shape": [16, 16, 16],
    "network.channels": [4, 8],
    "pretrain.patches_per_epoch": 4,
    "optimiser.patches_per_epoch": 8,
    "optimiser.learning_rate": 0.02,
    "optimiser.averaging": 0.5,
    "optimiser.plateau_patience": 3,
}
SEARCH = {
    "encoders": ["plain", "autoencoder"],
    "folds": 4,
    "learning_rate": [0.005, 0.03],
    "epochs": 5,
    "patches": 1.0,
    "trials": 3,
    "random_trials": 2,
    "heartbeat_s": 1,
    "grace_s": 5,
}
Make = Callable[..., Path]


def small_params(text: str, **search: object) -> str:
    """``params.yaml`` made small, comments kept."""
    values = {f"profiles.demo.heart.{key}": value for key, value in SMALL.items()}
    values |= {f"profiles.demo.search.{key}": value for key, value in {**SEARCH, **search}.items()}
    return replace_values(text, values)


@pytest.fixture(scope="session")
def balls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project after its stage ``prepare heart``."""
    folder = tmp_path_factory.mktemp("balls")
    (folder / "params.yaml").write_text(small_params((ROOT / "params.yaml").read_text()))
    rng = np.random.default_rng(0)
    places = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), axis=-1)
    members = []
    for number, part in enumerate(part for part, count in PARTS.items() for _ in range(count)):
        name = f"{part}-{number}"
        centre = np.asarray(SHAPE) / 2 + rng.uniform(-4, 4, 3)
        heart = np.linalg.norm((places - centre) * SPACING, axis=-1) < 45
        hu = np.where(heart, 40.0, -800.0) + rng.normal(0, 10, SHAPE)
        affine = grid_affine(SPACING, (-120.0, -120.0, -96.0))
        write_nifti(scan_path(folder / "data", name), Volume(hu.astype(np.int16), affine))
        write_nifti(mask_path(folder / "data", name, "heart"), Volume(heart.astype(np.uint8), affine))
        write_facts(folder / "data", name, ScanFacts(patient=f"p{number}", source="phantom"))
        members.append(Member(name, f"p{number}", part, ("none", "low")[number % 2]))
    split = Split(5, tuple(sorted(members, key=lambda item: item.case)))
    write_split(folder / "build" / "split.json", split)
    params, prepared = config.load_params(folder / "params.yaml"), folder / "build" / "heart" / "prepared"
    with worker_threads():
        prepare_model("heart", find_cases(folder / "data"), split, params, prepared)
    return folder


@pytest.fixture
def make(balls: Path, tmp_path: Path) -> Make:
    """A function of (name, **search parameters) that gives a project of its own, committed to git."""

    def new(name: str = "project", **search: object) -> Path:
        folder = shutil.copytree(balls, tmp_path / name)
        text = (ROOT / "params.yaml").read_text()
        (folder / "params.yaml").write_text(small_params(text, **search))
        (folder / ".gitignore").write_text("/build/\n/data/\n/mlruns/\n")
        commit(folder, "start")
        return folder

    return new


@pytest.fixture(scope="session")
def searched_template(balls: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a search of three trials, of an activation that its parameters do not have."""
    folder = shutil.copytree(balls, tmp_path_factory.mktemp("searched") / "project")
    text = (ROOT / "params.yaml").read_text()
    (folder / "params.yaml").write_text(small_params(text, encoders=["plain"], activations=["relu"]))
    (folder / ".gitignore").write_text("/build/\n/data/\n/mlruns/\n")
    commit(folder, "start")
    run_study("heart", folder, trials=3, name="mine", track=False)
    return folder


@pytest.fixture
def searched(searched_template: Path, tmp_path: Path) -> Path:
    """A copy of `searched_template`, whose study is called mine."""
    return shutil.copytree(searched_template, tmp_path / "searched")


class Watch:
    """Names of the files below some folders that any process opens; Linux tells, whatever the language."""

    IN_OPEN = 0x20

    def __init__(self, *roots: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._handle = self._libc.inotify_init1(os.O_NONBLOCK)
        self._folders = {}
        for folder in (item for root in roots for item in (root, *root.rglob("*")) if item.is_dir()):
            number = self._libc.inotify_add_watch(self._handle, bytes(folder), self.IN_OPEN)
            assert number >= 0
            self._folders[number] = folder

    def opened(self) -> set[Path]:
        """Everything since the last call."""
        return set(self._events())

    def _events(self) -> Iterator[Path]:
        while True:
            try:
                data = os.read(self._handle, 1 << 16)
            except BlockingIOError:
                return
            while data:
                number, _, _, length = struct.unpack_from("iIII", data)
                name = data[16 : 16 + length].rstrip(b"\0").decode()
                yield self._folders[number] / name
                data = data[16 + length :]


@pytest.fixture
def watched() -> type[Watch]:
    """A watch over folders, to be made of them."""
    return Watch
