"""The phantom's anatomy: sizes, places, intensities, and the same bytes on every processor."""

from __future__ import annotations

import functools

import cc3d
import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from coronet.io.volume import grid_affine
from coronet.phantom.anatomy import Anatomy, draw_anatomy
from coronet.phantom.random_draws import generator
from coronet.phantom.ranges import REALISTIC, WILD
from coronet.phantom.rasterize import Tissue, exact_heart_mask, rasterize
from dispatch import outputs_at_dispatch_levels

STEP = 5.0
SIZE = (76, 64, 68)
SEEDS = range(9)


@functools.cache
def painted(seed: int, wild: bool = False) -> tuple[Anatomy, Tissue, np.ndarray]:
    anatomy = draw_anatomy(generator(41, seed), ranges=WILD if wild else REALISTIC)
    origin = tuple(-STEP * (n - 1) / 2 for n in SIZE)
    affine = grid_affine((STEP,) * 3, origin)
    return anatomy, rasterize(anatomy, affine, SIZE), affine


def hu_at(tissue: Tissue, affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    index = np.rint((np.atleast_2d(points) - affine[:3, 3]) / STEP).astype(int)
    return tissue.hu[tuple(index.T)]


@functools.cache
def heart_ml(seed: int, wild: bool = False) -> float:
    anatomy = draw_anatomy(generator(41, seed), ranges=WILD if wild else REALISTIC)
    affine = grid_affine((STEP,) * 3, tuple(-STEP * (n - 1) / 2 for n in SIZE))
    return np.count_nonzero(exact_heart_mask(anatomy, affine, SIZE)) * STEP**3 / 1000


def test_a_heart_drawn_alone_is_the_one_of_the_chest():
    anatomy, tissue, affine = painted(0)
    assert np.array_equal(exact_heart_mask(anatomy, affine, SIZE), tissue.heart)


@pytest.mark.slow
def test_hearts_have_the_sizes_of_adults():
    volumes = [heart_ml(seed) for seed in SEEDS]
    assert min(volumes) > 400 and max(volumes) < 1100
    assert 600 < np.median(volumes) < 820
    assert max(volumes) > 1.2 * min(volumes)


@pytest.mark.parametrize(("seed", "wild"), [(0, False), (1, False), (0, True), (1, True)])
def test_the_heart_is_one_piece_between_the_lungs(seed, wild):
    _, tissue, _ = painted(seed, wild)
    labels, count = cc3d.connected_components(tissue.heart, connectivity=26, return_N=True)
    assert count == 1 or np.bincount(labels.ravel())[1:].max() > 0.999 * np.count_nonzero(tissue.heart)
    where = np.argwhere(tissue.heart)
    middle = np.rint(where.mean(axis=0)).astype(int)
    row = tissue.hu[:, middle[1], middle[2]]
    rim = where[(where[:, 1] == middle[1]) & (where[:, 2] == middle[2])][:, 0]
    assert (row[: rim.min()] < -500).sum() >= 4
    assert (row[rim.max() :] < -500).sum() >= 4


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_heart_points_to_the_left_and_rests_on_the_liver(seed):
    anatomy, tissue, affine = painted(seed)
    where = np.argwhere(tissue.heart) * STEP + affine[:3, 3]
    assert where[:, 0].mean() < 0
    apex = anatomy.landmarks["apex"]
    assert apex[0] < where[:, 0].mean() - 20
    assert apex[2] < where[:, 2].mean()
    below = where[:, 2].min() - 12.0
    side = where[(where[:, 2] < where[:, 2].min() + 12)].mean(axis=0)
    assert hu_at(tissue, affine, np.asarray([[side[0] + 20, side[1], below - 15]]))[0] == pytest.approx(
        anatomy.traits.liver_hu, abs=25
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_coronaries_run_in_the_heart_near_its_surface(seed):
    anatomy, _, _ = painted(seed)
    centre = anatomy.landmarks["heart_centre"]
    step, size = 1.5, (110, 110, 100)
    affine = grid_affine((step,) * 3, tuple(c - step * n / 2 for c, n in zip(centre, size, strict=True)))
    tissue = rasterize(anatomy, affine, size)
    depth = distance_transform_edt(tissue.heart, sampling=step)
    assert list(anatomy.coronaries) == ["LM", "LAD", "LCX", "RCA"]
    for name, artery in anatomy.coronaries.items():
        gaps = np.linalg.norm(np.diff(artery.points, axis=0), axis=1)
        length = gaps.sum()
        assert gaps.max() < 3.0
        assert (artery.radii > 0.5).all() and (artery.radii < 3.0).all()
        index = np.rint((artery.points - affine[:3, 3]) / step).astype(int)
        depths = depth[tuple(index.T)]
        assert (depths > 0).mean() > 0.97
        if name == "LM":
            assert 6 < length < 25
        else:
            assert 55 < length < 260
            assert np.median(depths) < 9
            lumen = tissue.hu[tuple(index.T)]
            assert np.median(lumen) > -60


def test_left_arteries_leave_the_left_main():
    arteries = painted(3)[0].coronaries
    for name in ("LAD", "LCX"):
        assert np.linalg.norm(arteries[name].points[0] - arteries["LM"].points[-1]) < 3


@pytest.mark.parametrize("seed", [0, 4])
def test_tissues_have_their_intensities(seed):
    anatomy, tissue, affine = painted(seed)
    traits, marks = anatomy.traits, anatomy.landmarks
    assert tissue.hu.dtype == np.float32 and tissue.heart.dtype == bool
    assert tissue.hu[0, 0, 0] == -1000
    assert tissue.hu.min() >= -1001 and tissue.hu.max() < 1300
    aorta = anatomy.tubes["vessels"][0]
    inner = aorta.points[(aorta.radii > 10) & (np.abs(aorta.points[:, 2]) < 100)]
    assert np.median(hu_at(tissue, affine, inner)) == pytest.approx(traits.blood_hu, abs=4)
    left = marks["aortic_valve"] + (-25.0, 15.0, -30.0)
    assert 15 < hu_at(tissue, affine, left)[0] < 75
    lungs = (tissue.hu < -700) & (tissue.hu > -960)
    assert 2000 < np.count_nonzero(lungs) * STEP**3 / 1000 < 9000
    assert (hu_at(tissue, affine, anatomy.tubes["ribs"][6].points).max()) > 110


def test_the_same_place_looks_the_same_on_another_grid():
    anatomy, tissue, affine = painted(1)
    part = rasterize(anatomy, grid_affine((STEP,) * 3, tuple(affine[:3, 3] + 20 * STEP)), (30, 30, 30))
    block = (slice(20, 50),) * 3
    assert (part.heart != tissue.heart[block]).mean() < 0.002
    assert np.abs(part.hu - tissue.hu[block]).mean() < 2.0


def test_a_turned_grid_is_refused():
    with pytest.raises(ValueError, match="axis-aligned"):
        rasterize(painted(0)[0], np.diag([-1.0, 1.0, 1.0, 1.0]), (8, 8, 8))


def test_landmarks_are_complete():
    anatomy = painted(0)[0]
    marks = anatomy.landmarks
    for name in ("heart_centre", "carina", "hilum_left", "hilum_right", "aortic_valve", "mitral_valve"):
        assert marks[name].shape == (3,)
    for name in ("aortic_valve_normal", "mitral_valve_normal"):
        assert np.linalg.norm(marks[name]) == pytest.approx(1.0, abs=1e-6)
    assert len(anatomy.tubes["ribs"]) == 24 and len(anatomy.tubes["cartilages"]) == 20
    assert marks["hilum_left"][0] < marks["carina"][0] < marks["hilum_right"][0]
    assert marks["carina"][2] > marks["heart_centre"][2] + 40


@pytest.mark.slow
def test_wild_phantoms_differ_more_than_realistic_ones():
    def spread(wild: bool) -> float:
        return float(np.std([heart_ml(seed, wild) for seed in range(6)]))

    assert spread(True) > spread(False)


HASH = """
import hashlib
from coronet.phantom.anatomy import draw_anatomy
from coronet.phantom.ranges import REALISTIC, WILD
from coronet.phantom.random_draws import generator
from coronet.phantom.rasterize import rasterize
from coronet.io.volume import grid_affine
digest = hashlib.sha256()
for seed, ranges in ((1, REALISTIC), (2, WILD)):
    anatomy = draw_anatomy(generator(9, seed), ranges=ranges)
    tissue = rasterize(anatomy, grid_affine((6.1, 5.9, 8.3), (-150.0, -120.0, -90.0)), (49, 42, 21))
    digest.update(tissue.hu.tobytes() + tissue.heart.tobytes())
    for artery in anatomy.coronaries.values():
        digest.update(artery.points.tobytes() + artery.radii.tobytes())
    for name in sorted(anatomy.landmarks):
        digest.update(anatomy.landmarks[name].tobytes())
print(digest.hexdigest())
"""


@pytest.mark.slow
def test_every_processor_gives_the_same_bytes():
    hashes = set(outputs_at_dispatch_levels(HASH))
    assert len(hashes) == 1
