"""The gate: what must hold of a cohort before anything is learned from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from coronet.config import ValidateParams
from coronet.dataset.split import Split
from coronet.validation import data_docs, expectations, leakage
from coronet.validation.leakage import check_parts
from coronet.validation.report import CaseFault, Report, check, make_report, write_validation_report

if TYPE_CHECKING:
    import pandas

__all__ = ["CaseFault", "Report", "check", "check_leakage", "check_parts", "run_validation"]


def run_validation(
    table: pandas.DataFrame, params: ValidateParams, *, split: Split | None = None, out: Path
) -> Report:
    """Validate a case table and write ``report.json``, ``index.html`` and ``docs/`` into ``out``.

    Whether the gate is passed is the report's to say; `check` turns it into an error.

    Args:
        table: from `coronet.dataset.case_table.read_table`.
        params: the limits.
        split: asks also what must hold between its parts.
        out: folder for the pages.
    """
    rules = (*expectations.all_rules(params), *leakage.leakage_rules(with_split=split is not None))
    frame = expectations.prepare_columns(table, params).join(leakage.prepare_leakage(table, params, split))
    out.mkdir(parents=True, exist_ok=True)
    failing = data_docs.evaluate_expectations(frame, rules, docs=out / "docs")
    report = make_report(frame, rules, failing, split=split, folder=out)
    write_validation_report(report, out)
    return report


def check_leakage(table: pandas.DataFrame, split: Split, params: ValidateParams) -> None:
    """Refuse a split that lets a part know another.

    Raises:
        GateFailed: with one line for each fault.
    """
    rules = leakage.leakage_rules(with_split=True)
    frame = expectations.prepare_columns(table, params).join(leakage.prepare_leakage(table, params, split))
    check(make_report(frame, rules, data_docs.evaluate_expectations(frame, rules), split=split))
