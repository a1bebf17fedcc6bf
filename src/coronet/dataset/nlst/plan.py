"""What it takes to score NLST in flight, from the packaged index alone."""

from __future__ import annotations

import dataclasses
from typing import Any

from coronet.dataset.nlst import commons_index, selection_rules
from coronet.errors import InputError


@dataclasses.dataclass(frozen=True)
class Rates:
    """What a plan assumes.

    Attributes:
        mbit_s: download, 10⁶ bits a second, of all machines together.
        score_s: seconds that one core takes for a scan.
        cores: that score.
        core_hour_price: of one core, in any currency; 0 for machines of one's own.
    """

    mbit_s: float = 1000.0
    score_s: float = 2.6
    cores: int = 8
    core_hour_price: float = 0.05

    def __post_init__(self) -> None:
        """Refuse what takes for ever."""
        if self.mbit_s <= 0 or self.score_s <= 0 or self.cores < 1 or self.core_hour_price < 0:
            raise InputError("Rates must be above 0, and a price not below.")


@dataclasses.dataclass(frozen=True)
class SelectionSize:
    """How much a selection of CT series is."""

    name: str
    patients: int
    series: int
    terabytes: float

    def to_json(self, rates: Rates) -> dict[str, Any]:
        """With hours and price; download and scoring overlap, so the longer of the two counts."""
        download = self.terabytes * 8e6 / rates.mbit_s / 3600
        scoring = self.series * rates.score_s / rates.cores / 3600
        hours = max(download, scoring)
        return {
            **dataclasses.asdict(self),
            "download_hours": round(download, 1),
            "scoring_hours": round(scoring, 1),
            "hours": round(hours, 1),
            "bottleneck": "download" if download > scoring else "scoring",
            "price": round(hours * rates.cores * rates.core_hour_price, 2),
        }


def selection_sizes(patients: int | None = None, *, where: str = "") -> tuple[SelectionSize, ...]:
    """Sizes by the packaged index: one series a patient, and all series that fulfil the rules.

    Args:
        patients: at most so many, as they are drawn by `coronet.dataset.nlst.selection` with seed 0; None
            takes all.
        where: a further condition, as of `coronet.dataset.nlst.manifest.Request`.

    Raises:
        InputError: ``where`` is no condition, or nothing fulfils it.
    """
    with commons_index.open_index() as database:
        chosen = "true"
        if where.strip():
            commons_index.check_condition(database, where)
            chosen = f"({where}\n)"
        query = f"""
            with fitting as (select * from candidates where {chosen}),
            drawn as (
              select distinct patient, sha256(concat('0 ', patient)) as place from fitting
              order by place limit ?
            ), taken as (select fitting.* from fitting join drawn using (patient)),
            best as (
              select * from taken
              qualify row_number() over (partition by patient order by {selection_rules.ORDER}) = 1
            )
            select 'one series a patient', count(distinct patient), count(*), sum(size_mb) / 1e6 from best
            union all
            select 'all series', count(distinct patient), count(*), sum(size_mb) / 1e6 from taken
        """
        rows = database.execute(query, [patients or 1_000_000]).fetchall()
    if not rows[0][1]:
        raise InputError(f'No patient fulfils the rules and "{where}".')
    return tuple(SelectionSize(name, count, series, float(size)) for name, count, series, size in rows)
