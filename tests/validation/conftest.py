"""A small cohort of crude chests, sound until a test plants a fault."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from coronet.config import ValidateParams
from coronet.dataset import case_table, duplicates
from coronet.dataset.cases import Case, mask_path, scan_path, write_facts
from coronet.files import sha256_file
from coronet.io.scan_facts import ScanFacts
from coronet.io.volume import Volume, grid_affine, write_nifti
from coronet.validation import Report, evaluate_rules

SHAPE = (60, 56, 48)
SPACING = (5.5, 5.5, 6.0)
PATIENTS = 6


@dataclasses.dataclass(frozen=True)
class Scan:
    """A chest with its masks, before it is written."""

    ct: Volume
    heart: Volume
    calcium: Volume


@dataclasses.dataclass(frozen=True)
class Cohort:
    """A cohort on disk that can be spoilt."""

    data: Path
    scans: dict[str, Scan]

    def write(
        self, case: str, *, patient: str = "", flags: tuple[str, ...] = (), **parts: Volume | None
    ) -> None:
        """Write a case anew with some parts replaced; None leaves a mask out."""
        scan = {**vars(self.scans.get(case, next(iter(self.scans.values())))), **parts}
        write_nifti(scan_path(self.data, case), scan["ct"], level=1)
        write_facts(self.data, case, ScanFacts(patient or f"patient-{case}", "phantom", flags=flags))
        for model in ("heart", "calcium"):
            path = mask_path(self.data, case, model)
            path.unlink(missing_ok=True)
            if scan[model] is not None:
                write_nifti(path, scan[model], level=1)


def draw_scan(seed: int) -> Scan:
    """A chest with lungs full of vessels, spine, heart and one calcified lesion in it."""
    rng = np.random.default_rng(seed)
    places = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1) * SPACING
    offsets = places - (np.array(SHAPE) - 1) * SPACING / 2

    def ellipsoid(centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
        return (((offsets - centre) / (np.array(radii) * rng.uniform(0.92, 1.08, 3))) ** 2).sum(-1) < 1

    hu = np.full(SHAPE, -1000.0)
    hu[ellipsoid((0, 0, 0), (150, 110, 1e4))] = -90
    hu[ellipsoid((0, 0, 0), (138, 98, 1e4))] = 40
    vessels = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 1.0)
    vessels = np.clip(vessels / vessels.std() - 1, 0, None) * 250 - 850
    lungs = ellipsoid((-70, 5, 0), (50, 75, 120)) | ellipsoid((70, 5, 0), (50, 75, 120))
    hu[lungs] = vessels[lungs]
    heart = ellipsoid((-28, 25, -25), (50, 42, 45))
    hu[heart] = 40
    hu[ellipsoid((0, -75, 0), (18, 18, 1e4))] = 300
    hu += rng.normal(0, 15, SHAPE)
    calcium = np.zeros(SHAPE, np.uint8)
    spot = np.argwhere(heart).mean(axis=0).astype(int) + rng.integers(-3, 4, 3)
    calcium[tuple(slice(index, index + 1 + seed % 2) for index in spot)] = 2
    hu[calcium > 0] = 450
    affine = grid_affine(SPACING, (-160.0, -150.0, -140.0))
    return Scan(
        Volume(np.rint(hu).astype(np.int16), affine),
        Volume(heart.astype(np.uint8), affine),
        Volume(calcium, affine),
    )


@pytest.fixture(scope="session")
def drawn() -> dict[str, Scan]:
    """Scans by case, drawn once."""
    return {f"case{index}": draw_scan(index) for index in range(PATIENTS)}


@pytest.fixture(scope="session")
def sound(drawn: dict[str, Scan], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound cohort on disk, to be copied."""
    folder = tmp_path_factory.mktemp("sound") / "data"
    for case in drawn:
        Cohort(folder, drawn).write(case)
    return folder


@pytest.fixture
def cohort(tmp_path: Path, drawn: dict[str, Scan], sound: Path) -> Cohort:
    """A sound cohort that a test may spoil."""
    return Cohort(shutil.copytree(sound, tmp_path / "data"), drawn)


@pytest.fixture(scope="session")
def measured() -> tuple[dict[tuple, tuple], dict[tuple, float]]:
    """Measures of cases and distances of pictures that are known already."""
    return {}, {}


@pytest.fixture(autouse=True)
def measured_once(measured: tuple[dict, dict], monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure a case, and compare two pictures, once in all tests: most of them change one case of six."""
    cases, distances = measured
    describe, compare = case_table._describe_case, duplicates._distance

    def describe_once(case: Case) -> tuple:
        files = tuple(path and sha256_file(path) for path in (case.ct, case.heart, case.calcium))
        key = (case.id, case.facts, files)
        if key not in cases:
            cases[key] = describe(case)
        return cases[key]

    def compare_once(fixed: np.ndarray, moving: np.ndarray, poses: list) -> float:
        key = (fixed.tobytes(), moving.tobytes(), repr(poses))
        if key not in distances:
            distances[key] = compare(fixed, moving, poses)
        return distances[key]

    monkeypatch.setattr(case_table, "_describe_case", describe_once)
    monkeypatch.setattr(duplicates, "_distance", compare_once)


@pytest.fixture(scope="session")
def limits() -> ValidateParams:
    """Limits for the crude chests."""
    return ValidateParams(
        in_plane_spacing_mm=(0.3, 6.0),
        slice_spacing_mm=(0.4, 8.5),
        extent_mm=(80, 800),
        air_hu=(-1100, -850),
        soft_tissue_hu=(-110, 120),
        heart_ml=(200, 1600),
        heart_hu=(-60, 120),
        heart_air_share=0.1,
        calcium_near_heart_mm=15,
        copy_distance=0.64,
        least_patients=6,
    )


@pytest.fixture
def validated(cohort: Cohort, limits: ValidateParams) -> Callable[[], Report]:
    """The report of the cohort as it is now, without pages."""
    return lambda: evaluate_rules(case_table.describe_cases(cohort.data, workers=1), limits)


@pytest.fixture
def faults(validated: Callable[[], Report]) -> Callable[[], set[tuple[str, str]]]:
    """Case and rule of every fault that the cohort has now."""
    return lambda: {(fault.case, fault.rule) for fault in validated().faults}
