"""Cases in a data folder.

``ct/<case>.nii.gz`` is the scan, ``ct/<case>.json`` what is known of it and may be kept (no identifier),
``masks/<case>_heart.nii.gz`` and ``masks/<case>_calcium.nii.gz`` the masks where there are any. Networks
learn from those. Where better masks are known, such as a phantom's exact ones, ``masks/reference/`` holds
them under the same names, with ``<case>.json`` that binds them to the scan, and what measures compares with
them.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from pathlib import Path

import numpy as np

from coronet.errors import InputError
from coronet.files import read_json, sha256_file, write_json
from coronet.io.scan_facts import ScanFacts
from coronet.io.volume import Volume, read_nifti

logger = logging.getLogger("coronet")

_REFERENCE = "reference"
EXACT, GIVEN = "exact", "given"
CASE_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclasses.dataclass(frozen=True)
class Case:
    """One scan with its masks and facts; a mask's path is None where there is no file."""

    id: str
    ct: Path
    heart: Path | None
    calcium: Path | None
    facts: ScanFacts


def check_case_id(case_id: str) -> str:
    """Return ``case_id``; an `InputError` if it is too long or holds what a file name should not."""
    if not CASE_PATTERN.fullmatch(case_id):
        raise InputError(
            f'"{case_id}" cannot name a case; use up to 64 letters, digits, dots, underscores and hyphens.'
        )
    return case_id


def scan_path(data: Path, case_id: str) -> Path:
    """Where a case's scan lies."""
    return Path(data) / "ct" / f"{check_case_id(case_id)}.nii.gz"


def mask_path(data: Path, case_id: str, model: str) -> Path:
    """Where a case's ``heart`` or ``calcium`` mask lies."""
    return Path(data) / "masks" / f"{check_case_id(case_id)}_{model}.nii.gz"


def reference_path(data: Path, case_id: str, model: str) -> Path:
    """Where a case's better ``heart`` or ``calcium`` mask lies, if there is one."""
    return Path(data) / "masks" / _REFERENCE / f"{check_case_id(case_id)}_{model}.nii.gz"


def binding_path(data: Path, case_id: str) -> Path:
    """Where it is written which scan a case's better masks belong to: ``{"scan_sha256": …}``."""
    return Path(data) / "masks" / _REFERENCE / f"{check_case_id(case_id)}.json"


@dataclasses.dataclass(frozen=True)
class Reference:
    """The mask that results are compared with."""

    path: Path  # of the mask
    kind: str  # `exact` for one in `masks/reference`, `given` for the one that networks learn from


def find_reference(case: Case, model: str) -> Reference | None:
    """The ``heart`` or ``calcium`` mask that a case's results are compared with; None where it has none.

    It is the better mask where one is bound to the scan, else the one that networks learn from.
    """
    data = case.ct.parent.parent
    better, binding = reference_path(data, case.id, model), binding_path(data, case.id)
    if better.exists() and binding.exists():
        if read_json(binding).get("scan_sha256") == sha256_file(case.ct):
            return Reference(better, EXACT)
        logger.warning(
            "%s: its masks in masks/%s belong to another scan; they are not used", case.id, _REFERENCE
        )
    path = case.heart if model == "heart" else case.calcium
    return None if path is None else Reference(path, GIVEN)


def write_facts(data: Path, case_id: str, facts: ScanFacts) -> None:
    """Write ``ct/<case>.json``; what only some scans have stands in it where they have it."""
    content = dataclasses.asdict(facts)
    for name in ("attribution", "drawn_into"):
        if not content[name]:
            del content[name]
    write_json(Path(data) / "ct" / f"{check_case_id(case_id)}.json", content)


def find_case(data: Path, case_id: str) -> Case:
    """The case named ``case_id``.

    Raises:
        InputError: its facts are absent or not understood.
    """
    ct = scan_path(data, case_id)
    raw = read_json(ct.parent / f"{case_id}.json")
    try:
        facts = ScanFacts(**{**raw, "flags": tuple(raw.get("flags", ()))})
    except TypeError as error:
        raise InputError(f"{case_id}: {case_id}.json is not understood: {error}") from error
    paths = (mask_path(data, case_id, model) for model in ("heart", "calcium"))
    heart, calcium = (path if _is_there(path) else None for path in paths)
    return Case(case_id, ct, heart, calcium, facts)


def _is_there(path: Path) -> bool:
    """Whether a file is there; an `InputError` if something else is, or a link to a file that is absent."""
    if path.is_file():
        return True
    if path.exists() or path.is_symlink():
        kind = "no regular file" if path.exists() else "a link to a file that is absent"
        raise InputError(f"{path}: this is {kind}; remove it, or bring the file back (`dvc checkout`).")
    return False


def load_mask(path: Path, ct: Volume) -> np.ndarray:
    """Read the mask of a case whose scan is ``ct``: uint8 labels of the same shape.

    Raises:
        InputError: its grid is not the scan's.
    """
    mask = read_nifti(path, np.uint8)
    if not mask.same_grid(ct):
        raise InputError(
            f"{path.name}: its grid is not the scan's; `coronet data import` puts masks on the scan's grid."
        )
    return mask.array


def scan_files(data: Path) -> list[Path]:
    """Files of all scans of a data folder, sorted; hidden files are none.

    Raises:
        InputError: something under a scan's name is no file, or a link to a file that is absent.
    """
    found = sorted((Path(data) / "ct").glob("*.nii.gz"))
    return [path for path in found if not path.name.startswith(".") and _is_there(path)]


def find_cases(data: Path) -> tuple[Case, ...]:
    """All cases of a data folder, sorted by id.

    Raises:
        InputError: there is no scan, or a scan has no facts beside it.
    """
    scans = scan_files(data)
    if not scans:
        raise InputError(
            f"{data}/ct holds no scan; `coronet data import` brings your own, `coronet demo` draws phantoms."
        )
    return tuple(find_case(data, scan.name.removesuffix(".nii.gz")) for scan in scans)
