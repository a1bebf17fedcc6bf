"""What a batch came to: one row a scan."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from coronet.config import MODELS
from coronet.scoring.model_statement import LEARNED, ModelStatement


@dataclasses.dataclass(frozen=True)
class BatchRow:
    """One scan of a batch; figures are None where there is no score.

    Attributes:
        scan: ``scan-`` and ten digits of the keyed hash of its voxels, which names its folder of results;
            where no voxels could be read, ``unread-`` and ten digits of the keyed hash of where it lies.
        agatston: score.
        volume_mm3: of calcium.
        group: risk group.
        low: lower end of the 90 % interval of the score; None where the networks are not calibrated.
        high: its upper end.
        group_probability: of ``group``.
        likely_groups: the fewest groups that hold 90 % together, divided by spaces.
        lm: Agatston score of the left main artery; None, as the next three, where no vessels are known.
        lad: of the left anterior descending artery.
        lcx: of the left circumflex artery.
        rca: of the right coronary artery.
        flags: reasons to be careful, divided by spaces.
        learned_from: which network had this scan in its training, such as ``heart=train calcium=tune``, and
            ``heart=unknown`` where that is not recorded.
        models: cautions about the networks themselves, of `coronet.scoring.model_statement`, divided by
            spaces.
        reason: why there is no score; it names no file.
    """

    scan: str
    agatston: float | None = None
    volume_mm3: float | None = None
    group: str = ""
    low: float | None = None
    high: float | None = None
    group_probability: float | None = None
    likely_groups: str = ""
    lm: float | None = None
    lad: float | None = None
    lcx: float | None = None
    rca: float | None = None
    flags: str = ""
    learned_from: str = ""
    models: str = ""
    reason: str = ""

    @property
    def in_training(self) -> bool:
        """Whether a network had this scan among those it learned from or was chosen by."""
        return "=train" in self.learned_from or "=tune" in self.learned_from

    def line(self) -> str:
        """One line for the terminal: the score with its interval and group, or why there is none."""
        result = self.reason or f"{self.agatston:.1f}{self._interval}, group {self.group}{self._sure}"
        learned = "; learned from this scan" if self.in_training else ""
        return f"{self.scan}: {result}{learned}{f'; beware: {self.flags}' if self.flags else ''}"

    @property
    def _interval(self) -> str:
        return "" if self.low is None else f" ({self.low:.1f} … {self.high:.1f})"

    @property
    def _sure(self) -> str:
        return "" if self.group_probability is None else f" ({self.group_probability:.0%})"


@dataclasses.dataclass(frozen=True)
class BatchResult:
    """Scores of a folder.

    Attributes:
        statement: what the networks are worth, to be read before the scores.
        rows: one a scan, sorted by name.
        scored_now: how many scans were scored by this run.
    """

    statement: ModelStatement
    rows: tuple[BatchRow, ...]
    scored_now: int

    @property
    def refused(self) -> tuple[BatchRow, ...]:
        """Rows without a score."""
        return tuple(row for row in self.rows if row.reason)

    @property
    def learned_from(self) -> tuple[BatchRow, ...]:
        """Rows of scans that a network had in its training."""
        return tuple(row for row in self.rows if row.in_training)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "statement": self.statement.text,
            "cautions": list(self.statement.cautions),
            "learned_from": len(self.learned_from),
            "scored_now": self.scored_now,
            "rows": [dataclasses.asdict(row) for row in self.rows],
        }


def row_of(scan: str, answer: Mapping[str, Any], preset: str) -> BatchRow:
    """The row of a scan whose ``score.json`` is ``answer``, with its risk group by ``preset``."""
    scores, sure = answer["scores"], answer["uncertainty"]
    group = answer["groups"][preset]
    vessels = answer["vessels"] or {}
    return BatchRow(
        scan=scan,
        agatston=round(scores["agatston"], 3),
        volume_mm3=round(scores["volume_mm3"], 3),
        group=group,
        low=sure and sure["low"],
        high=sure and sure["high"],
        # CAC-DRS appends the number of vessels to its label
        group_probability=sure and sure["groups"][preset][group.split("/")[0]],
        likely_groups=" ".join(sure["likely_groups"][preset]) if sure else "",
        **{name.lower(): round(value, 3) for name, value in vessels.items()},
        flags=" ".join(answer["input"]["flags"]),
        learned_from=" ".join(_learned_from(answer["models"])),
        models=" ".join(item for item in answer["models"].get("cautions", ("unknown",)) if item != LEARNED),
    )


def _learned_from(models: Mapping[str, Any]) -> Iterator[str]:
    for name in MODELS:
        part = models[name].get("scan_part")
        if part != "none":
            yield f"{name}={part or 'unknown'}"


def to_csv(rows: Sequence[BatchRow]) -> str:
    """The table as text: a heading, and a line a row."""
    import pandas

    names = [field.name for field in dataclasses.fields(BatchRow)]
    table = pandas.DataFrame([dataclasses.astuple(row) for row in rows], columns=names, dtype=object)
    return table.to_csv(index=False, lineterminator="\n")


def to_parquet(rows: Sequence[BatchRow]) -> bytes:
    """The table as Parquet, with a fixed type for each column; needs pyarrow."""
    import pyarrow
    from pyarrow import parquet

    texts = {field.name for field in dataclasses.fields(BatchRow) if field.type == "str"}
    schema = pyarrow.schema(
        [
            (name, pyarrow.string() if name in texts else pyarrow.float64())
            for name in (field.name for field in dataclasses.fields(BatchRow))
        ]
    )
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.Table.from_pylist(list(map(dataclasses.asdict, rows)), schema=schema), sink)
    return bytes(sink.getvalue())
