"""The cases of a data folder for people: what is known of each, and what to do next."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coronet.dataset.case_table import left_out, read_table
from coronet.dataset.cases import Case, find_cases
from coronet.dataset.split import read_split
from coronet.text import counted


@dataclasses.dataclass(frozen=True)
class CaseOverview:
    """One case."""

    case: str
    patient: str  # pseudonym
    spacing_mm: tuple[float, float, float] | None  # (x, y, z); None before `dvc repro` has measured the scan
    masks: tuple[str, ...]  # those that are there
    flags: tuple[str, ...]  # of the case table, or those recorded at import before there is one
    part: str  # of the split, `left out`, or empty before there is a split
    next: str  # what to do


def list_cases(data: Path, *, build: Path) -> tuple[CaseOverview, ...]:
    """All cases of a data folder, sorted by id; ``build`` has ``cases.csv`` and ``split.json``, if any.

    Raises:
        InputError: there is no case, or a file is damaged.
    """
    path, split_path = Path(build) / "cases.csv", Path(build) / "split.json"
    table = read_table(path) if path.exists() else None
    rows = {} if table is None else {row.case: row for row in table.itertuples()}
    out = {} if table is None else left_out(table)
    split = read_split(split_path) if split_path.exists() else None
    parts = {member.case: member.part for member in split.members} if split else {}
    return tuple(
        _overview(case, rows.get(case.id), parts.get(case.id, ""), out.get(case.id, ""), split=bool(split))
        for case in find_cases(data)
    )


def _overview(case: Case, row: Any, part: str, reason: str, *, split: bool) -> CaseOverview:
    masks = tuple(name for name in ("heart", "calcium") if getattr(case, name))
    current = row is not None and (bool(case.heart), bool(case.calcium)) == (row.has_heart, row.has_calcium)
    missing = [name for name in ("heart", "calcium") if name not in masks]
    if missing:
        todo = (
            f"draw a {missing[0]} mask: coronet annotate draw {case.id} --target {missing[0]} --strokes FILE"
        )
    elif not current:
        todo = "measure it: dvc repro"
    elif reason:
        todo = f"takes no part in training: {reason}"
    else:
        todo = "" if part else "split: dvc repro"
    return CaseOverview(
        case=case.id,
        patient=case.facts.patient,
        spacing_mm=None if row is None else (row.spacing_x_mm, row.spacing_y_mm, row.spacing_z_mm),
        masks=masks,
        flags=tuple(row.flags.split()) if current else case.facts.flags,
        part=part or ("left out" if split and reason else ""),
        next=todo,
    )


def overview_table(cases: Sequence[CaseOverview]) -> str:
    """The cases in columns, with a line of counts below."""
    header = ("case", "patient", "spacing (mm)", "masks", "flags", "part", "next")
    rows = []
    for item in cases:
        spacing = " × ".join(f"{value:.3g}" for value in item.spacing_mm or ())
        cells = (spacing, ", ".join(item.masks), ", ".join(item.flags), item.part, item.next)
        rows.append((item.case, item.patient, *(cell or "-" for cell in cells)))
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    ]
    patients = counted(len({item.patient for item in cases}), "patient")
    waiting = sum(bool(item.next) for item in cases)
    lines.append(f"{counted(len(cases), 'case')} of {patients}; {waiting} with something to do.")
    return "\n".join(lines)
