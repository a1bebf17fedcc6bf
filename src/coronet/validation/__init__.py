"""The gate: what must hold of a cohort before anything is learned from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from coronet.config import ValidateParams
from coronet.dataset.split import Split
from coronet.validation import data_docs, expectations, leakage
from coronet.validation.leakage import check_parts
from coronet.validation.report import Fault, Report, check, make_report, write_report

if TYPE_CHECKING:
    import pandas

__all__ = ["Fault", "Report", "check", "check_leakage", "check_parts", "run"]


def run(table: pandas.DataFrame, params: ValidateParams, *, split: Split | None = None, out: Path) -> Report:
    """Validate a case table and write ``report.json``, ``index.html`` and ``docs/`` into ``out``.

    Whether the gate is passed is the report's to say; `check` turns it into an error.

    Args:
        table: from `coronet.dataset.case_table.read_table`.
        params: the limits.
        split: asks also what must hold between its parts.
        out: folder for the pages.
    """
    rules = (*expectations.rules(params), *leakage.rules(with_split=split is not None))
    frame = expectations.prepare(table, params).join(leakage.prepare(table, params, split))
    out.mkdir(parents=True, exist_ok=True)
    failing = data_docs.evaluate(frame, rules, docs=out / "docs")
    report = make_report(frame, rules, failing, split=split, folder=out)
    write_report(report, out)
    return report


def check_leakage(table: pandas.DataFrame, split: Split, params: ValidateParams) -> None:
    """Refuse a split that lets a part know another.

    Raises:
        GateFailed: with one line for each fault.
    """
    rules = leakage.rules(with_split=True)
    frame = expectations.prepare(table, params).join(leakage.prepare(table, params, split))
    check(make_report(frame, rules, data_docs.evaluate(frame, rules), split=split))
