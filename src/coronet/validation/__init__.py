"""Validation: what must hold of a cohort before training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from coronet.config import ValidateParams
from coronet.dataset.split import Split
from coronet.validation import data_docs, leakage, rule_columns
from coronet.validation.leakage import check_parts
from coronet.validation.report import CaseFault, Report, check, make_report, write_validation_report
from coronet.validation.rules import all_rules

if TYPE_CHECKING:
    import pandas

__all__ = ["CaseFault", "Report", "check", "check_leakage", "check_parts", "evaluate_rules", "run_validation"]


def evaluate_rules(
    table: pandas.DataFrame,
    params: ValidateParams,
    *,
    split: Split | None = None,
    leakage_only: bool = False,
    folder: Path | None = None,
) -> Report:
    """What of the rules a case table and its split hold.

    Args:
        table: from `coronet.dataset.case_table.read_table`.
        split: asks also what must hold between its parts.
        leakage_only: asks nothing about single scans.
        folder: where the Data Docs go, as ``docs/``; None writes none.
    """
    rules = leakage.leakage_rules(with_split=split is not None)
    if not leakage_only:
        rules = (*all_rules(params), *rules)
    frame = rule_columns.prepare_columns(table, params).join(leakage.prepare_leakage(table, params, split))
    failing = data_docs.evaluate_expectations(frame, rules, docs=folder / "docs" if folder else None)
    return make_report(frame, rules, failing, split=split, folder=folder)


def run_validation(
    table: pandas.DataFrame, params: ValidateParams, *, split: Split | None = None, out: Path
) -> Report:
    """`evaluate_rules`, with ``report.json``, ``index.html`` and ``docs/`` in ``out``.

    Whether the gate is passed is the report's to say; `check` turns it into an error.
    """
    out.mkdir(parents=True, exist_ok=True)
    report = evaluate_rules(table, params, split=split, folder=out)
    write_validation_report(report, out)
    return report


def check_leakage(table: pandas.DataFrame, split: Split, params: ValidateParams) -> None:
    """Refuse a split in which one part holds what another part learns from.

    Raises:
        GateFailed: with one line for each fault.
    """
    check(evaluate_rules(table, params, split=split, leakage_only=True))
