"""Where a drawn mask comes from, as plain JSON that names nobody."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np

import coronet
from coronet.annotation.draft_mask import AgreementCount, DraftMask
from coronet.annotation.forest import Samples
from coronet.annotation.strokes import FORMAT as STROKES
from coronet.annotation.strokes import Marks, Strokes, count_strokes
from coronet.errors import InputError
from coronet.files import read_json, write_json

_FORMAT = "coronet annotation 1"
_LIBRARIES = ("numpy", "scipy", "scikit-learn")


@dataclasses.dataclass(frozen=True)
class Provenance:
    """What made a mask.

    Attributes:
        case: id in the cohort.
        target: heart or calcium.
        scan_sha256: of the scan's file.
        mask_sha256: of the mask's file as this tool wrote it.
        mask_ml: volume of the mask.
        strokes_sha256: of the stroke file kept beside this record; None where none was given.
        strokes: how many strokes (or stroked voxels of a label volume) carry each label; ``none`` where they
            say that there is no calcium.
        features: names of what the forest saw.
        forest: trees, leaf and seed; None where no forest was asked.
        out_of_bag: share of training rows that trees which did not see them got right; it flatters.
        rows: of the training table that come from this scan.
        taught_by: number of other scans in the training table.
        prior_sha256: of the table of those scans.
        uncertain_ml: volume in which the forest's answer lies between 25 and 75 per cent.
        versions: of coronet and of the libraries that compute.
        tally: what a calcium mask holds.
        agatston: Agatston score of a calcium mask.
    """

    case: str
    target: str
    scan_sha256: str
    mask_sha256: str
    mask_ml: float
    strokes_sha256: str | None
    strokes: dict[str, int]
    features: tuple[str, ...]
    forest: dict[str, int] | None
    out_of_bag: float | None
    rows: int
    taught_by: int
    prior_sha256: str | None
    uncertain_ml: float
    versions: dict[str, str]
    tally: AgreementCount | None = None
    agatston: float | None = None


def make_provenance(
    drawn: DraftMask,
    *,
    case: str,
    target: str,
    voxel_mm3: float,
    scan_sha256: str,
    mask_sha256: str,
    strokes: Strokes | Marks | None,
    strokes_sha256: str | None,
    prior: Samples | None,
    prior_sha256: str | None,
    agatston: float | None,
) -> Provenance:
    """The record of what was drawn."""
    return Provenance(
        case=case,
        target=target,
        scan_sha256=scan_sha256,
        mask_sha256=mask_sha256,
        mask_ml=round(int((drawn.mask > 0).sum()) * voxel_mm3 / 1000, 2),
        strokes_sha256=strokes_sha256,
        strokes=count_strokes(strokes),
        features=drawn.samples.feature_names,
        forest=None if drawn.forest is None else dataclasses.asdict(drawn.forest.settings),
        out_of_bag=None if drawn.out_of_bag is None else round(drawn.out_of_bag, 4),
        rows=len(drawn.samples.labels),
        taught_by=0 if prior is None else len(np.unique(prior.cases)),
        prior_sha256=prior_sha256,
        uncertain_ml=round(int((drawn.uncertainty >= 50).sum()) * voxel_mm3 / 1000, 2),
        versions=_versions(),
        tally=drawn.tally,
        agatston=None if agatston is None else round(agatston, 1),
    )


def _versions() -> dict[str, str]:
    """Versions of coronet and of the libraries that compute."""
    return {"coronet": coronet.__version__, **{name: importlib.metadata.version(name) for name in _LIBRARIES}}


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
    return None if isinstance(raw, dict) and raw.get("format") == STROKES else _read_record(path)


def _read_record(path: Path) -> Provenance:
    """Read what `write_provenance` wrote.

    Raises:
        InputError: the file is absent or no such record.
    """
    raw: dict[str, Any] = read_json(path)
    try:
        if raw.pop("format") != _FORMAT:
            raise KeyError("format")
        tally = raw.get("tally")
        return Provenance(
            **{
                **raw,
                "features": tuple(raw["features"]),
                "tally": None if tally is None else AgreementCount(**tally),
            }
        )
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is no record of an annotation; draw the mask again.") from error
