"""How near drawn courses and point spreads come to the truth, on phantoms in the part of real scans.

Calcium-free phantoms of a seed are taken for backgrounds: the courses found in each are compared with the
arteries that were painted, the point spread with the kernel that the scanner had.

    python benchmarks/real_backgrounds.py --cases 12 --seed 907
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
from scipy.spatial import cKDTree

from coronet.imaging.resampling import clean_hu
from coronet.phantom.acquisition_protocols import SCANNER_KERNELS
from coronet.phantom.anatomy import draw_anatomy
from coronet.phantom.lesions import BLOCK, VESSEL_TRAITS, burden_of
from coronet.phantom.patients import make_slot, plan
from coronet.phantom.random_draws import generator
from coronet.real_backgrounds.courses import find_courses, map_grooves
from coronet.real_backgrounds.point_spread import estimate_point_spread
from coronet.real_backgrounds.registration import register_phantoms, view_heart

_ANATOMY, _BURDEN = 1, 4
"""The phantom's purposes of the generators that draw a patient's anatomy and a block's burdens."""


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--seed", type=int, default=907)
    wanted = parser.parse_args()
    gaps: dict[str, list[np.ndarray]] = {name: [] for name in VESSEL_TRAITS}
    soft, sharp, seconds = [], [], []
    used = 0
    for slot in plan(wanted.seed, 100 * wanted.cases):
        if used == wanted.cases:
            break
        block, place = divmod(slot.patient, len(BLOCK))
        if slot.round or burden_of(generator(wanted.seed, block, _BURDEN), place) != "none":
            continue
        case = make_slot(wanted.seed, slot)
        assert not case.truth["lesions"]
        used += 1
        ct, heart = clean_hu(case.ct), case.heart.array > 0
        began = time.process_time()
        anatomies = [draw_anatomy(generator(wanted.seed + 1, slot.patient, number)) for number in range(4)]
        (best, *_) = register_phantoms(anatomies, view_heart(ct, heart), keep=2)
        courses = find_courses(best, map_grooves(ct, heart))
        kernel = SCANNER_KERNELS[case.facts.kernel]
        spread = estimate_point_spread(ct, heart, thickness_mm=case.facts.slice_thickness_mm)
        seconds.append(time.process_time() - began)
        (sharp if kernel.sharp else soft).append(spread.blur_mm - kernel.blur_mm)
        truth = draw_anatomy(generator(wanted.seed, slot.patient, _ANATOMY)).coronaries
        for name, course in courses.items():
            gaps[name].append(cKDTree(truth[name].points).query(course.tube.points)[0])
    found = {
        name: {
            "median_mm": round(float(np.median(np.concatenate(parts))), 2),
            "p90_mm": round(float(np.quantile(np.concatenate(parts), 0.9)), 2),
        }
        for name, parts in gaps.items()
    }
    blur = {
        kind: {
            "scans": len(errors),
            "mean_error_mm": round(float(np.mean(errors)), 3),
            "largest_error_mm": round(float(np.max(np.abs(errors))), 3),
        }
        for kind, errors in (("soft", soft), ("sharp", sharp))
        if errors
    }
    result = {
        "cases": used,
        "courses": found,
        "blur": blur,
        "core_seconds": round(float(np.median(seconds)), 1),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
