"""The gate's answer, what it rests on, and how both are told: as a table, as JSON and as a sentence."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from coronet.config import GateParams
from coronet.fingerprint import canonical
from coronet.ledger.comparison import ALIKE, BETTER, NOT_WORSE, OPEN, WORSE, Comparison
from coronet.ledger.evidence import Evidence

if TYPE_CHECKING:
    from rich.table import Table

PROMOTE, REJECT, UNDECIDED = "PROMOTE", "REJECT", "INSUFFICIENT EVIDENCE"
WORDS = {
    "dice": "Dice",
    "f1": "F1 of all voxels",
    "lesion_sensitivity": "lesions found",
    "false_mm3": "mm³ found in calcium-free scans",
    "score": "error of log(1 + score)",
    "score_error": "error of the score",
    "kappa": "linear κ of the risk groups",
    "seconds": "seconds a scan",
    "megabytes": "megabytes",
}


@dataclasses.dataclass(frozen=True)
class Check:
    """One thing that must hold; ``ok`` is None where it cannot be known."""

    name: str
    ok: bool | None
    found: str
    wanted: str = ""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the gate says of a version.

    Attributes:
        answer: `PROMOTE`, `REJECT` or `UNDECIDED`.
        reasons: sentences that the answer rests on.
        model: ``heart`` or ``calcium``.
        version: number of the version that is judged.
        champion: number of the champion it is compared with; None where there is none.
        companion: version of the other model with which the whole path was run, such as
            ``calcium/2 (champion)``; empty where nothing was run.
        patients: how many test patients there are.
        test_sha256: of their cases' names.
        trial: which one it is of the versions tried on these patients, from 1.
        checks: lineage and floors, in the order they were asked.
        comparisons: with the champion; the first decides, the others guard.
        challenger: what was measured; None where a check of the lineage failed before.
    """

    answer: str
    reasons: tuple[str, ...]
    model: str
    version: int
    champion: int | None
    companion: str
    patients: int
    test_sha256: str
    trial: int
    checks: tuple[Check, ...]
    comparisons: tuple[Comparison, ...]
    challenger: Evidence | None

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

        title = f"{self.model}/{self.version}: {self.answer}"
        checks = Table("check", "", "found", "wanted", title=title, title_justify="left")
        for check in self.checks:
            mark = {True: "ok", False: "FAILED", None: "unknown"}[check.ok]
            checks.add_row(check.name, mark, check.found, check.wanted)
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
                WORDS[item.name],
                str(len(item.patients)),
                f"{item.mean:+.4g}",
                ends,
                f"{item.p:.3g}",
                f"{item.margin:g}",
                item.finding,
            )
        return checks, pairs

    def text(self) -> str:
        """The tables and the reasons as plain text."""
        import io

        from rich.console import Console

        stream = io.StringIO()
        console = Console(file=stream, width=110)
        for table in self.tables():
            console.print(table)
        for reason in self.reasons:
            console.print(reason, markup=False, highlight=False)
        return stream.getvalue()


def decide(
    checks: Sequence[Check], comparisons: Sequence[Comparison], params: GateParams
) -> tuple[str, tuple[str, ...]]:
    """The answer, and the sentences it rests on.

    A failed check or a guard that is shown to be worse by more than its margin rejects. What cannot be known
    cannot promote. Where there is a champion the first comparison decides; every step must hold for
    PROMOTE, so that no level is divided among them.

    Args:
        checks: lineage and floors.
        comparisons: the one that decides, then those that guard; empty for a first champion.
        params: what is demanded.
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
    if decisive and decisive.finding == WORSE:
        failed.append(_sentence(decisive))
    if decisive and decisive.finding == ALIKE and params.demand == "better":
        failed.append(_sentence(decisive))
    if failed:
        return REJECT, tuple(failed)
    wanted = (BETTER,) if params.demand == "better" else (BETTER, ALIKE, NOT_WORSE)
    if decisive and decisive.finding not in wanted:
        return UNDECIDED, (_sentence(decisive), _needed(decisive, params.demand), *unknown)
    if unknown:
        return UNDECIDED, tuple(unknown)
    return PROMOTE, (_sentence(decisive) if decisive else "All that is asked of a first champion holds.",)


def _sentence(item: Comparison) -> str:
    meaning = {
        BETTER: "the challenger is better",
        WORSE: "the challenger is worse",
        ALIKE: f"the two are alike: neither a loss nor a gain of {item.margin:g} is left",
        NOT_WORSE: f"no loss of {item.margin:g} is left, but a gain is not shown either",
        OPEN: "nothing is shown",
    }[item.finding]
    ends = "" if item.low is None else f" ({1 - item.level:.0%} interval {item.low:+.4g} … {item.high:+.4g})"
    return (
        f"{WORDS[item.name]} of {len(item.patients)} patients, mean gain {item.mean:+.4g}{ends}, "
        f"p = {item.p:.3g}: {meaning}."
    )


def _needed(item: Comparison, demand: str) -> str:
    pairs = len(item.patients)
    if item.smallest_p > item.level:
        return (
            f"{pairs} patients cannot give a p below {item.smallest_p:g}; it takes at least "
            f"{item.least_patients} in the test part to show anything at {item.level:g}."
        )
    if demand != "better" or item.wanted_patients is None:
        return "More test patients would tell; what is seen does not say how many."
    wanted = max(item.wanted_patients, pairs + 1)
    return f"If the gain seen here is the true one, about {wanted} test patients would show it."
