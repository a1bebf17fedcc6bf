"""The annotated scans of a data folder.

Masks go where the cohort keeps them, ``masks/<case>_<target>.nii.gz``. What made them lies in
``annotations/<case>/``: the strokes, the record, the picture, both maps and the rows that the scan teaches.
``annotations/<target>_samples.npz`` holds the rows of all of them: the forest that `fit` keeps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from coronet.annotate import heart
from coronet.annotate.drawn import Drawn
from coronet.annotate.forest import Forest, Samples, fit, join, load_samples, save_samples
from coronet.annotate.picture import sheet
from coronet.annotate.record import Record, make_record, read_record, write_record
from coronet.annotate.strokes import Marks, Strokes, Target, mark, paint, read_strokes, write_strokes
from coronet.cohort.cases import check_case_id, load_mask, mask_path, scan_path
from coronet.cohort.volume import Volume, read_nifti, write_nifti
from coronet.errors import InputError
from coronet.files import sha256_file, write_bytes, write_json


@dataclasses.dataclass(frozen=True)
class Places:
    """Where the files of one annotation lie."""

    mask: Path
    record: Path
    strokes: Path
    label_strokes: Path
    picture: Path
    probability: Path
    uncertainty: Path
    samples: Path


def places(data: Path, case: str, target: Target) -> Places:
    """The files of one case's annotation."""
    folder = Path(data) / "annotations" / check_case_id(case)
    return Places(
        mask=mask_path(data, case, target),
        record=folder / f"{target}.json",
        strokes=folder / f"{target}_strokes.json",
        label_strokes=folder / f"{target}_strokes.nii.gz",
        picture=folder / f"{target}.png",
        probability=folder / f"{target}_probability.nii.gz",
        uncertainty=folder / f"{target}_uncertainty.nii.gz",
        samples=folder / f"{target}_samples.npz",
    )


def table_path(data: Path, target: Target) -> Path:
    """Where `fit_library` keeps the rows of all annotated scans."""
    return Path(data) / "annotations" / f"{target}_samples.npz"


def annotate(
    data: Path,
    case: str,
    target: Target,
    *,
    strokes: Path | None,
    use_library: bool = True,
    replace: bool = False,
    seed: int = 0,
) -> Record:
    """Draw one mask of a case and write it with all that made it.

    Args:
        data: the cohort's folder.
        case: its id.
        target: heart or calcium.
        strokes: a stroke file; None lets the library's forest draw alone.
        use_library: learn from the library too, where there is one.
        replace: overwrite a mask that this tool did not draw.
        seed: of the forest.

    Raises:
        InputError: the case is not there, has a mask that is not this tool's, or the strokes do not fit.
    """
    where = places(data, case, target)
    check_replaceable(where, case, target, replace=replace)
    scan = scan_path(data, case)
    if not scan.exists():
        raise InputError(f"{case}: {scan} is absent; `coronet cohort add` brings scans into the cohort.")
    volume = read_nifti(scan)
    said = None if strokes is None else read_strokes(strokes, volume, target=target)
    table = table_path(data, target)
    prior = _without(load_samples(table), case) if use_library and table.exists() else None
    if said is None and prior is None:
        raise InputError(
            f"{case}: there is nothing to draw the {target} from; run `coronet annotate fit` "
            "after some scans are drawn, or give --strokes."
        )
    drawn = _draw(data, volume, said, target=target, prior=prior, case=case, seed=seed)
    return _write(where, volume, drawn, said, case=case, target=target, scan=scan, prior=prior, table=table)


def check_replaceable(where: Places, case: str, target: str, *, replace: bool) -> None:
    """Refuse to overwrite a mask whose bytes are not those that this tool wrote.

    Raises:
        InputError: there is such a mask and ``replace`` is not given.
    """
    if replace or not where.mask.exists():
        return
    own = where.record.exists() and read_record(where.record).mask_sha256 == sha256_file(where.mask)
    if not own:
        raise InputError(
            f"{case} has a {target} mask that `coronet annotate` did not draw, or that was changed since; "
            f"give --replace to overwrite {where.mask}."
        )


def _without(table: Samples, case: str) -> Samples | None:
    """The rows of other cases, so that a case's old strokes do not speak against its new ones."""
    others = table.cases != case
    if not others.any():
        return None
    return dataclasses.replace(
        table, features=table.features[others], labels=table.labels[others], cases=table.cases[others]
    )


def _draw(
    data: Path,
    volume: Volume,
    said: Strokes | Marks | None,
    *,
    target: Target,
    prior: Samples | None,
    case: str,
    seed: int,
) -> Drawn:
    if target == "heart":
        return heart.draw_heart(volume, said, prior=prior, case=case, seed=seed)
    from coronet.annotate.calcium import draw_calcium

    path = mask_path(data, case, "heart")
    if not path.exists():
        raise InputError(
            f"{case} has no heart mask, which calcium is looked for in; `coronet annotate draw {case} "
            "--target heart` first."
        )
    return draw_calcium(volume, load_mask(path, volume), said, prior=prior, case=case, seed=seed)


def _write(
    where: Places,
    volume: Volume,
    drawn: Drawn,
    said: Strokes | Marks | None,
    *,
    case: str,
    target: Target,
    scan: Path,
    prior: Samples | None,
    table: Path,
) -> Record:
    """Everything beside the mask first, the mask, and the record last: it vouches for the mask's bytes."""
    write_nifti(where.probability, volume.with_array(drawn.probability))
    write_nifti(where.uncertainty, volume.with_array(drawn.uncertainty))
    kept = keep_strokes(where, said, volume)
    save_samples(where.samples, drawn.samples)
    marks = None if said is None else mark(said, volume)
    write_bytes(where.picture, sheet(volume, drawn.mask, marks, uncertainty=drawn.uncertainty))
    write_nifti(where.mask, volume.with_array(drawn.mask))
    record = make_record(
        drawn,
        case=case,
        target=target,
        voxel_mm3=volume.voxel_mm3,
        scan_sha256=sha256_file(scan),
        mask_sha256=sha256_file(where.mask),
        strokes=said,
        strokes_sha256=None if kept is None else sha256_file(kept),
        prior=prior,
        prior_sha256=None if prior is None else sha256_file(table),
    )
    write_record(where.record, record)
    return record


def keep_strokes(where: Places, said: Strokes | Marks | None, volume: Volume) -> Path | None:
    """Keep the strokes beside the record, as JSON or as a sparse label volume without a name of its own."""
    for path in (where.strokes, where.label_strokes):
        path.unlink(missing_ok=True)
    if said is None:
        return None
    if isinstance(said, Strokes):
        write_strokes(where.strokes, said)
        return where.strokes
    labels, _ = paint(said, volume)
    write_nifti(where.label_strokes, volume.with_array(labels.astype(np.uint8)))
    return where.label_strokes


def annotated(data: Path, target: Target) -> Iterator[tuple[Record, Path]]:
    """Records and tables of the scans that a person has stroked, sorted by case."""
    for path in sorted((Path(data) / "annotations").glob(f"*/{target}.json")):
        record = read_record(path)
        if record.strokes_sha256 is not None:
            yield record, places(data, record.case, target).samples


def fit_library(data: Path, target: Target) -> tuple[Forest, int]:
    """Join the rows of all stroked scans, keep them, and fit the forest once.

    Returns:
        The forest, and the number of scans.

    Raises:
        InputError: no scan is annotated, or their rows do not fit together.
    """
    tables = [load_samples(path) for _, path in annotated(data, target)]
    tables = [table for table in tables if len(table.labels)]
    if not tables:
        raise InputError(
            f"No scan under {data}/annotations has {target} strokes; begin with `coronet annotate draw`."
        )
    samples = join(tables)
    forest = fit(samples)
    path = table_path(data, target)
    save_samples(path, samples)
    write_json(
        path.with_suffix(".json"),
        {
            "target": target,
            "scans": len(tables),
            "rows": len(samples.labels),
            "out_of_bag": round(forest.out_of_bag, 4),
            "forest": dataclasses.asdict(forest.settings),
            "samples_sha256": sha256_file(path),
            "importances": {
                name: round(float(value), 4)
                for name, value in zip(forest.feature_names, forest.importances, strict=True)
            },
        },
    )
    return forest, len(tables)
