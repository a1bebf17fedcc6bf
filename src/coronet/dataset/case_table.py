"""The case table: one row a scan, as CSV that is the same whenever the data are the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from coronet.dataset import chest_signature, duplicates
from coronet.dataset.case_measures import (
    CalciumMeasures,
    HeartMeasures,
    ImageMeasures,
    measure_calcium,
    measure_heart,
    measure_image,
)
from coronet.dataset.cases import Case, find_cases
from coronet.dataset.heart_check import HEART_FLAGS
from coronet.dataset.quality_flags import UNFIT, check_scan_heart, examine_scan, in_flag_order, quality_flags
from coronet.errors import InputError
from coronet.files import write_text
from coronet.io.scan_facts import ScanFacts
from coronet.io.volume import Volume, read_nifti
from coronet.process import worker_pool

if TYPE_CHECKING:
    import pandas


@dataclasses.dataclass(frozen=True)
class CaseMeasures:
    """Who and what a scan is; the first five are as `coronet.io.scan_facts.ScanFacts` has them."""

    case: str
    patient: str
    source: str
    kernel: str
    slice_thickness_mm: float | None
    flags: str  # reasons to be careful, separated by spaces
    recorded_flags: str  # those among them that were known before this table was made
    # other patients' scans that look most like this one and how unlike they are, nearest first, as
    # `read_alike` reads it
    alike: str = ""


_PARTS = (CaseMeasures, ImageMeasures, HeartMeasures, CalciumMeasures)


def describe_cases(
    data: Path, *, workers: int, progress: Callable[[int, int], None] | None = None
) -> pandas.DataFrame:
    """Measure every case of a data folder: one row a case, sorted, with the fields of `_PARTS` as columns.

    Args:
        data: folder as `coronet.dataset.cases` describes it.
        workers: processes that read at the same time.
        progress: called with the number of scans done and the number of all.

    Raises:
        InputError: there is no case, or a file cannot be read.
    """
    cases = find_cases(data)
    described = []
    for done, item in enumerate(_described(cases, workers), start=1):
        described.append(item)
        if progress:
            progress(done, len(cases))
    rows = [row for row, _ in described]
    found = duplicates.find_duplicates(
        [row["case"] for row in rows], [picture for _, picture in described], [row["patient"] for row in rows]
    )
    return _frame([{**row, "alike": _alike(row["case"], found)} for row in rows])


def write_table(path: Path, table: pandas.DataFrame) -> None:
    """Write the table as CSV, atomically."""
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def read_table(path: Path) -> pandas.DataFrame:
    """Read a table that `write_table` wrote, with the same types.

    Raises:
        InputError: it is absent or lacks columns.
    """
    import pandas

    kinds = _columns()
    try:
        table = pandas.read_csv(
            path,
            dtype={name: str if kind == "str" else kind for name, kind in kinds.items()},
            keep_default_na=False,
            na_values={name: [""] for name, kind in kinds.items() if kind != "str"},
            float_precision="round_trip",
        )
    except FileNotFoundError as error:
        raise InputError(f"{path} is absent; `dvc repro describe` makes it.") from error
    except (ValueError, pandas.errors.ParserError) as error:
        raise InputError(f"{path} is no case table: {error}; `dvc repro describe` makes it anew.") from error
    missing = [name for name in kinds if name not in table]
    if missing:
        raise InputError(f"{path} lacks the column {missing[0]}; `dvc repro describe` makes it anew.")
    return table


def left_out(table: pandas.DataFrame) -> dict[str, str]:
    """The cases that take no part in training, tuning and testing, and why."""
    reasons = {}
    columns = (table[name] for name in ("case", "flags", "has_heart", "has_calcium"))
    for case, flags, heart, calcium in zip(*columns, strict=True):
        unfit = [flag for flag in flags.split() if flag in UNFIT]
        missing = [name for name, there in (("heart", heart), ("calcium", calcium)) if not there]
        if unfit:
            reasons[case] = f"is flagged {', '.join(unfit)}"
        elif missing:
            reasons[case] = f"has no {' and no '.join(missing)} mask"
    return reasons


def read_alike(alike: str) -> dict[str, float]:
    """Case and distance out of the column ``alike``."""
    pairs = (item.rsplit("=", 1) for item in alike.split())
    return {case: float(distance) for case, distance in pairs}


def _described(cases: tuple[Case, ...], workers: int) -> Iterator[tuple[dict, np.ndarray]]:
    if workers <= 1 or len(cases) == 1:
        yield from map(_describe_case, cases)
        return
    with worker_pool(min(workers, len(cases))) as pool:
        yield from pool.map(_describe_case, cases)


def _describe_case(case: Case) -> tuple[dict, np.ndarray]:
    """Row of a case, without what needs the other cases, and its picture."""
    image = read_nifti(case.ct)
    heart = read_nifti(case.heart) if case.heart else None
    calcium = read_nifti(case.calcium) if case.calcium else None
    facts = case.facts
    parts = (
        CaseMeasures(
            case=case.id,
            patient=facts.patient,
            source=facts.source,
            kernel=facts.kernel,
            slice_thickness_mm=facts.slice_thickness_mm,
            flags=" ".join(_flags(facts, image, heart)),
            recorded_flags=" ".join(facts.flags),
        ),
        measure_image(image),
        measure_heart(heart, image),
        measure_calcium(calcium, image, heart),
    )
    row = {name: value for part in parts for name, value in vars(part).items()}
    return row, chest_signature.chest_signature(image)


def _flags(facts: ScanFacts, image: Volume, heart: Volume | None) -> tuple[str, ...]:
    """Recorded flags or, where there are none, those of the voxels; a heart mask decides on the heart."""
    if heart is None or heart.shape != image.shape:
        return facts.flags or quality_flags(image, facts)
    flags, chest = examine_scan(image, facts)
    others = [flag for flag in facts.flags or flags if flag not in HEART_FLAGS]
    return in_flag_order(check_scan_heart(dict.fromkeys(others, ""), heart.array > 0, image, chest))


def _alike(case: str, found: tuple[duplicates.DuplicatePair, ...]) -> str:
    """The pairs that ``case`` is in, as text; ``found`` is sorted, nearest first."""
    return " ".join(
        f"{pair.second if pair.first == case else pair.first}={pair.distance:.4f}"
        for pair in found
        if case in (pair.first, pair.second)
    )


def _columns() -> dict[str, str]:
    """Name of each column and its pandas type."""
    kinds = {"str": "str", "int": "Int64", "float": "float64", "bool": "boolean"}
    fields = (field for part in _PARTS for field in dataclasses.fields(part))
    return {field.name: kinds[str(field.type).removesuffix(" | None")] for field in fields}


def _frame(rows: list[dict]) -> pandas.DataFrame:
    import pandas

    columns = _columns()
    texts = {name: "" for name, kind in columns.items() if kind == "str"}
    table = pandas.DataFrame(rows, columns=list(columns), dtype=object).fillna(texts)
    return table.astype(columns).sort_values("case", ignore_index=True)
