"""Prepared cases: which, where, and always the same bytes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from coronet import config
from coronet.dataset.cases import find_cases, mask_path, scan_path, write_facts
from coronet.errors import InputError, StageError
from coronet.fingerprint import hash_tree
from coronet.io.scan_facts import DEPOSITED, ScanFacts
from coronet.io.volume import Volume, grid_affine, write_nifti
from coronet.preprocessing.network_input import heart_input, network_target
from coronet.preprocessing.prepared_store import (
    FAR,
    load_prepared,
    prepare_model,
    prepared_attributions,
    prepared_cases,
    prepared_scans,
    prepared_sources,
)
from coronet.training.sampling import WindowSampler, find_anchors
from worker_threads import worker_threads

PARAMS = config.load_params()


class Parts:
    """A split by name."""

    def cases(self, part: str) -> tuple[str, ...]:
        return {"train": ("a", "b"), "tune": ("c",), "test": ("d",)}[part]


def write_case(data, name, *, calcium=True, centre=(40, 40, 20)) -> None:
    shape, spacing = (80, 80, 40), (2.0, 2.0, 3.0)
    affine = grid_affine(spacing, (-80.0, -80.0, 0.0))
    places = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    heart = np.linalg.norm((places - centre) * spacing, axis=-1) < 40
    hu = np.where(heart, 40, -800).astype(np.int16)
    spot = np.zeros(shape, np.uint8)
    spot[55:58, 40:43, 20:22] = 2
    hu[spot > 0] = 500
    hu[40, 40, 20] = 400
    hu[:3] = -3024
    write_nifti(scan_path(data, name), Volume(hu, affine))
    write_nifti(mask_path(data, name, "heart"), Volume(heart.astype(np.uint8), affine))
    if calcium:
        write_nifti(mask_path(data, name, "calcium"), Volume(spot, affine))
    write_facts(data, name, ScanFacts(patient=name, source="phantom"))


@pytest.fixture
def data(tmp_path):
    for name in "abcd":
        write_case(tmp_path / "data", name)
    return tmp_path / "data"


def prepare(model, data, out):
    with worker_threads():
        return prepare_model(model, find_cases(data), Parts(), PARAMS, out)


@pytest.mark.parametrize("model", ["heart", "calcium"])
def test_the_same_scans_give_the_same_bytes(data, tmp_path, model):
    beside = prepare_model(model, find_cases(data), Parts(), PARAMS, tmp_path / "two", workers=2)
    assert hash_tree(beside) == hash_tree(prepare(model, data, tmp_path / "one"))


def test_test_cases_are_never_opened(data, tmp_path):
    for path in (scan_path(data, "d"), mask_path(data, "d", "heart"), mask_path(data, "d", "calcium")):
        path.write_bytes(b"not to be read")
    out = prepare("heart", data, tmp_path / "out")
    assert prepared_cases(out, "train") == ("a", "b")
    assert prepared_cases(out, "tune") == ("c",)
    assert {path.stem for path in out.glob("*.safetensors")} == {"a", "b", "c"}
    assert prepared_sources(out, ("a", "b")) == {"phantom": 2}


def test_the_heart_input_covers_the_scan_and_pads_with_air(data, tmp_path):
    out = prepare("heart", data, tmp_path / "out")
    case = load_prepared(out, ("a",), PARAMS.heart.input)[0]
    assert case.grid.spacing_mm == pytest.approx((5.6, 5.6, 5.0))
    assert case.hu.min() == -1024
    heart_mm3 = case.target.sum() / 255 * 5.6 * 5.6 * 5.0
    assert heart_mm3 == pytest.approx(4 / 3 * np.pi * 40**3, rel=0.03)


@pytest.mark.parametrize("side_mm", [-60.0, 0.0, 60.0])
def test_air_and_table_beside_the_trunk_are_cut_off(side_mm):
    shape, spacing = (250, 250, 40), (2.0, 2.0, 3.0)
    affine = grid_affine(spacing, (-250.0 + side_mm, -250.0, 0.0))
    x, y, z = (np.arange(n) * s + o for n, s, o in zip(shape, spacing, affine[:3, 3], strict=True))
    x, y, z = np.meshgrid(x, y, z, indexing="ij", sparse=True)
    trunk = (x / 160) ** 2 + (y / 110) ** 2 + 0 * z < 1
    heart = (x - 20) ** 2 + (y - 30) ** 2 + (z - 60) ** 2 < 45**2
    table = (abs(x) < 210) & (abs(y + 130) < 6) & (z > -1)
    hu = np.where(trunk | table, 30, -1000).astype(np.int16)
    spec = PARAMS.heart.input
    seen = heart_input(Volume(hu, affine), spec)
    assert seen.hu.shape == seen.grid.shape == (64, 64, 24)
    found = network_target(heart, Volume(hu, affine), seen.grid, model="heart")
    assert found.sum() / 255 * np.prod(spec.spacing_mm) == pytest.approx(4 / 3 * np.pi * 45**3, rel=0.01)
    assert np.count_nonzero(seen.hu > -300) * np.prod(spec.spacing_mm) >= trunk.sum() * np.prod(spacing)


def test_a_scan_of_air_alone_is_seen_whole():
    ct = Volume(np.full((100, 100, 20), -1000, np.int16), grid_affine((5.6, 5.6, 5.0), (0.0, 0.0, 0.0)))
    assert heart_input(ct, PARAMS.heart.input).hu.shape == (100, 100, 20)


def test_the_calcium_input_is_the_widened_heart_and_nothing_else(data, tmp_path):
    out = prepare("calcium", data, tmp_path / "out")
    case = load_prepared(out, ("a",), PARAMS.calcium.input)[0]
    assert case.grid.spacing_mm == pytest.approx((0.7, 0.7, 2.5))
    assert (case.hu[case.distance == FAR] == -1024).all()
    scored = case.within(PARAMS.calcium.input.margin_mm)
    assert scored.region.sum() < (case.distance < FAR).sum()
    assert (scored.hu[~scored.region] == -1024).all()
    assert case.hu.max() > 450
    assert case.target.max() == 255
    reach = (40 + PARAMS.calcium.input.margin_mm + PARAMS.calcium.augment.surface_mm) * 2
    assert max(case.hu.shape[0] * 0.7, case.hu.shape[1] * 0.7) < reach + 6
    anchors = find_anchors(case)
    assert len(anchors.lesions) == 1
    assert len(anchors.hard) == 1
    assert (case.hu[tuple(anchors.hard[0].voxels.T)] >= 130).all()


def test_a_case_without_its_mask_is_left_out_and_named(data, tmp_path):
    mask_path(data, "b", "calcium").unlink()
    out = prepare("calcium", data, tmp_path / "out")
    assert prepared_cases(out, "train") == ("a",)
    assert '"b"' in (out / "index.json").read_text()
    mask_path(data, "c", "calcium").unlink()
    with pytest.raises(InputError, match="No tune case"):
        prepare("calcium", data, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_an_empty_heart_and_a_foreign_grid_are_refused_by_name(data, tmp_path):
    affine = grid_affine((2.0, 2.0, 3.0), (-80.0, -80.0, 0.0))
    write_nifti(mask_path(data, "b", "heart"), Volume(np.zeros((80, 80, 40), np.uint8), affine))
    with pytest.raises(InputError, match="b: the heart mask is empty"):
        prepare("calcium", data, tmp_path / "out")
    write_nifti(mask_path(data, "b", "heart"), Volume(np.ones((80, 80, 39), np.uint8), affine))
    with pytest.raises(InputError, match="b_heart.nii.gz: its grid"):
        prepare("heart", data, tmp_path / "out")


def test_prepared_with_another_input_is_refused(data, tmp_path):
    out = prepare("heart", data, tmp_path / "out")
    other = dataclasses.replace(PARAMS.heart.input, spacing_mm=(3.0, 3.0, 3.0))
    with pytest.raises(StageError, match="spacing_mm"):
        load_prepared(out, ("a",), other)
    with pytest.raises(StageError, match="d is not among"):
        load_prepared(out, ("d",), PARAMS.heart.input)


def test_windows_are_drawn_where_the_parameters_say(data, tmp_path):
    out = prepare("calcium", data, tmp_path / "out")
    cases = load_prepared(out, ("a", "b"), PARAMS.calcium.input)

    def share(positives: float) -> float:
        sampling = dataclasses.replace(PARAMS.calcium.sampling, positives=positives, hard_negatives=0.0)
        sampler = WindowSampler(cases, dataclasses.replace(PARAMS.calcium, sampling=sampling), seed=0)
        return float(np.mean([bool((sampler.sample(0, index)[1] > 0.5).any()) for index in range(24)]))

    assert share(1.0) == 1.0
    assert share(0.0) < 0.8


def test_the_surface_of_the_heart_is_not_given_away(data, tmp_path):
    out = prepare("calcium", data, tmp_path / "out")
    (case,) = load_prepared(out, ("a",), PARAMS.calcium.input)
    cases = (dataclasses.replace(case, hu=np.where(case.distance < FAR, 40, -1024).astype(np.int16)),)

    def seen(surface_mm: float) -> list[int]:
        still = {"rotation_deg": 0.0, "zoom": (1.0, 1.0), "elastic_mm": 0.0, "blur_mm": 0.0, "noise_hu": 0.0}
        augment = dataclasses.replace(
            PARAMS.calcium.augment, gamma=(1.0, 1.0), surface_mm=surface_mm, shift_mm=0.0, **still
        )
        input_ = dataclasses.replace(PARAMS.calcium.input, shape=cases[0].hu.shape)
        # of one level, since the shape of a whole case can be halved by none
        network = dataclasses.replace(PARAMS.calcium.network, encoder="plain", channels=(8,))
        params = dataclasses.replace(PARAMS.calcium, input=input_, augment=augment, network=network)
        sampler = WindowSampler(cases, params, seed=1)
        return [int((sampler.sample(0, index)[0] > -1).sum()) for index in range(6)]

    assert len(set(seen(0.0))) == 1
    assert len(set(seen(5.0))) == 6
    assert min(seen(5.0)) < seen(0.0)[0] < max(seen(5.0))


def test_metal_is_in_the_share_of_windows_asked_for_and_in_no_mask(data, tmp_path):
    out = prepare("calcium", data, tmp_path / "out")
    (case,) = load_prepared(out, ("a",), PARAMS.calcium.input)
    empty = dataclasses.replace(
        case,
        hu=np.full_like(case.hu, 40),
        target=np.zeros_like(case.target),
        distance=np.zeros_like(case.distance),
    )

    def share(metal: float) -> float:
        augment = dataclasses.replace(PARAMS.calcium.augment, metal=metal, blur_mm=0.0, noise_hu=0.0)
        sampler = WindowSampler((empty,), dataclasses.replace(PARAMS.calcium, augment=augment), seed=3)
        samples = [sampler.sample(0, index) for index in range(40)]
        assert not any(target.any() for _, target in samples)
        return float(np.mean([float(image.max() - image.median()) > 0.1 for image, _ in samples]))

    assert share(0.0) == 0.0
    assert 0.2 < share(0.4) < 0.6
    assert share(1.0) == 1.0


def test_a_sample_depends_on_seed_epoch_and_index_alone(data, tmp_path):
    out = prepare("calcium", data, tmp_path / "out")
    cases = load_prepared(out, ("a", "b"), PARAMS.calcium.input)
    one = WindowSampler(cases, PARAMS.calcium, seed=5)
    two = WindowSampler(cases, PARAMS.calcium, seed=5)
    two.sample(0, 3)
    assert all((a == b).all() for a, b in zip(one.sample(7, 11), two.sample(7, 11), strict=True))
    assert not (one.sample(7, 11)[0] == one.sample(8, 11)[0]).all()


def test_drawn_calcium_teaches_no_hearts_and_names_its_scan(data, tmp_path):
    said = ScanFacts("b", DEPOSITED, attribution="By somebody (CC BY 4.0)", drawn_into="f" * 64)
    write_facts(data, "b", said)
    folders = {
        model: prepare_model(model, find_cases(data), Parts(), PARAMS, tmp_path / model, workers=1)
        for model in ("heart", "calcium")
    }
    assert prepared_cases(folders["heart"], "train") == ("a",)
    assert prepared_cases(folders["calcium"], "train") == ("a", "b")
    assert prepared_attributions(folders["calcium"], "ab") == ("By somebody (CC BY 4.0)",)
    assert prepared_attributions(folders["calcium"], "a") == ()
    assert "f" * 64 in prepared_scans(folders["calcium"], "b")
    assert prepared_sources(folders["calcium"], "ab") == {DEPOSITED: 1, "phantom": 1}
