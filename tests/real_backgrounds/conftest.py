"""A calcium-free phantom in the part of a real scan: its chest, coarse, and the file that speaks for it."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coronet.files import write_json
from coronet.io.volume import Volume, write_nifti
from coronet.phantom.anatomy import Anatomy, draw_anatomy
from coronet.phantom.patients import Slot, Window, make_slot
from coronet.phantom.random_draws import generator
from coronet.real_backgrounds.backgrounds import find_backgrounds, read_background
from coronet.real_backgrounds.deposited_cases import StudiedBackground, study_background

SEED = 61
CHEST = Window(matrix=224, field_mm=340.0, below_mm=(30.0, 40.0), length_mm=(200.0, 210.0))
PATIENT = 5  # one without coronary calcium


@dataclasses.dataclass(frozen=True)
class Chest:
    """The scan, its heart mask and the anatomy that it was painted from."""

    ct: Volume
    heart: Volume
    anatomy: Anatomy


@pytest.fixture(scope="session")
def chest() -> Chest:
    case = make_slot(SEED, Slot(0, PATIENT, 0), window=CHEST)
    assert not case.truth["lesions"]
    # the generator draws the anatomy of a patient as its first purpose
    return Chest(case.ct, case.heart, draw_anatomy(generator(SEED, PATIENT, 1)))


@pytest.fixture(scope="session")
def shelf(chest: Chest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one background, to be copied and not changed."""
    folder = tmp_path_factory.mktemp("backgrounds")
    write_nifti(folder / "chest.nii.gz", chest.ct, level=1)
    write_nifti(folder / "chest_heart.nii.gz", chest.heart, level=1)
    write_json(
        folder / "chest.json",
        {
            "scan": "chest.nii.gz",
            "heart": "chest_heart.nii.gz",
            "coronary_calcium": "none",
            "read_by": "a test",
            "source": "a phantom",
            "licence": "CC BY 4.0",
            "attribution": "Drawn for a test.",
            "slice_thickness_mm": 2.5,
        },
    )
    return folder


@pytest.fixture
def folder(shelf: Path, tmp_path: Path) -> Path:
    """The test's own copy of `shelf`."""
    return Path(shutil.copytree(shelf, tmp_path / "backgrounds"))


@pytest.fixture
def rewrite(folder: Path) -> Callable[..., None]:
    """Change facts of the background; None takes one out."""
    from coronet.files import read_json

    def change(**facts: Any) -> None:
        content = read_json(folder / "chest.json") | facts
        write_json(folder / "chest.json", {key: value for key, value in content.items() if value is not None})

    return change


@pytest.fixture(scope="session")
def studied(shelf: Path) -> StudiedBackground:
    """The background with its courses and point spread."""
    (file,) = find_backgrounds(shelf)
    return study_background(read_background(file), seed=7)
