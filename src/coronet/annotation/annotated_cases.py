"""The annotated scans of a data folder.

Masks lie where the cohort keeps them, ``masks/<case>_<target>.nii.gz``. What made them lies in
``annotations/<case>/``: the strokes, the record, the picture, both maps and the rows for the library. Every
mask is drawn with the rows of all other scans that carry strokes, as they are at that moment: no step between
two masks can be forgotten.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from coronet.annotation.calcium import check_enough, draw_calcium, fit_candidate_forest
from coronet.annotation.candidates import find_candidates
from coronet.annotation.contact_sheet import contact_sheet
from coronet.annotation.draft_mask import DraftMask
from coronet.annotation.forest import Forest, Samples, fit_forest, join_samples, load_samples, save_samples
from coronet.annotation.heart import draw_heart
from coronet.annotation.mask_provenance import Provenance, find_provenance, write_provenance
from coronet.annotation.named_pieces import BrightPiece, bright_pieces, place_pieces
from coronet.annotation.stroke_voxels import Marks, count_strokes, mark_strokes, read_strokes
from coronet.annotation.strokes import Strokes, Target, check_stroke_file, write_strokes
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


def annotate_case(
    data: Path,
    case: str,
    target: Target,
    *,
    strokes: Path | None,
    use_library: bool = True,
    replace: bool = False,
    agatston: Callable[[Volume, np.ndarray], float] | None = None,
) -> Provenance:
    """Draw one mask of a case and write it with all that made it.

    Everything that can be checked is checked before the scan is read, and all strokes before anything is
    computed.

    Args:
        strokes: a stroke file; None draws with the forest of the other scans alone.
        use_library: learn from the other scans that carry strokes, where there are any.
        replace: overwrite a mask that this tool did not draw.
        agatston: scores a scan's calcium mask, for the record.

    Raises:
        InputError: the case is not there, has a mask that is not this tool's, or the strokes do not fit.
    """
    paths = annotation_paths(data, case, target)
    check_replaceable(paths, case, target, replace=replace)
    scan = _scan_of(data, case)
    heart_path = None if target == "heart" else _heart_of(data, case)
    parsed = None if strokes is None else check_stroke_file(strokes, target=target)
    library = _library_samples(data, target, except_case=case) if use_library else None
    if strokes is None and library is None:
        raise InputError(
            f"{case}: no other scan has {target} strokes to learn from; draw some with "
            f"`coronet annotate draw CASE --target {target} --strokes FILE`."
        )
    if target == "calcium" and (strokes is None or parsed is not None):
        check_enough(parsed, library)
    volume = read_nifti(scan)
    user_strokes = None if strokes is None else read_strokes(strokes, volume, target=target)
    score = None
    if heart_path is None:
        draft = draw_heart(volume, user_strokes, prior=library, case=case)
    else:
        heart = load_mask(heart_path, volume)
        found = find_candidates(volume, heart)
        user_strokes = place_pieces(user_strokes, found, volume)
        draft = draw_calcium(volume, heart, user_strokes, prior=library, case=case, candidates=found)
        score = None if agatston is None else agatston(volume, draft.mask)
    strokes_file = _write_annotation(paths, volume, draft, user_strokes)
    record = Provenance(
        case=case,
        target=target,
        scan_sha256=sha256_file(scan),
        mask_sha256=sha256_file(paths.mask),
        mask_ml=round(int((draft.mask > 0).sum()) * volume.voxel_mm3 / 1000, 2),
        strokes_sha256=None if strokes_file is None else sha256_file(strokes_file),
        strokes=count_strokes(user_strokes),
        features=draft.samples.feature_names,
        forest=None if draft.forest is None else dataclasses.asdict(draft.forest.settings),
        out_of_bag=None if draft.out_of_bag is None else round(draft.out_of_bag, 4),
        rows=len(draft.samples.labels),
        library_scans=0 if library is None else len(np.unique(library.cases)),
        library_sha256=None if library is None else _hash_samples(library),
        uncertain_ml=round(int((draft.uncertainty >= 50).sum()) * volume.voxel_mm3 / 1000, 2),
        tally=draft.tally,
        agatston=None if score is None else round(score, 1),
    )
    # written last: it vouches for the mask's bytes
    write_provenance(paths.record, record)
    return record


def _scan_of(data: Path, case: str) -> Path:
    scan = scan_path(data, check_case_id(case))
    if not scan.exists():
        raise InputError(f"{case}: {scan} is absent; `coronet data import` brings scans into the cohort.")
    return scan


def _heart_of(data: Path, case: str) -> Path:
    path = mask_path(data, case, "heart")
    if not path.exists():
        raise InputError(
            f"{case} has no heart mask, in which calcium is searched; `coronet annotate draw {case} "
            "--target heart` first."
        )
    return path


def check_replaceable(paths: AnnotationPaths, case: str, target: str, *, replace: bool) -> None:
    """Refuse to overwrite a mask whose bytes are not those that this tool wrote.

    Raises:
        InputError: there is such a mask and ``replace`` is not given.
    """
    if replace or not paths.mask.exists():
        return
    record = find_provenance(paths.record)
    if record is None or record.mask_sha256 != sha256_file(paths.mask):
        raise InputError(
            f"{case} has a {target} mask that `coronet annotate` did not draw, or that was changed since; "
            f"give --replace to overwrite {paths.mask}."
        )


def list_pieces(data: Path, case: str) -> tuple[BrightPiece, ...]:
    """The bright pieces in and around a case's heart mask, the largest first.

    Raises:
        InputError: the case or its heart mask is not there, or the mask is empty.
    """
    scan, heart = _scan_of(data, case), _heart_of(data, case)
    volume = read_nifti(scan)
    return bright_pieces(find_candidates(volume, load_mask(heart, volume)))


def _library_samples(data: Path, target: Target, *, except_case: str) -> Samples | None:
    """The rows of all other scans with strokes: a case's old ones must not contradict its new ones."""
    tables = [
        load_samples(annotation_paths(data, record.case, target).samples)
        for record in annotated_cases(data, target)
        if record.strokes_sha256 is not None and record.case != except_case
    ]
    tables = [table for table in tables if len(table.labels)]
    return join_samples(tables) if tables else None


def _hash_samples(samples: Samples) -> str:
    """Hash of a table's rows."""
    digest = hashlib.sha256(samples.features.tobytes() + samples.labels.tobytes())
    digest.update("\n".join((*samples.feature_names, *samples.label_names, *samples.cases)).encode())
    return digest.hexdigest()


def _write_annotation(
    paths: AnnotationPaths, volume: Volume, draft: DraftMask, strokes: Strokes | Marks | None
) -> Path | None:
    """Write everything beside the mask, then the mask; returns the file of the strokes."""
    write_nifti(paths.probability, volume.with_array(draft.probability))
    write_nifti(paths.uncertainty, volume.with_array(draft.uncertainty))
    for path in (paths.strokes, paths.label_strokes):
        path.unlink(missing_ok=True)
    strokes_file = marks = None
    if strokes is not None:
        marks = mark_strokes(strokes, volume)
        if isinstance(strokes, Strokes):
            strokes_file = paths.strokes
            write_strokes(strokes_file, strokes)
        else:
            strokes_file = paths.label_strokes
            write_nifti(strokes_file, volume.with_array(marks.painted(volume.shape)))
    save_samples(paths.samples, draft.samples)
    write_bytes(paths.picture, contact_sheet(volume, draft.mask, marks, uncertainty=draft.uncertainty))
    write_nifti(paths.mask, volume.with_array(draft.mask))
    return strokes_file


def annotated_cases(data: Path, target: Target) -> tuple[Provenance, ...]:
    """Records of the scans with a mask that this tool has drawn, sorted by case."""
    paths = sorted((Path(data) / "annotations").glob(f"*/{target}.json"))
    return tuple(record for record in map(find_provenance, paths) if record is not None)


def fit_library(data: Path, target: Target) -> tuple[Forest, int]:
    """Grow the forest of all annotated scans once, and write how well it separates their rows.

    Returns:
        The forest, and the number of scans.

    Raises:
        InputError: no scan is annotated, or their rows do not fit together.
    """
    samples = _library_samples(data, target, except_case="")
    if samples is None:
        raise InputError(
            f"No scan under {data}/annotations has {target} strokes; begin with `coronet annotate draw`."
        )
    forest = (fit_forest if target == "heart" else fit_candidate_forest)(samples)
    scans = len(np.unique(samples.cases))
    importances = zip(forest.feature_names, forest.importances, strict=True)
    write_json(
        report_path(data, target),
        {
            "target": target,
            "scans": scans,
            "rows": len(samples.labels),
            "out_of_bag": round(forest.out_of_bag, 4),
            "forest": dataclasses.asdict(forest.settings),
            "samples_sha256": _hash_samples(samples),
            "importances": {name: round(float(value), 4) for name, value in importances},
        },
    )
    return forest, scans
