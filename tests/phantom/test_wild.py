"""Wild phantoms: what they reach beyond the realistic ones, and that the two never mix unseen."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import cc3d
import numpy as np
import pytest

from coronet.errors import InputError
from coronet.files import read_json
from coronet.io.volume import grid_affine
from coronet.phantom.acquisition_protocols import (
    SCANNER_KERNELS,
    WILD_PROTOCOLS,
    ScanSettings,
    draw_settings,
)
from coronet.phantom.anatomy import draw_anatomy
from coronet.phantom.annotated_cohort import make_cohort
from coronet.phantom.cohort import is_whole, truth_path
from coronet.phantom.confounders import CONFOUNDERS, draw_confounders
from coronet.phantom.curves import Tube, norms
from coronet.phantom.deposits import Deposit, share_of_voxels, true_volume_mm3
from coronet.phantom.lesion_sites import find_sites
from coronet.phantom.lesions import burden_of, draw_lesions
from coronet.phantom.lung_disease import LungDisease, draw_lung_disease
from coronet.phantom.patients import Window, make_case, plan
from coronet.phantom.plaque_ranges import WILD_PLAQUES
from coronet.phantom.random_draws import generator
from coronet.phantom.ranges import WILD
from coronet.phantom.rasterize import rasterize
from coronet.phantom.scanner import scan
from coronet.phantom.scanner_artifacts import is_metal
from coronet.phantom.wild_confounders import WILD_CONFOUNDERS
from worker_threads import worker_threads

TINY = Window(matrix=96, field_mm=180.0, below_mm=(2.0, 4.0), length_mm=(135.0, 140.0))
SMALL = Window(matrix=160, field_mm=190.0, below_mm=(6.0, 12.0), length_mm=(135.0, 145.0))


@pytest.fixture(scope="module")
def sites():
    return find_sites(draw_anatomy(generator(1), ranges=WILD))


@pytest.fixture(scope="module")
def patients(sites):
    """Plaques of 60 wild patients on one heart."""
    burdens = [burden_of(generator(7, i // 12), i % 12, WILD_PLAQUES) for i in range(60)]
    return [
        draw_lesions(generator(2, i), sites.vessels, burden=burden, ranges=WILD_PLAQUES)
        for i, burden in enumerate(burdens)
    ]


@pytest.fixture(scope="module")
def cases():
    return [make_case(11, index, ranges="wild", window=SMALL) for index in range(8)]


def write(data, **more):
    with worker_threads():
        return make_cohort(data, **{"cases": 2, "seed": 3, "workers": 1, "window": TINY} | more)


def test_plaques_reach_far_beyond_those_of_screening(patients):
    plaques = [plaque for patient in patients for plaque in patient]
    volumes = [true_volume_mm3(plaque) for plaque in plaques]
    lengths = [norms(plaque.centres_mm - plaque.centres_mm[0]).max() for plaque in plaques]
    assert 1500 < max(volumes) < 2700
    assert max(sum(map(true_volume_mm3, patient)) for patient in patients) > 3000
    assert 4.0 < max(float(plaque.radii_mm.max()) for plaque in plaques) <= 4.5
    assert max(float(plaque.hu.max()) for plaque in plaques) > 1500
    assert max(lengths) > 50
    assert {plaque.shape for plaque in plaques} == {"spot", "arc", "track", "nugget", "sleeve"}


def test_faint_and_small_plaques_and_empty_vessels_stay(patients):
    plaques = [plaque for patient in patients for plaque in patient]
    assert sum(true_volume_mm3(plaque) < 15 for plaque in plaques) >= 5
    assert sum(float(plaque.hu.max()) < 300 for plaque in plaques) >= 10
    assert sum(not patient for patient in patients) == 10


def test_large_plaques_touch_the_aortic_root(sites, patients):
    def from_ostium(plaque) -> float:
        return float(norms(plaque.centres_mm - sites.vessels[plaque.vessel].points[0]).min())

    large = [plaque for patient in patients for plaque in patient if true_volume_mm3(plaque) > 100]
    ostial = [plaque for plaque in large if plaque.vessel in ("RCA", "LM") and from_ostium(plaque) < 4.0]
    assert len(ostial) >= 5


def test_nothing_of_calcium_passes_for_metal(sites, patients):
    assert not any(is_metal(plaque) for patient in patients for plaque in patient)
    metal = {kind for kind, confounder in WILD_CONFOUNDERS.items() if confounder.label == "metal"}
    for seed in range(40):
        for deposit in draw_confounders(generator(7, seed), sites, diseased=True, kinds=WILD_CONFOUNDERS):
            assert is_metal(deposit) == (deposit.kind in metal)
            assert np.isfinite(deposit.centres_mm).all() and (deposit.radii_mm > 0).all()


def test_wild_confounders_are_of_more_kinds_and_larger(sites):
    assert set(WILD_CONFOUNDERS) > set(CONFOUNDERS)

    def largest(kind: str, confounder) -> float:
        drawn = [deposit for seed in range(12) for deposit in confounder.draw(generator(6, seed), sites)]
        return max(float(norms(deposit.centres_mm - deposit.centres_mm[0]).max()) for deposit in drawn)

    for kind in ("aortic_wall", "aortic_valve", "mitral_annulus", "node", "pericardial_plate"):
        assert largest(kind, WILD_CONFOUNDERS[kind]) > 1.2 * largest(kind, CONFOUNDERS[kind])


def test_stents_and_clips_lie_at_plaques(sites):
    plaques = draw_lesions(generator(4), sites.vessels, burden="high", ranges=WILD_PLAQUES)
    diseased = dataclasses.replace(sites, plaques=plaques)
    places = np.concatenate([plaque.centres_mm for plaque in plaques])
    for kind in ("stent", "clip"):
        drawn = [d for seed in range(20) for d in WILD_CONFOUNDERS[kind].draw(generator(5, seed), diseased)]
        nearest = [min(float(norms(places - point).min()) for point in one.centres_mm[::5]) for one in drawn]
        assert sum(gap < 15 for gap in nearest) > 0.25 * len(nearest)


def test_scanners_reach_beyond_those_of_screening():
    drawn = [
        draw_settings(
            generator(8, i), z_range_mm=(-140.0, 140.0), ranges=WILD_PROTOCOLS, heart_mm=(-20.0, 5.0)
        )
        for i in range(300)
    ]
    fields = [one.spacing_mm[0] * one.shape[0] for one in drawn]
    assert min(fields) < 215 and max(fields) > 480
    assert max(one.spacing_mm[2] for one in drawn) == 5.0
    assert min(one.noise_hu for one in drawn) < 10 and max(one.noise_hu for one in drawn) > 90
    assert 0.3 < np.mean([one.iterative > 0 for one in drawn]) < 0.5
    assert max(one.beat for one in drawn) > 2.4
    assert {one.padding_hu for one in drawn} == {None, -1024, -2048, -3024}
    for one, field in zip(drawn, fields, strict=True):
        middle = one.origin_mm[0] + one.spacing_mm[0] * (one.shape[0] - 1) / 2
        assert field >= 320 or abs(middle + 20.0) < 9.0


def test_iterative_reconstruction_smooths_noise_and_keeps_edges():
    def slices(iterative: float) -> np.ndarray:
        water = np.full((16, 128, 128), 40.0, np.float32).T
        water[80:] = 600.0
        chosen = ScanSettings(
            kernel=SCANNER_KERNELS["STANDARD"],
            thickness_mm=2.5,
            spacing_mm=(0.7, 0.7, 2.5),
            shape=(128, 128, 16),
            origin_mm=(-44.0, -44.0, -20.0),
            noise_hu=20.0,
            modulation=0.5,
            padding_hu=None,
            offset_hu=0.0,
            cupping_hu=0.0,
            beat=0.0,
            iterative=iterative,
        )
        box = (slice(40, 88), slice(40, 88), slice(4, 12))
        return scan(water, [], chosen, heart_box=box, rng=generator(2)).volume.array.astype(float)

    def neighbours(hu: np.ndarray) -> float:
        part = hu[10:60, 10:118] - hu[10:60, 10:118].mean()
        return float((part[:, 2:] * part[:, :-2]).mean() / part.var())

    plain, smooth = slices(0.0), slices(0.9)
    assert smooth[10:60, 10:118].std() < 0.8 * plain[10:60, 10:118].std()
    assert neighbours(smooth) > neighbours(plain) + 0.2
    step = smooth[:, 20:108].mean(axis=(1, 2))
    assert step[82] - step[77] > 0.8 * (600 - 40)


def test_a_vessel_that_moves_on_a_bow_keeps_its_substance():
    one = Deposit(
        "", "coronary", "RCA", "spot", np.zeros((1, 3)), np.asarray([2.0]), np.asarray([800.0]),
        motion_mm=(3.2, 0.4, 0.3), bow_mm=(-0.3, 2.4, 0.0),
    )  # fmt: skip
    share = share_of_voxels(
        one, grid_affine((0.7, 0.7, 2.5), (-44, -44, -20)), (128, 128, 16), thickness_mm=2.5, margin=3
    )
    assert share is not None
    assert float(share.filled.sum()) * 0.7 * 0.7 * 2.5 == pytest.approx(true_volume_mm3(one), rel=0.03)


def test_lungs_of_wild_phantoms_are_diseased_in_many_ways():
    marks = draw_anatomy(generator(1), ranges=WILD).landmarks
    drawn = [draw_lung_disease(generator(3, seed), marks) for seed in range(60)]
    for kind in ("bullae", "consolidated", "tumours"):
        assert 4 <= sum(bool(getattr(one, kind)) for one in drawn) <= 30
    assert sum(not (one.bullae or one.consolidated or one.tumours) for one in drawn) > 15


def test_consolidation_fills_lung_and_nothing_else():
    anatomy = draw_anatomy(generator(1), ranges=WILD)
    filled = LungDisease((), (Tube(np.zeros((2, 3)), np.asarray([140.0, 140.0])),), 30.0, (), 0.0)
    affine = grid_affine((6.0, 6.0, 8.0), (-180.0, -140.0, -60.0))
    healthy = rasterize(anatomy, affine, (60, 48, 15))
    diseased = rasterize(dataclasses.replace(anatomy, lung_disease=filled), affine, (60, 48, 15))
    changed = np.abs(diseased.hu - healthy.hu) > 1
    assert changed.mean() > 0.1
    assert np.mean(healthy.hu[changed] > 100) < 0.02  # edges of ribs share their voxels with lung
    assert np.array_equal(healthy.heart, diseased.heart)
    assert np.median(diseased.hu[(healthy.hu < -500) & changed]) == pytest.approx(30.0, abs=40.0)


def test_the_mask_rule_holds(cases):
    assert {case.truth["burden"] for case in cases} >= {"none", "extreme"}
    for case in cases:
        mask, labels = case.calcium.array, {"LM": 1, "LAD": 2, "LCX": 3, "RCA": 4}
        assert (case.ct.array[mask > 0] >= 130).all()
        visible = {labels[lesion["vessel"]] for lesion in case.truth["lesions"] if lesion["visible"]}
        assert visible == set(np.unique(mask)) - {0}
        assert sum(lesion["voxels"] for lesion in case.truth["lesions"]) == np.count_nonzero(mask)
        parts = cc3d.connected_components(mask > 0, connectivity=26)
        assert mask.any() == (case.truth["burden"] != "none" and bool(visible))
        assert (np.bincount(parts.ravel())[1:] >= 3).all()
        assert case.truth["ranges"] == "wild"


REALISTIC_BYTES = {
    (61, 0): "0c2c9bdaccdbe9a33dfdd8eb5af06d6a2bd7e870cef3e114bcc1140223a1d41b",
    (5, 7): "be47603149668281dc2782db170a617a7cb5bf70fdf7ee600e6cb2ff5d94470c",
}
"""sha256 of scan, heart and calcium of cases, by seed and index; `data.dvc` pins the cohort of the first."""


@pytest.mark.parametrize("case", REALISTIC_BYTES)
def test_realistic_phantoms_keep_their_bytes(case):
    made = make_case(*case, window=Window(96, 180.0, (2.0, 4.0), (110.0, 112.0)))
    parts = [volume.array.tobytes(order="F") for volume in (made.ct, made.heart, made.calcium)]
    assert hashlib.sha256(b"".join(parts)).hexdigest() == REALISTIC_BYTES[case]
    assert made.truth["ranges"] == "realistic"


def test_mixed_cohorts_take_about_half_of_the_patients_from_each():
    slots = plan(5, 400, "mixed")
    assert 0.4 < np.mean([slot.ranges == "wild" for slot in slots]) < 0.6
    assert plan(5, 60, "mixed") == slots[:60]
    assert all(slot.ranges == slots[i - 1].ranges for i, slot in enumerate(slots) if slot.round)
    assert [slot.index for slot in plan(5, 9, "wild")] == list(range(9))
    assert {slot.case_id for slot in plan(5, 9, "wild")}.isdisjoint(slot.case_id for slot in plan(5, 9))


def test_a_rerun_keeps_wild_cases_and_other_ranges_are_refused(tmp_path):
    data = tmp_path / "data"
    write(data, cases=1, ranges="wild")
    scan = data / "ct" / "wild-0001.nii.gz"
    stamp, bytes_before = scan.stat().st_mtime_ns, scan.read_bytes()
    slot = plan(3, 1, "wild")[0]
    assert read_json(truth_path(data, "wild-0001"))["ranges"] == "wild"
    assert is_whole(data, slot, seed=3)
    write(data, cases=1, ranges="wild")
    assert scan.stat().st_mtime_ns == stamp
    with pytest.raises(InputError, match="wild-0001"):
        write(data, cases=1)
    write(data, cases=1, mix=True)
    assert scan.read_bytes() == bytes_before
    assert {path.name for path in (data / "ct").glob("*.nii.gz")} == {
        "phantom-0001.nii.gz",
        "wild-0001.nii.gz",
    }
    path = truth_path(data, "wild-0001")
    path.write_text(json.dumps(read_json(path) | {"ranges": "realistic"}))
    assert not is_whole(data, slot, seed=3)


def test_unknown_ranges_are_refused(tmp_path):
    with pytest.raises(InputError, match="realistic, wild or mixed"):
        write(tmp_path / "data", ranges="tame")
