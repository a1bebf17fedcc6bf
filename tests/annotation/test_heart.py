"""Hearts from a few lines: on phantoms, on real scans, and alike on every processor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from coronet.annotation.block_features import block_features
from coronet.annotation.block_grid import block_means, find_body
from coronet.annotation.forest import join_samples
from coronet.annotation.heart import draw_heart
from coronet.annotation.stroke_voxels import read_strokes
from coronet.annotation.strokes import Stroke, Strokes
from coronet.errors import InputError
from coronet.io.masks import read_mask
from coronet.io.reader import read_scan
from coronet.io.volume import Volume, grid_affine
from dispatch import outputs_at_dispatch_levels

STROKES = Path(__file__).parent / "strokes"
HASH = """
import hashlib
import numpy as np
from coronet.annotation.heart import draw_heart
from coronet.annotation.strokes import Stroke, Strokes
from coronet.io.volume import Volume, grid_affine

rng = np.random.default_rng(5)
shape = (100, 90, 50)
x, y, z = np.meshgrid(*(np.arange(n) * s for n, s in zip(shape, (3.1, 2.9, 4.0))), indexing="ij")
hu = np.full(shape, -1000.0)
hu[((x - 155) / 140) ** 2 + ((y - 130) / 115) ** 2 < 1] = 30
for side in (90, 220):
    hu[((x - side) / 55) ** 2 + ((y - 130) / 80) ** 2 + ((z - 110) / 95) ** 2 < 1] = -850
hu[((x - 150) / 55) ** 2 + ((y - 150) / 50) ** 2 + ((z - 90) / 45) ** 2 < 1] = 45
grid = grid_affine((3.1, 2.9, 4.0), (0, 0, 0))
volume = Volume(np.rint(hu + rng.normal(0, 12, shape)).astype(np.int16), grid)
strokes = Strokes("heart", (
    Stroke("heart", "line", ((110, 150, 88), (150, 190, 88), (190, 150, 88), (150, 110, 88)), 2.0),
    Stroke("heart", "line", ((150, 150, 55), (150, 150, 125)), 2.0),
    Stroke("background", "line", ((130, 150, 30), (170, 150, 30)), 2.0),
    Stroke("background", "line", ((130, 80, 88), (170, 80, 88)), 2.0),
))
drawn = draw_heart(volume, strokes)
print(drawn.mask.sum(), hashlib.sha256(drawn.mask.tobytes() + drawn.uncertainty.tobytes()).hexdigest())
"""


def dice(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one > 0, other > 0
    return 2 * float((one & other).sum()) / float(one.sum() + other.sum())


@pytest.fixture(scope="module")
def drawn(chests, short_lines):
    return [draw_heart(chest.ct, short_lines(chest), case=f"c{i}") for i, chest in enumerate(chests)]


def test_a_few_lines_give_the_heart(chests, drawn):
    found = [dice(item.mask, chest.heart) for item, chest in zip(drawn, chests, strict=True)]
    assert np.mean(found) >= 0.9, found
    assert min(found) >= 0.87, found


def test_a_mask_is_one_piece_of_tissue_without_holes(chests, drawn):
    import cc3d
    from scipy.ndimage import binary_fill_holes

    for chest, item in zip(chests, drawn, strict=True):
        assert item.mask.dtype == np.uint8
        assert set(np.unique(item.mask)) == {0, 1}
        assert cc3d.connected_components(item.mask, connectivity=6).max() == 1
        assert all((binary_fill_holes(plane) == plane).all() for plane in np.moveaxis(item.mask, 2, 0) > 0)
        assert np.median(chest.ct.array[item.mask > 0]) > 0


def test_uncertainty_is_higher_where_the_mask_is_wrong(chests, drawn):
    for chest, item in zip(chests, drawn, strict=True):
        assert item.probability.max() <= 100 and item.uncertainty.max() <= 100
        wrong = (item.mask > 0) != chest.heart
        assert item.uncertainty[wrong].mean() > 2 * item.uncertainty[(item.mask > 0) & chest.heart].mean()


def test_a_library_of_other_scans_draws_a_heart_without_strokes(chests, drawn):
    alone = draw_heart(chests[2].ct, None, prior=join_samples([drawn[0].samples, drawn[1].samples]))
    assert dice(alone.mask, chests[2].heart) >= 0.8
    assert not len(alone.samples.labels)


def test_lines_in_three_slices_beat_those_in_one(chests, short_lines, drawn):
    few = [draw_heart(chest.ct, short_lines(chest, shares=(0.5,))) for chest in chests]
    more = np.mean([dice(item.mask, chest.heart) for item, chest in zip(drawn, chests, strict=True)])
    less = np.mean([dice(item.mask, chest.heart) for item, chest in zip(few, chests, strict=True)])
    assert more > less - 0.005


def test_background_alone_is_refused(chests):
    x, y, z = (chests[0].ct.affine @ [60, 60, 20, 1])[:3]
    only = Strokes("heart", (Stroke("background", "point", ((x, y, z),), 3.0),))
    with pytest.raises(InputError, match="No stroke has the label heart"):
        draw_heart(chests[0].ct, only)


def test_features_are_in_millimetres_whatever_the_voxels():
    rng = np.random.default_rng(0)
    smooth = np.clip(np.cumsum(rng.normal(0, 20, (24, 24, 24)), axis=0), -150, 150).astype(np.int16)
    fine = Volume(np.repeat(np.repeat(smooth, 2, 0), 4, 2), grid_affine((2.0, 4.0, 1.0), (1.0, 0.0, 0.0)))
    rough = Volume(smooth, grid_affine((4.0, 4.0, 4.0), (2.0, 0.0, 1.5)))
    features = []
    for volume in (fine, rough):
        blocks = block_means(volume)
        features.append(block_features(blocks, find_body(blocks), np.ones(blocks.hu.shape, bool)))
    assert features[0].names == features[1].names
    assert len(set(features[0].names)) == len(features[0].names)
    assert features[0].values.dtype == np.int16
    np.testing.assert_array_equal(features[0].values, features[1].values)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("0187", 0.9), ("0506", 0.91), ("0909", 0.91)])
def test_ten_strokes_give_a_real_heart(real_data, name, least):
    volume = read_scan(real_data / "lidc_3mm" / f"{name}_img.nrrd").volume
    truth = read_mask(
        real_data / "lidc_3mm" / f"{name}_msk.nrrd", volume, labels=(1, 3), absent_allowed=True
    ).labels
    strokes = read_strokes(STROKES / f"lidc_{name}_heart.json", volume, target="heart")
    assert len(strokes.strokes) <= 10
    assert dice(draw_heart(volume, strokes).mask, truth) >= least


@pytest.mark.slow
def test_every_processor_draws_the_same_bytes():
    outputs = set(outputs_at_dispatch_levels(HASH))
    assert len(outputs) == 1
    assert int(outputs.pop().split()[0]) > 1000
