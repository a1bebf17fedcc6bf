"""How fast a mask of some 50,000 voxels is scored, beside reading it and beside the plain way.

The plain way labels every slice with scipy.ndimage and looks at each component by itself, as most published
calculators do. Run: python benchmarks/score_mask.py [--json]
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import ndimage

from coronet.io.masks import read_mask
from coronet.io.volume import Volume, grid_affine, write_nifti
from coronet.scoring.agatston import agatston_of_parts
from coronet.scoring.calcium_score import score_calcium
from coronet.scoring.counted_voxels import find_calcium
from coronet.scoring.protocol import PROTOCOLS

SHAPE = (512, 512, 143)
SPACING_MM = (0.68, 0.68, 2.5)
VOXELS = 50_000
ROUNDS = 7


def make_case(seed: int = 0) -> tuple[Volume, np.ndarray]:
    """A noisy scan with calcified plaques of all sizes along three curves in the middle of the chest."""
    rng = np.random.default_rng(seed)
    array = rng.normal(40, 15, SHAPE).astype(np.int16)
    mask = np.zeros(SHAPE, np.uint8)
    filled = 0
    while filled < VOXELS:
        along, vessel = rng.uniform(), rng.integers(3)
        angle = along * 3 + vessel * 2.1
        centre = np.array([256 + 75 * np.cos(angle), 256 + 75 * np.sin(angle), 35 + 70 * along])
        centre += rng.normal(0, (15, 15, 5))
        radius = rng.uniform(1.0, 6.0) * np.array([1, 1, 0.5])
        low = (centre - radius).astype(int)
        high = (centre + radius).astype(int) + 2
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        grids = np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij")
        inside = sum(((g - c) / r) ** 2 for g, c, r in zip(grids, centre, radius, strict=True)) <= 1
        array[box][inside] = rng.normal(rng.uniform(150, 700), 60, int(inside.sum()))
        filled += int(inside.sum()) - int(mask[box][inside].sum())
        mask[box][inside] = 1
    return Volume(array, grid_affine(SPACING_MM, (0, 0, 0))), mask


def plain_agatston(ct: Volume, mask: np.ndarray) -> float:
    """The same Agatston score, slice by slice and component by component."""
    area = ct.spacing_mm[0] * ct.spacing_mm[1]
    total = 0.0
    for z in range(ct.shape[2]):
        hu = ct.array[:, :, z]
        labels, count = ndimage.label((mask[:, :, z] > 0) & (hu >= 130), structure=np.ones((3, 3)))
        for number in range(1, count + 1):
            component = labels == number
            size = component.sum() * area
            if size >= 1:
                total += size * min(4, hu[component].max() // 100) * ct.spacing_mm[2] / 3
    return total


def fastest(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Shortest of some runs, in milliseconds."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times) * 1000


def measure() -> dict[str, float]:
    """Milliseconds of each way, and the score that all agree on."""
    ct, mask = make_case()
    protocol = PROTOCOLS["coronet"]
    ours, plain = score_calcium(ct, mask).scores.agatston, plain_agatston(ct, mask)
    if not np.isclose(ours, plain):
        raise SystemExit(f"the scores differ: {ours} and {plain}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mask.nii.gz"
        write_nifti(path, Volume(mask, ct.affine))
        reading = fastest(lambda: read_mask(path, ct))
    return {
        "voxels": int(np.count_nonzero(mask)),
        "agatston": ours,
        "plain_ms": fastest(lambda: plain_agatston(ct, mask), rounds=3),
        "agatston_ms": fastest(lambda: agatston_of_parts(find_calcium(ct, mask, protocol), protocol)),
        "score_ms": fastest(lambda: score_calcium(ct, mask, calibration_factor=0.0007)),
        "read_ms": reading,
    }


def main() -> None:
    """Print a table and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    found = measure()
    found["ratio"] = found["plain_ms"] / found["score_ms"]
    if parser.parse_args().json:
        print(json.dumps(found))
        return
    shape = " × ".join(map(str, SHAPE))
    print(
        f"{shape} voxels, {found['voxels']} of them calcium, Agatston {found['agatston']:.1f}; "
        f"{platform.machine()}\n"
    )
    print("| what | ms |\n|---|---|")
    for key, words in {
        "plain_ms": "per slice and component, scipy.ndimage (Agatston alone)",
        "agatston_ms": "coronet, Agatston alone",
        "score_ms": "coronet, four scores, groups and lesion list",
        "read_ms": "reading the mask (.nii.gz)",
    }.items():
        print(f"| {words} | {found[key]:.1f} |")
    print(f"\n{found['ratio']:.0f} times as fast")


if __name__ == "__main__":
    main()
