"""How good a heart is that a forest draws from a few strokes, over the number of strokes.

    python benchmarks/strokes.py [CASE ...] [--data data] [--json FILE]

The strokes are a simulated person's (`coronet.annotate.simulate`): lines of a hand that shakes and does not
look at the result, the most telling ones first. Dice is against the phantoms' exact truth, without other
scans to learn from and, in the last row, with what four other scans taught. Without names every eighth case
is drawn.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from pathlib import Path

import numpy as np

from coronet.annotate.forest import Samples, join
from coronet.annotate.heart import draw_heart
from coronet.annotate.simulate import heart_strokes
from coronet.annotate.strokes import Strokes
from coronet.cohort.cases import scan_path
from coronet.cohort.phantom.cohort import exact_path
from coronet.cohort.volume import Volume, read_nifti
from coronet.files import write_json
from coronet.train.metrics import dice

ORDER = (2, 7, 8, 9, 0, 5, 3, 6, 1, 4)
"""Of the ten lines: inside in two planes, below and above, inside again, then along the sides."""
COUNTS = (2, 4, 6, 8, 10)
TEACHERS = 4
FIRST, EVERY = 5, 8


@dataclasses.dataclass(frozen=True)
class Drawer:
    """A person with a scan before them."""

    name: str
    ct: Volume
    truth: np.ndarray
    lines: tuple

    @classmethod
    def of(cls, data: Path, name: str) -> Drawer:
        """Read a phantom and let the person choose ten lines."""
        ct = read_nifti(scan_path(data, name))
        truth = read_nifti(exact_path(data, name, "heart"), np.uint8).array
        drawn = heart_strokes(ct, truth, seed=int(name[-4:])).strokes
        return cls(name, ct, truth, tuple(drawn[place] for place in ORDER))

    def dice(self, count: int, prior: Samples | None = None) -> float:
        """Of the heart that so many lines give."""
        return dice(self.truth, self.draw(count, prior).mask)

    def draw(self, count: int, prior: Samples | None = None):
        """A heart from the first ``count`` lines."""
        return draw_heart(self.ct, Strokes("heart", self.lines[:count]), prior=prior, case=self.name)


def main() -> None:
    """Measure, print a table, write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    scans = (given.data / "ct").glob("phantom-*.nii.gz")
    all_cases = sorted(path.name.removesuffix(".nii.gz") for path in scans)
    cases = given.cases or all_cases[FIRST::EVERY]
    others = [name for name in all_cases if name not in cases][:TEACHERS]
    if not cases or len(others) < TEACHERS:
        print(f"{given.data} holds too few phantoms; `make demo` makes them.")
        return
    prior = join([Drawer.of(given.data, name).draw(max(COUNTS)).samples for name in others])
    rows: dict[str, list[float]] = {}
    for name in cases:
        person = Drawer.of(given.data, name)
        for count in COUNTS:
            rows.setdefault(f"{count} strokes", []).append(person.dice(count))
        taught = f"{max(COUNTS)} strokes, {TEACHERS} scans before"
        rows.setdefault(taught, []).append(person.dice(max(COUNTS), prior))
    print(f"{len(cases)} phantoms\n\n| | Dice, mean | lowest |\n|---|---|---|")
    for label, found in rows.items():
        print(f"| {label} | {statistics.mean(found):.3f} | {min(found):.3f} |")
    if given.json:
        write_json(given.json, {"cases": cases, "dice": rows})


if __name__ == "__main__":
    main()
