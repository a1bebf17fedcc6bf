"""A heart from the same strokes: `coronet annotate` against scikit-image features and a scikit-learn forest.

The other way is the one that scikit-image's own example of trainable segmentation takes: features of
`multiscale_basic_features` at every voxel (widths 1 to 16 voxels), a `RandomForestClassifier` with 50 trees
of depth 10 fitted to the stroked voxels, its answer at every voxel, then the piece that most strokes are in,
without air. Both run in this process on the same scan; phantoms are synthetic, and the strokes are simulated
on their truth.

    python benchmarks/annotate.py SCAN HEART_MASK STROKES.json [--block 2]

``--block`` joins so many voxels along x and y for both, so that the other way fits the memory.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from coronet.annotation.heart import AIRWAY_HU, draw_heart
from coronet.annotation.stroke_voxels import Marks, mark_strokes, read_strokes
from coronet.dataset.cases import load_mask
from coronet.imaging.mask_metrics import dice
from coronet.io.volume import Volume, grid_affine, read_nifti


def main() -> None:
    """Time both and print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("scan", "mask", "strokes"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--block", type=int, default=1)
    wanted = parser.parse_args()
    volume = read_nifti(wanted.scan)
    truth = volume.with_array(load_mask(wanted.mask, volume) > 0)
    if wanted.block > 1:
        volume, truth = joined(volume, wanted.block), joined(truth, wanted.block)
    strokes = read_strokes(wanted.strokes, volume, target="heart")
    result = {"shape": volume.shape, "spacing_mm": [round(step, 3) for step in volume.spacing_mm]}
    for name, draw in (("coronet", ours), ("scikit", theirs)):
        began, used = time.perf_counter(), time.process_time()
        mask = draw(volume, strokes)
        result[name] = {
            "seconds": round(time.perf_counter() - began, 2),
            "core_seconds": round(time.process_time() - used, 2),
            "dice": round(dice(mask, truth.array > 0), 4),
        }
    result["core_seconds_ratio"] = round(
        result["scikit"]["core_seconds"] / result["coronet"]["core_seconds"], 1
    )
    print(json.dumps(result, indent=2))


def ours(volume: Volume, strokes) -> np.ndarray:
    """What `coronet annotate draw` does, without files."""
    return draw_heart(volume, strokes).mask > 0


def theirs(volume: Volume, strokes) -> np.ndarray:
    """Features of every voxel, a forest, its answer at every voxel, the piece with most strokes."""
    import cc3d
    from skimage.feature import multiscale_basic_features
    from sklearn.ensemble import RandomForestClassifier

    marks: Marks = mark_strokes(strokes, volume)
    features = multiscale_basic_features(
        np.clip(volume.array, -1000, 1000).astype(np.float32), sigma_min=1, sigma_max=16, workers=2
    )
    forest = RandomForestClassifier(n_estimators=50, max_depth=10, max_samples=0.5, n_jobs=2, random_state=0)
    forest.fit(features[tuple(marks.index.T)], marks.label)
    heart = np.empty(volume.shape, bool)
    for row in range(volume.shape[0]):
        heart[row] = (
            forest.predict(features[row].reshape(-1, features.shape[-1])).reshape(heart.shape[1:]) == 1
        )
    # Nobody strokes air, so the forest cannot know it.
    pieces = cc3d.connected_components(heart & (volume.array > AIRWAY_HU), connectivity=6)
    stroked = pieces[tuple(marks.of("heart").T)]
    return pieces == np.bincount(stroked[stroked > 0], minlength=1).argmax()


def joined(volume: Volume, block: int) -> Volume:
    """Means of ``block`` × ``block`` voxels in the plane."""
    x, y, z = (volume.shape[0] // block, volume.shape[1] // block, volume.shape[2])
    cells = volume.array[: x * block, : y * block].reshape(x, block, y, block, z).astype(np.float32)
    step_x, step_y, step_z = volume.spacing_mm
    first = (volume.affine @ [(block - 1) / 2, (block - 1) / 2, 0, 1])[:3]
    means = np.rint(cells.mean(axis=(1, 3))).astype(np.int16)
    return Volume(means, grid_affine((step_x * block, step_y * block, step_z), tuple(first)))


if __name__ == "__main__":
    main()
