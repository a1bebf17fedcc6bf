"""Real scans without coronary calcium that calcium may be drawn into, each with a file that says so.

A folder holds ``<name>.json`` for each of them: where the scan and its heart mask lie, that no coronary
calcium is in it and who says so, where it comes from, its licence, and what must be said of its origin
wherever something made of it is shared. A scan without such a file is refused.
"""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from coronet.config.schema import CheckedValue, InRange, OneOf, build
from coronet.dataset.cases import CASE_PATTERN
from coronet.dataset.quality_flags import CONTRAST, FLAGS, UNFIT, check_scan_heart, examine_scan
from coronet.errors import InputError, ParamsError, UnsuitableScan
from coronet.files import read_json
from coronet.io.content_hash import content_sha256
from coronet.io.masks import read_mask
from coronet.io.reader import is_volume, read_scan
from coronet.io.volume import Volume, grid_affine

_FORBIDDEN = re.compile(r"\b(NC|ND)\b", re.IGNORECASE)
"""Parts of licences under which a trained network could not be passed on."""
_BLOOD_HU = 90.0  # median within the heart; 20 to 50 without contrast agent
_SQUARE = 0.01  # share by which the sides of a pixel may differ
_UPRIGHT = 1e-3  # cosine between two axes of a grid whose axes stand upright on each other


@dataclasses.dataclass(frozen=True)
class BackgroundFacts(CheckedValue):
    """What ``<name>.json`` says; paths are relative to it.

    Attributes:
        scan: volume file, or folder with one DICOM series.
        heart: mask of the heart in it; may be made by `coronet.real_backgrounds.found_hearts`.
        coronary_calcium: must be ``none``: the scan was read and shows none.
        read_by: who read it.
        source: collection and identifier.
        licence: such as ``CC BY 4.0``.
        attribution: sentence to be shown with every model that learned from it.
        patient: pseudonym; scans of one person share it. The name of the file by default.
        kernel: reconstruction kernel, where it is known.
        slice_thickness_mm: where it is known; else slices are taken to be as thick as they are apart.
        tube_kv: where it is known.
    """

    scan: str
    heart: str
    coronary_calcium: Annotated[str, OneOf(("none",))]
    read_by: str
    source: str
    licence: str
    attribution: str
    patient: str = ""
    kernel: str = ""
    slice_thickness_mm: Annotated[float, InRange(0.1, 20)] | None = None
    tube_kv: Annotated[float, InRange(40, 200)] | None = None


@dataclasses.dataclass(frozen=True)
class BackgroundFile:
    """A background that may be read."""

    path: Path
    facts: BackgroundFacts

    @property
    def name(self) -> str:
        """Name of the file without its suffix."""
        return self.path.stem

    @property
    def scan(self) -> Path:
        """Where the scan lies."""
        return self.path.parent / self.facts.scan

    @property
    def heart(self) -> Path:
        """Where its heart mask lies."""
        return self.path.parent / self.facts.heart

    @property
    def patient(self) -> str:
        """Pseudonym of who was scanned."""
        return self.facts.patient or f"background-{self.name}"


@dataclasses.dataclass(frozen=True)
class Background:
    """A background in memory.

    Attributes:
        file: what is known of it.
        ct: HU as int16, on a grid along the axes (the scanner may have been turned; `affine` says how).
        heart: boolean mask of the same shape.
        affine: 4 × 4 of the scan as it was read.
        thickness_mm: of a slice.
        content_sha256: of the scan.
    """

    file: BackgroundFile
    ct: Volume
    heart: np.ndarray
    affine: np.ndarray
    thickness_mm: float
    content_sha256: str

    def to_world(self, points_mm: np.ndarray) -> np.ndarray:
        """Points (n, 3) on the grid of ``ct`` in the scan's own world, in mm."""
        index = (np.asarray(points_mm) - self.ct.affine[:3, 3]) / np.diag(self.ct.affine)[:3]
        return index @ self.affine[:3, :3].T + self.affine[:3, 3]


def find_backgrounds(folder: Path) -> tuple[BackgroundFile, ...]:
    """The backgrounds of a folder, sorted by name.

    Raises:
        InputError: there are none, a scan has no file beside it, or a file does not say what it must.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(
            f"{folder} is no folder of backgrounds; docs/real-backgrounds.md says what it holds."
        )
    files = tuple(_read_file(path) for path in sorted(folder.glob("*.json")))
    named = {path.resolve() for file in files for path in (file.scan, file.heart)}
    for path in sorted(folder.iterdir()):
        if is_volume(path) and path.resolve() not in named:
            stem = path.name.removesuffix(".gz").removesuffix(".nii")
            raise InputError(
                f"{path}: no {stem}.json beside it says where the scan comes from and under which licence; "
                "docs/real-backgrounds.md shows one."
            )
    if not files:
        raise InputError(f"{folder} holds no backgrounds; docs/real-backgrounds.md says what it holds.")
    return files


def _read_file(path: Path) -> BackgroundFile:
    raw: Any = read_json(path)
    try:
        facts: BackgroundFacts = build(BackgroundFacts, raw, where=str(path))
    except ParamsError as error:
        raise InputError(str(error)) from error
    for key in ("read_by", "source", "licence", "attribution"):
        if not getattr(facts, key).strip():
            raise InputError(f"{path}: {key} is empty; docs/real-backgrounds.md says what belongs there.")
    if _FORBIDDEN.search(facts.licence):
        raise InputError(
            f"{path}: a network that learned from a scan under {facts.licence} could not be passed on; "
            "take the file out of the folder."
        )
    if not CASE_PATTERN.fullmatch(path.stem) or len(path.stem) > 56:
        raise InputError(
            f"{path}: a name of up to 56 letters, digits, dots, underscores and hyphens is needed."
        )
    return BackgroundFile(path, facts)


def read_background(file: BackgroundFile) -> Background:
    """Read a background and check that calcium may be drawn into it.

    Raises:
        InputError: scan or mask cannot be read, or its grid is none that deposits can be drawn on.
        UnsuitableScan: contrast agent, no whole heart in view, or a mask that cannot be its heart.
    """
    scan = read_scan(file.scan)
    facts = dataclasses.replace(
        scan.facts,
        kernel=file.facts.kernel or scan.facts.kernel,
        slice_thickness_mm=file.facts.slice_thickness_mm or scan.facts.slice_thickness_mm,
    )
    volume = scan.volume
    grid = _upright_grid(volume, str(file.scan))
    if not file.heart.exists():
        raise InputError(
            f"{file.heart} is absent; draw the heart, or let a network find it: "
            "`coronet data deposit FOLDER --heart-model build/heart/fit`."
        )
    heart = read_mask(file.heart, volume, target="heart").labels > 0
    if not heart.any():
        raise InputError(f"{file.heart}: the mask is empty.")
    hu = np.clip(np.rint(volume.array), -1024, 32767).astype(np.int16)
    ct = Volume(np.asfortranarray(hu), grid)
    flags, chest = examine_scan(ct, facts)
    found = check_scan_heart({flag: FLAGS[flag] for flag in flags}, heart, ct, chest)
    if CONTRAST not in found and float(np.median(hu[heart])) > _BLOOD_HU:
        found[CONTRAST] = FLAGS[CONTRAST]
    unfit = [words for flag, words in found.items() if flag in UNFIT]
    if unfit:
        raise UnsuitableScan(f"{file.scan}: {'; '.join(unfit)}; calcium is not drawn into it.")
    return Background(
        file,
        ct,
        heart,
        np.asarray(volume.affine, np.float64),
        float(facts.slice_thickness_mm or ct.spacing_mm[2]),
        content_sha256(ct),
    )


def _upright_grid(volume: Volume, where: str) -> np.ndarray:
    """Affine of the scan's voxels along the axes: its own where it stands so, else one beside it."""
    axes = np.asarray(volume.affine, np.float64)[:3, :3]
    spacing = volume.spacing_mm
    unit = axes / np.asarray(spacing)
    if np.abs(unit.T @ unit - np.eye(3)).max() > _UPRIGHT:
        raise InputError(f"{where}: its slices are tilted against their stack; calcium is not drawn into it.")
    if not math.isclose(spacing[0], spacing[1], rel_tol=_SQUARE):
        raise InputError(f"{where}: its pixels are not square; calcium is not drawn into it.")
    upright = np.abs(unit - np.eye(3)).max() < _UPRIGHT
    origin = volume.affine[:3, 3] if upright else np.zeros(3)
    return grid_affine(spacing, (float(origin[0]), float(origin[1]), float(origin[2])))
