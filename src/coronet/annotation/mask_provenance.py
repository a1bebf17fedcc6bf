"""Where a drawn mask comes from, as JSON without identifiers."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from pathlib import Path
from typing import Any

import coronet
from coronet.annotation.draft_mask import CalciumTally
from coronet.annotation.strokes import FORMAT as STROKES
from coronet.annotation.strokes import Target
from coronet.errors import InputError
from coronet.files import read_json, write_json

_FORMAT = "coronet annotation 1"
_LIBRARIES = ("numpy", "scipy", "scikit-learn")
_OLD_NAMES = {
    "taught_by": "library_scans",
    "prior_sha256": "library_sha256",
    "unseen": "unreviewed",
    "unseen_at_mm": "unreviewed_at_mm",
}
"""Keys of records that older versions wrote."""


def _library_versions() -> dict[str, str]:
    return {"coronet": coronet.__version__, **{name: importlib.metadata.version(name) for name in _LIBRARIES}}


@dataclasses.dataclass(frozen=True)
class Provenance:
    """What made a mask."""

    case: str
    target: Target
    scan_sha256: str
    mask_sha256: str  # of the mask's file as this tool wrote it
    mask_ml: float
    strokes_sha256: str | None  # of the stroke file kept beside this record; None where none was given
    # how many strokes (or voxels of a label volume) carry each label; ``none`` where they state that there is
    # no calcium
    strokes: dict[str, int]
    features: tuple[str, ...]
    forest: dict[str, int] | None  # trees, leaf and seed; None where no forest was used
    # share of training rows that trees which had not been fitted to them got right; optimistic
    out_of_bag: float | None
    rows: int  # of the training table that come from this scan
    library_scans: int  # number of other scans in the training table
    library_sha256: str | None  # of the table of those scans
    uncertain_ml: float  # volume in which the forest's probability lies between 25 and 75 per cent
    tally: CalciumTally | None = None  # what a calcium mask holds
    agatston: float | None = None
    # of coronet and of the libraries that compute
    versions: dict[str, str] = dataclasses.field(default_factory=_library_versions)


def write_provenance(path: Path, record: Provenance) -> None:
    """Write a record as JSON."""
    write_json(path, {"format": _FORMAT, **dataclasses.asdict(record)})


def find_provenance(path: Path) -> Provenance | None:
    """The record at a path; None where there is none, or a phantom's stroke file lies there.

    Raises:
        InputError: what lies there is neither.
    """
    if not path.exists():
        return None
    raw = read_json(path)
    if isinstance(raw, dict) and raw.get("format") == STROKES:
        return None
    try:
        if raw.pop("format") != _FORMAT:
            raise KeyError("format")
        tally = raw.pop("tally", None)
        if tally is not None:
            tally = CalciumTally(**_renamed(tally))
        return Provenance(**{**_renamed(raw), "features": tuple(raw["features"]), "tally": tally})
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is no record of an annotation; draw the mask again.") from error


def _renamed(raw: dict[str, Any]) -> dict[str, Any]:
    return {_OLD_NAMES.get(key, key): value for key, value in raw.items()}
