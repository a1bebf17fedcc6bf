"""The outcome of a validation: faults by case, as JSON, as a page and as lines for the terminal."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coronet.dataset.case_table import left_out, read_alike
from coronet.dataset.split import PARTS, Split
from coronet.errors import GateFailed
from coronet.files import write_json, write_text
from coronet.validation.rules import Rule

if TYPE_CHECKING:
    import pandas

_NEAREST_PAIRS = 5


@dataclasses.dataclass(frozen=True)
class CaseFault:
    """What is wrong with one case; ``case`` is ``cohort`` where it is no single one's."""

    case: str
    rule: str
    what: str
    remedy: str
    severity: str


@dataclasses.dataclass(frozen=True)
class Report:
    """Outcome of a validation."""

    faults: tuple[CaseFault, ...]  # what fails the gate
    warnings: tuple[CaseFault, ...]  # what does not, but should be looked at
    excluded: tuple[tuple[str, str], ...]  # case and reason of each scan that takes no part in training
    # name, sentence and severity of every rule, with the number of cases that fail it
    rules: tuple[tuple[str, str, str, int], ...]
    cases: int
    patients: int
    # the pairs of different patients' scans that look most alike, and their distance
    nearest: tuple[tuple[str, str, float], ...]
    parts: tuple[tuple[str, int], ...] = ()  # cases in each part of the split; empty without one
    folder: Path | None = None  # where the pages are; None where none were written

    @property
    def ok(self) -> bool:
        """Whether the gate is passed."""
        return not self.faults

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``report.json``."""
        content = dataclasses.asdict(self)
        del content["folder"]
        names = ("name", "says", "severity", "failing")
        content["rules"] = [dict(zip(names, rule, strict=True)) for rule in self.rules]
        content["excluded"] = dict(self.excluded)
        content["parts"] = dict(self.parts)
        content["nearest"] = [
            {"first": first, "second": second, "distance": distance}
            for first, second, distance in self.nearest
        ]
        return {"ok": self.ok, **content}


def make_report(
    frame: pandas.DataFrame,
    rules: Sequence[Rule],
    failing: Mapping[str, Sequence[str]],
    *,
    split: Split | None = None,
    folder: Path | None = None,
) -> Report:
    """Put what failed into sentences.

    Args:
        frame: the prepared table that the rules were asked about.
        rules: the rules, in the order to report them.
        failing: for each rule by name the cases that fail it.
        split: the split the rules about parts were asked about.
        folder: where the pages will be.
    """
    rows = {row["case"]: row for row in frame.to_dict("records")}
    found = [_fault(rule, case, rows, frame) for rule in rules for case in failing[rule.name]]
    found.sort(key=lambda fault: fault.case)
    nearest = {
        tuple(sorted((row["case"], other))): distance
        for row in rows.values()
        for other, distance in read_alike(row["alike"]).items()
    }
    members = Counter(member.part for member in split.members) if split else Counter()
    return Report(
        faults=tuple(fault for fault in found if fault.severity == "critical"),
        warnings=tuple(fault for fault in found if fault.severity != "critical"),
        excluded=tuple(sorted(left_out(frame).items())),
        rules=tuple((rule.name, rule.says, rule.severity, len(failing[rule.name])) for rule in rules),
        cases=len(frame),
        patients=frame["patient"].nunique(),
        nearest=tuple(
            (*pair, distance)
            for pair, distance in sorted(nearest.items(), key=lambda item: (item[1], item[0]))
        )[:_NEAREST_PAIRS],
        parts=tuple((part, members[part]) for part in PARTS) if split else (),
        folder=folder,
    )


def write_validation_report(report: Report, out: Path) -> None:
    """Write ``report.json`` and ``index.html`` into ``out``."""
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    page = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    write_json(out / "report.json", report.to_json())
    write_text(out / "index.html", page.get_template("index.html").render(report=report))


def check(report: Report) -> None:
    """Let a passed gate pass.

    Raises:
        GateFailed: with one line for each fault: case, what is wrong, what to do.
    """
    if report.ok:
        return
    cases = {fault.case for fault in report.faults}
    lines = [f"{len(report.faults)} faults in {len(cases)} of {report.cases} cases:"]
    lines += [f"  {fault.case}: {fault.what}. To fix it, {fault.remedy}." for fault in report.faults]
    if report.folder:
        lines.append(f"All rules and cases: {report.folder / 'index.html'}")
    raise GateFailed("\n".join(lines))


def _fault(rule: Rule, case: str, rows: Mapping[str, dict], frame: pandas.DataFrame) -> CaseFault:
    values = rows.get(case, {"count": frame[rule.column].nunique()})
    what, remedy = rule.fault.format(**values), rule.remedy.format(case=case)
    return CaseFault(case, rule.name, what, remedy, rule.severity)
