"""The table of a batch: one row a scan."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class BatchRow:
    """One scan of a batch; figures are None where there is no score.

    Attributes:
        scan: ``scan-`` and ten digits of the keyed hash of its voxels, which names its folder of results;
            where no voxels could be read, ``unread-`` and ten digits of the keyed hash of where it lies.
        agatston: score.
        volume_mm3: of calcium.
        group: risk group.
        low: the lowest score of its interval.
        high: the highest.
        flags: reasons to be careful, divided by spaces.
        reason: why there is no score; it names no file.
    """

    scan: str
    agatston: float | None = None
    volume_mm3: float | None = None
    group: str = ""
    low: float | None = None
    high: float | None = None
    flags: str = ""
    reason: str = ""

    def line(self) -> str:
        """One line for the terminal: the score with its interval and group, or why there is none."""
        result = self.reason or f"{self.agatston:.1f} ({self.low:.1f} … {self.high:.1f}), group {self.group}"
        return f"{self.scan}: {result}{f'; beware: {self.flags}' if self.flags else ''}"


def row_of(scan: str, answer: Mapping[str, Any], preset: str) -> BatchRow:
    """The row of a scan whose ``score.json`` is ``answer``, with its risk group by ``preset``."""
    scores, interval = answer["scores"], answer["intervals"]
    return BatchRow(
        scan=scan,
        agatston=round(scores["agatston"], 3),
        volume_mm3=round(scores["volume_mm3"], 3),
        group=answer["groups"][preset],
        low=round(interval["low"], 3),
        high=round(interval["high"], 3),
        flags=" ".join(answer["input"]["flags"]),
    )


def to_csv(rows: Sequence[BatchRow]) -> str:
    """A line of names and one a row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in dataclasses.fields(BatchRow)])
    writer.writerows(_cells(rows))
    return text.getvalue()


def _cells(rows: Sequence[BatchRow]) -> Iterator[list[Any]]:
    for row in rows:
        yield ["" if value is None else value for value in dataclasses.astuple(row)]
