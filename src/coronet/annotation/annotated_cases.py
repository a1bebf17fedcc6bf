"""The annotated scans of a data folder.

Masks go where the cohort keeps them, ``masks/<case>_<target>.nii.gz``. What made them lies in
``annotations/<case>/``: the strokes, the record, the picture, both maps and the rows that the scan teaches.
Every drawing learns from the rows of all other scans that carry strokes, as they are at that moment: there is
no step between two drawings that could be forgotten.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from coronet.annotation.calcium import check_enough, draw_calcium, fit_candidate_forest
from coronet.annotation.contact_sheet import contact_sheet
from coronet.annotation.draft_mask import DraftMask
from coronet.annotation.forest import Forest, Samples, fit_forest, join_samples, load_samples, save_samples
from coronet.annotation.heart import draw_heart
from coronet.annotation.mask_provenance import Provenance, find_provenance, make_provenance, write_provenance
from coronet.annotation.strokes import (
    Marks,
    Strokes,
    Target,
    check_stroke_file,
    mark_strokes,
    paint_strokes,
    read_strokes,
    write_strokes,
)
from coronet.dataset.cases import check_case_id, load_mask, mask_path, scan_path
from coronet.errors import InputError
from coronet.files import sha256_file, write_bytes, write_json
from coronet.io.volume import Volume, read_nifti, write_nifti


@dataclasses.dataclass(frozen=True)
class AnnotationPaths:
    """Where the files of one annotation lie."""

    mask: Path
    record: Path
    strokes: Path
    label_strokes: Path
    picture: Path
    probability: Path
    uncertainty: Path
    samples: Path


def annotation_paths(data: Path, case: str, target: Target) -> AnnotationPaths:
    """The files of one case's annotation."""
    folder = Path(data) / "annotations" / check_case_id(case)
    return AnnotationPaths(
        mask=mask_path(data, case, target),
        record=folder / f"{target}.json",
        strokes=folder / f"{target}_strokes.json",
        label_strokes=folder / f"{target}_strokes.nii.gz",
        picture=folder / f"{target}.png",
        probability=folder / f"{target}_probability.nii.gz",
        uncertainty=folder / f"{target}_uncertainty.nii.gz",
        samples=folder / f"{target}_samples.npz",
    )


def report_path(data: Path, target: Target) -> Path:
    """Where `fit_library` writes how well a target's forest learns."""
    return Path(data) / "annotations" / f"{target}_forest.json"


def annotate_cases(
    data: Path,
    case: str,
    target: Target,
    *,
    strokes: Path | None,
    use_library: bool = True,
    replace: bool = False,
    seed: int = 0,
    agatston: Callable[[Volume, np.ndarray], float] | None = None,
) -> Provenance:
    """Draw one mask of a case and write it with all that made it.

    Everything that can be checked is checked before the scan is read, and all strokes before anything is
    computed.

    Args:
        data: the cohort's folder.
        case: its id.
        target: heart or calcium.
        strokes: a stroke file; None lets the forest of the other scans draw alone.
        use_library: learn from the other scans that carry strokes, where there are any.
        replace: overwrite a mask that this tool did not draw.
        seed: of the forest.
        agatston: scores a scan's calcium mask, for the record.

    Raises:
        InputError: the case is not there, has a mask that is not this tool's, or the strokes do not fit.
    """
    where = annotation_paths(data, case, target)
    check_replaceable(where, case, target, replace=replace)
    scan = scan_path(data, case)
    if not scan.exists():
        raise InputError(f"{case}: {scan} is absent; `coronet data import` brings scans into the cohort.")
    heart_mask = None if target == "heart" else _heart_of(data, case)
    read = None if strokes is None else check_stroke_file(strokes, target=target)
    prior = _taught_by_others(data, target, case) if use_library else None
    if strokes is None and prior is None:
        raise InputError(
            f"{case}: no other scan has {target} strokes to learn from; draw some with "
            f"`coronet annotate draw CASE --target {target} --strokes FILE`."
        )
    if target == "calcium" and (strokes is None or read is not None):
        check_enough(read, prior)
    volume = read_nifti(scan)
    said = None if strokes is None else read_strokes(strokes, volume, target=target)
    if heart_mask is None:
        drawn = draw_heart(volume, said, prior=prior, case=case, seed=seed)
    else:
        drawn = draw_calcium(volume, load_mask(heart_mask, volume), said, prior=prior, case=case, seed=seed)
    score = None if agatston is None or heart_mask is None else agatston(volume, drawn.mask)
    return _write(
        where, volume, drawn, said, case=case, target=target, scan=scan, prior=prior, agatston=score
    )


def _heart_of(data: Path, case: str) -> Path:
    path = mask_path(data, case, "heart")
    if not path.exists():
        raise InputError(
            f"{case} has no heart mask, which calcium is looked for in; `coronet annotate draw {case} "
            "--target heart` first."
        )
    return path


def check_replaceable(where: AnnotationPaths, case: str, target: str, *, replace: bool) -> None:
    """Refuse to overwrite a mask whose bytes are not those that this tool wrote.

    Raises:
        InputError: there is such a mask and ``replace`` is not given.
    """
    if replace or not where.mask.exists():
        return
    record = find_provenance(where.record)
    if record is None or record.mask_sha256 != sha256_file(where.mask):
        raise InputError(
            f"{case} has a {target} mask that `coronet annotate` did not draw, or that was changed since; "
            f"give --replace to overwrite {where.mask}."
        )


def _taught_by_others(data: Path, target: Target, case: str) -> Samples | None:
    """The rows of all other scans that carry strokes; None where there are none.

    A case's own old strokes are left out, so that they do not speak against its new ones.

    Raises:
        InputError: their rows are absent or do not fit together.
    """
    tables = [load_samples(path) for record, path in _annotated(data, target) if record.case != case]
    tables = [table for table in tables if len(table.labels)]
    return join_samples(tables) if tables else None


def _hash_samples(samples: Samples) -> str:
    """Hash of a table's rows."""
    digest = hashlib.sha256(samples.features.tobytes() + samples.labels.tobytes())
    digest.update("\n".join((*samples.feature_names, *samples.label_names, *samples.cases)).encode())
    return digest.hexdigest()


def _write(
    where: AnnotationPaths,
    volume: Volume,
    drawn: DraftMask,
    said: Strokes | Marks | None,
    *,
    case: str,
    target: Target,
    scan: Path,
    prior: Samples | None,
    agatston: float | None,
) -> Provenance:
    """Everything beside the mask first, the mask, and the record last: it vouches for the mask's bytes."""
    write_nifti(where.probability, volume.with_array(drawn.probability))
    write_nifti(where.uncertainty, volume.with_array(drawn.uncertainty))
    kept = _keep_strokes(where, said, volume)
    save_samples(where.samples, drawn.samples)
    marks = None if said is None else mark_strokes(said, volume)
    write_bytes(where.picture, contact_sheet(volume, drawn.mask, marks, uncertainty=drawn.uncertainty))
    write_nifti(where.mask, volume.with_array(drawn.mask))
    record = make_provenance(
        drawn,
        case=case,
        target=target,
        voxel_mm3=volume.voxel_mm3,
        scan_sha256=sha256_file(scan),
        mask_sha256=sha256_file(where.mask),
        strokes=said,
        strokes_sha256=None if kept is None else sha256_file(kept),
        prior=prior,
        prior_sha256=None if prior is None else _hash_samples(prior),
        agatston=agatston,
    )
    write_provenance(where.record, record)
    return record


def _keep_strokes(where: AnnotationPaths, said: Strokes | Marks | None, volume: Volume) -> Path | None:
    """Keep the strokes beside the record, as JSON or as a sparse label volume without a name of its own."""
    for path in (where.strokes, where.label_strokes):
        path.unlink(missing_ok=True)
    if said is None:
        return None
    if isinstance(said, Strokes):
        write_strokes(where.strokes, said)
        return where.strokes
    labels, _ = paint_strokes(said, volume)
    write_nifti(where.label_strokes, volume.with_array(labels.astype(np.uint8)))
    return where.label_strokes


def drawn_cases(data: Path, target: Target) -> tuple[Provenance, ...]:
    """Records of the scans that this tool has drawn, sorted by case."""
    paths = sorted((Path(data) / "annotations").glob(f"*/{target}.json"))
    return tuple(record for record in map(find_provenance, paths) if record is not None)


def _annotated(data: Path, target: Target) -> Iterator[tuple[Provenance, Path]]:
    """Records and tables of the scans that a person has stroked, sorted by case."""
    for record in drawn_cases(data, target):
        if record.strokes_sha256 is not None:
            yield record, annotation_paths(data, record.case, target).samples


def fit_library(data: Path, target: Target) -> tuple[Forest, int]:
    """Grow the forest of all stroked scans once, and write how well it tells their rows apart.

    Returns:
        The forest, and the number of scans.

    Raises:
        InputError: no scan is annotated, or their rows do not fit together.
    """
    samples = _taught_by_others(data, target, "")
    if samples is None:
        raise InputError(
            f"No scan under {data}/annotations has {target} strokes; begin with `coronet annotate draw`."
        )
    forest, scans = (
        (fit_forest if target == "heart" else fit_candidate_forest)(samples),
        len(np.unique(samples.cases)),
    )
    write_json(
        report_path(data, target),
        {
            "target": target,
            "scans": scans,
            "rows": len(samples.labels),
            "out_of_bag": round(forest.out_of_bag, 4),
            "forest": dataclasses.asdict(forest.settings),
            "samples_sha256": _hash_samples(samples),
            "importances": {
                name: round(float(value), 4)
                for name, value in zip(forest.feature_names, forest.importances, strict=True)
            },
        },
    )
    return forest, scans
