"""How good is a heart that a forest draws from a few strokes, over the number of strokes.

    python benchmarks/strokes.py [CASE ...] [--data data] [--json FILE]

The strokes are a simulated person's (`coronet.phantom.simulated_reader`): four lines of a hand that shakes,
then look after look up to three lines along what is drawn wrongly. Dice is against the phantoms' exact truth,
without other scans to learn from and, in the last row, with what four other scans taught. Without names every
eighth case is drawn.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from coronet.annotation.draft_mask import DraftMask
from coronet.annotation.forest import Samples, join_samples
from coronet.dataset.cases import scan_path
from coronet.files import write_json
from coronet.imaging.mask_metrics import dice
from coronet.io.volume import Volume, read_nifti
from coronet.phantom import simulated_reader
from coronet.phantom.cohort import exact_path
from coronet.phantom.reader_sessions import draw_heart_in_sessions

LOOKS = 3
TEACHERS = 4
FIRST, EVERY = 5, 8


@dataclasses.dataclass(frozen=True)
class Person:
    """A person with a scan before them."""

    name: str
    ct: Volume
    truth: np.ndarray

    @classmethod
    def of(cls, data: Path, name: str) -> Person:
        """Read a phantom and its truth."""
        ct = read_nifti(scan_path(data, name))
        return cls(name, ct, read_nifti(exact_path(data, name, "heart"), np.uint8).array)

    def draws(self, looks: int, prior: Samples | None = None) -> Iterator[tuple[int, DraftMask]]:
        """Numbers of lines and the hearts that they give, look after look."""
        seed = int(self.name[-4:])
        made = draw_heart_in_sessions(
            self.ct, self.truth, case=self.name, seed=seed, reviews=looks, prior=prior
        )
        for drawn, said in made:
            yield len(said.strokes), drawn


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
    people = (Person.of(given.data, name) for name in others)
    prior = join_samples(
        [list(person.draws(simulated_reader.HEART_REVIEWS))[-1][1].samples for person in people]
    )
    rows: dict[str, list[float]] = {}
    for name in cases:
        person = Person.of(given.data, name)
        for count, drawn in person.draws(LOOKS):
            rows.setdefault(f"{count} strokes", []).append(dice(person.truth, drawn.mask))
        *_, (count, drawn) = person.draws(simulated_reader.HEART_REVIEWS, prior)
        rows.setdefault(f"{count} strokes, {TEACHERS} scans before", []).append(
            dice(person.truth, drawn.mask)
        )
    print(f"{len(cases)} phantoms\n\n| | Dice, mean | lowest |\n|---|---|---|")
    for label, found in rows.items():
        print(f"| {label} | {statistics.mean(found):.3f} | {min(found):.3f} |")
    if given.json:
        write_json(given.json, {"cases": cases, "dice": rows})


if __name__ == "__main__":
    main()
