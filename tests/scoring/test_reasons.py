"""Every refusal and warning of a score has its row in the documents, and nothing else has one."""

from __future__ import annotations

import re
from pathlib import Path

from coronet.dataset.quality_flags import FLAGS, UNFIT
from coronet.scoring.score_text import TUBE_VOLTAGE
from coronet.scoring.uncertainty import DOUBTFUL

DOCS = Path(__file__).resolve().parents[2] / "docs"


def rows(page: str, heading: str) -> dict[str, str]:
    """Rows of the table below a heading, by the flag in their first cell."""
    part = (DOCS / page).read_text(encoding="utf-8").split(f"{heading}\n", 1)[1].split("\n#", 1)[0]
    return {row[1]: row[0] for row in re.finditer(r"^\| `(\w+)` \|.*$", part, re.MULTILINE)}


def test_the_table_of_reasons_and_limits_is_complete():
    table = rows("score.md", "### Reasons and limits")
    assert list(table) == [*FLAGS, TUBE_VOLTAGE, DOUBTFUL]
    assert {flag for flag, row in table.items() if "✗" in row} == set(UNFIT)


def test_troubleshooting_has_a_remedy_for_each_reason():
    assert list(rows("troubleshooting.md", "## Reasons of a score")) == [*FLAGS, TUBE_VOLTAGE, DOUBTFUL]
