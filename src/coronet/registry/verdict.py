"""The gate's verdict with its reasons, as a table, as JSON and as a sentence."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from coronet.config import GateParams
from coronet.config.floors import FLOOR_WORDS as FIGURES
from coronet.config.floors import Floor, floors_were
from coronet.evaluation.paired_tests import ALIKE, BETTER, NOT_WORSE, OPEN, WORSE, PairedComparison
from coronet.fingerprint import canonical
from coronet.networks.quality import GateVerdict
from coronet.registry.candidate_evaluation import CandidateEvaluation

if TYPE_CHECKING:
    from rich.table import Table

PROMOTE, REJECT, UNDECIDED = "PROMOTE", "REJECT", "INSUFFICIENT EVIDENCE"
VERDICT_WORDS = FIGURES | {"score": "error of log(1 + score)"}


@dataclasses.dataclass(frozen=True)
class Check:
    """One thing that must hold; ``ok`` is None where it cannot be known."""

    name: str
    ok: bool | None
    found: str
    wanted: str = ""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the gate says of a version."""

    answer: str  # `PROMOTE`, `REJECT` or `UNDECIDED`
    reasons: tuple[str, ...]  # sentences that the answer rests on
    model: str  # `heart` or `calcium`
    version: int
    champion: int | None  # number of the champion it is compared with; None where there is none
    # version of the other model with which the whole path was run, such as `calcium/2 (champion)`; empty
    # where nothing was run
    companion: str = ""
    patients: int = 0  # how many test patients there are
    test_sha256: str = ""  # of their cases' names
    trial: int = 0  # which one it is of the versions tried on these patients, from 1
    checks: tuple[Check, ...] = ()  # lineage and floors, in the order they were asked
    comparisons: tuple[PairedComparison, ...] = ()  # with the champion; the first decides, the others guard
    # what was measured; None where a check of the lineage failed before
    challenger: CandidateEvaluation | None = None
    not_asked: tuple[Floor, ...] = ()  # default floors that `params.yaml` switches off
    lowered: tuple[Floor, ...] = ()  # default floors of which `params.yaml` asks for less

    @property
    def promoted(self) -> bool:
        """Whether the answer is `PROMOTE`."""
        return self.answer == PROMOTE

    def to_json(self) -> dict[str, Any]:
        """Everything, patient by patient."""
        return canonical(self)

    def summary(self) -> dict[str, Any]:
        """Its figures without the single patients, short enough for a line of the log."""
        short = ("name", "finding", "mean", "median", "low", "high", "p", "margin", "level")
        return canonical(
            {
                "answer": self.answer,
                "reasons": self.reasons,
                "compared_with": self.champion or 0,
                "companion": self.companion,
                "patients": self.patients,
                "test_sha256": self.test_sha256,
                "trial": self.trial,
                "failed": [check.name for check in self.checks if check.ok is False],
                "unknown": [check.name for check in self.checks if check.ok is None],
                "not_asked": [floor.name for floor in self.not_asked],
                "lowered": [floor.name for floor in self.lowered],
                "figures": dict(self.challenger.figures) if self.challenger else {},
                "comparisons": [
                    {key: getattr(item, key) for key in short} | {"pairs": len(item.patients)}
                    for item in self.comparisons
                ],
            }
        )

    def tables(self) -> tuple[Table, ...]:
        """For a terminal: what must hold, then the comparison where there is one."""
        from rich.table import Table

        title = f"{self.model}/{self.version}: {self.headline}"
        checks = Table("check", "", "found", "wanted", title=title, title_justify="left")
        for check in self.checks:
            mark = {True: "ok", False: "FAILED", None: "unknown"}[check.ok]
            checks.add_row(check.name, mark, check.found, check.wanted)
        for floor in self.not_asked:
            found = _figure(self.challenger.figures.get(floor.name) if self.challenger else None)
            checks.add_row(VERDICT_WORDS[floor.name], "not asked", found, f"default: {floor.text}")
        if not self.comparisons:
            return (checks,)
        pairs = Table(
            *("compared by patient", "patients", "gain", "interval", "p", "margin", "finding"),
            title=f"against {self.model}/{self.champion}; above zero is a gain",
            title_justify="left",
        )
        for item in self.comparisons:
            ends = "–" if item.low is None else f"{item.low:+.4g} … {item.high:+.4g}"
            pairs.add_row(
                VERDICT_WORDS[item.name],
                str(len(item.patients)),
                f"{item.mean:+.4g}",
                ends,
                f"{item.p:.3g}",
                f"{item.margin:g}",
                item.finding,
            )
        return checks, pairs

    @property
    def headline(self) -> str:
        """The answer, and how many default floors it was spared: ``PROMOTE, 5 floors were not asked``."""
        spared = [f"{floors_were(len(self.not_asked))} not asked"] if self.not_asked else []
        spared += [f"{floors_were(len(self.lowered))} asked for less"] if self.lowered else []
        return ", ".join([self.answer, *spared])

    @property
    def gate_verdict(self) -> GateVerdict:
        """What a version carries of it."""
        return GateVerdict(
            answer=self.answer,
            reasons=self.reasons,
            patients=self.patients,
            not_asked=tuple(floor.name for floor in self.not_asked),
            lowered=tuple(floor.name for floor in self.lowered),
        )

    def text(self) -> str:
        """The tables and the reasons as plain text."""
        import io

        from rich.console import Console

        stream = io.StringIO()
        console = Console(file=stream, width=110)
        for part in (*self.tables(), *self.reasons):
            console.print(part, markup=False, highlight=False)
        return stream.getvalue()


def decide_verdict(
    checks: Sequence[Check], comparisons: Sequence[PairedComparison], params: GateParams
) -> tuple[str, tuple[str, ...]]:
    """The answer, and the sentences it rests on.

    A failed check or a guard that is shown to be worse by more than its margin rejects. What cannot be known
    cannot promote. The first comparison decides, the others guard; every step must hold for PROMOTE, so that
    no level is divided among them. There is no comparison for a first champion.
    """
    failed = [f"{check.name}: {check.found}, wanted {check.wanted}." for check in checks if check.ok is False]
    unknown = [
        f"{check.name}: {check.found}, wanted {check.wanted}; so nothing is known."
        for check in checks
        if check.ok is None
    ]
    for guard in comparisons[1:]:
        if guard.finding == WORSE and -guard.mean > guard.margin:
            failed.append(_sentence(guard))
    decisive = comparisons[0] if comparisons else None
    refused = (WORSE, ALIKE) if params.demand == "better" else (WORSE,)
    if decisive and decisive.finding in refused:
        failed.append(_sentence(decisive))
    if failed:
        return REJECT, tuple(failed)
    wanted = (BETTER,) if params.demand == "better" else (BETTER, ALIKE, NOT_WORSE)
    if decisive and decisive.finding not in wanted:
        return UNDECIDED, (_sentence(decisive), _needed(decisive, params.demand), *unknown)
    if unknown:
        return UNDECIDED, tuple(unknown)
    return PROMOTE, (_sentence(decisive) if decisive else "All that is asked of a first champion holds.",)


def floor_sentences(
    not_asked: Sequence[Floor], lowered: Sequence[Floor], figures: Mapping[str, float | None]
) -> tuple[str, ...]:
    """What ``params.yaml`` spares a version, with the ``figures`` measured; nothing where it asks for all."""
    found = []
    for floors, words in ((not_asked, "not asked"), (lowered, "asked for less than the default")):
        listed = ", ".join(
            f"{VERDICT_WORDS[floor.name]} {_figure(figures.get(floor.name))} "
            f"({floor.key}, default {floor.text})"
            for floor in floors
        )
        found += [f"{floors_were(len(floors))} {words}: {listed}."] if floors else []
    return tuple(found)


def _figure(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4g}"


def _sentence(item: PairedComparison) -> str:
    meaning = {
        BETTER: "the challenger is better",
        WORSE: "the challenger is worse",
        ALIKE: f"the two are alike: neither a loss nor a gain of {item.margin:g} is left",
        NOT_WORSE: f"no loss of {item.margin:g} is left, but a gain is not shown either",
        OPEN: "nothing is shown",
    }[item.finding]
    ends = "" if item.low is None else f" ({1 - item.level:.0%} interval {item.low:+.4g} … {item.high:+.4g})"
    return (
        f"{VERDICT_WORDS[item.name]} of {len(item.patients)} patients, mean gain {item.mean:+.4g}{ends}, "
        f"p = {item.p:.3g}: {meaning}."
    )


def _needed(item: PairedComparison, demand: str) -> str:
    pairs = len(item.patients)
    if item.smallest_p > item.level:
        return (
            f"{pairs} patients cannot give a p below {item.smallest_p:g}; it takes at least "
            f"{item.least_patients} in the test part to show anything at {item.level:g}."
        )
    if demand != "better" or item.wanted_patients is None:
        return "More test patients are needed; the differences do not show how many."
    wanted = max(item.wanted_patients, pairs + 1)
    return f"If the gain seen here is the true one, about {wanted} test patients would show it."
