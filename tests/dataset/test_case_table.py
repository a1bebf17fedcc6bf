from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import pytest

from coronet.dataset.case_measures import measure_image
from coronet.dataset.case_table import describe_cases, left_out, read_alike, read_table, write_table
from coronet.dataset.cases import mask_path, scan_path, write_facts
from coronet.dataset.chest_signature import chest_signature
from coronet.dataset.duplicates import find_duplicates
from coronet.dataset.quality_flags import FLAGS, UNFIT
from coronet.errors import InputError
from coronet.io.scan_facts import ScanFacts
from coronet.io.volume import Volume, grid_affine, write_nifti

SHAPE = (48, 48, 32)
AFFINE = grid_affine((5.0, 5.0, 4.0), (-120.0, -120.0, -60.0))


def write_case(data: Path, case: str, *, seed: int, facts: ScanFacts, masks: bool = True) -> None:
    """A body with noise, a heart of 12 × 12 × 10 voxels and two lesions, one of them faint and apart."""
    rng = np.random.default_rng(seed)
    hu = np.full(SHAPE, -1000)
    hu[6:42, 8:40] = 40
    hu[:2] = -2048
    hu = hu + rng.integers(-20, 21, SHAPE) * (hu > -2000)
    heart = np.zeros(SHAPE, np.uint8)
    heart[18:30, 18:30, 10:20] = 1
    calcium = np.zeros(SHAPE, np.uint8)
    calcium[20:22, 20, 12] = 2
    calcium[34, 24, 15] = 4
    hu[20:22, 20, 12] = (300, 129)
    hu[34, 24, 15] = 100
    write_nifti(scan_path(data, case), Volume(hu.astype(np.int16), AFFINE))
    write_facts(data, case, facts)
    if masks:
        write_nifti(mask_path(data, case, "heart"), Volume(heart, AFFINE))
        write_nifti(mask_path(data, case, "calcium"), Volume(calcium, AFFINE))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    write_case(folder, "a", seed=1, facts=ScanFacts("NA", "phantom", "B30f", 2.5, flags=("thick_slices",)))
    write_case(folder, "b", seed=2, facts=ScanFacts("p2", "dicom", flags=("contrast",)), masks=False)
    return folder


def test_one_row_a_scan(data):
    first, second = describe_cases(data, workers=1).to_dict("records")
    assert (first["case"], first["patient"], first["kernel"], first["flags"]) == (
        "a",
        "NA",
        "B30f",
        "heart_size thick_slices",
    )
    assert (first["nx"], first["ny"], first["nz"]) == SHAPE
    assert (first["spacing_x_mm"], first["spacing_y_mm"], first["spacing_z_mm"]) == (5, 5, 4)
    assert (first["width_mm"], first["depth_mm"], first["height_mm"]) == (240, 240, 128)
    assert (first["hu_min"], first["hu_max"], first["not_finite"]) == (-2048, 300, 0)
    assert first["padding_share"] == pytest.approx(2 / 48, abs=1e-3)
    assert -1020 <= first["air_hu"] <= -1000
    assert first["soft_tissue_hu"] == pytest.approx(40, abs=1)
    assert (first["heart_ml"], first["heart_labels"], first["heart_cut"]) == (144.0, "0 1", False)
    assert first["heart_air_share"] == 0
    assert (first["lesions"], first["faint_lesions"], first["calcium_labels"]) == (2, 1, "0 2 4")
    assert first["calcium_mm3"] == 100
    assert first["calcium_dense_share"] == pytest.approx(1 / 3, abs=1e-3)
    assert first["calcium_far_mm"] == 25
    assert not second["has_heart"]
    assert pandas.isna(second["heart_ml"]) and pandas.isna(second["lesions"])


def test_same_bytes_however_many_workers(data, tmp_path):
    write_table(tmp_path / "one.csv", describe_cases(data, workers=1))
    write_table(tmp_path / "two.csv", describe_cases(data, workers=2))
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


def test_what_was_written_is_read_with_its_types(data, tmp_path):
    table = describe_cases(data, workers=1)
    write_table(tmp_path / "cases.csv", table)
    pandas.testing.assert_frame_equal(read_table(tmp_path / "cases.csv"), table)


def test_content_is_told_from_packing_and_place(data, tmp_path):
    again = Volume(*vars(read_scan(data, "a")).values())
    moved = again.affine.copy()
    moved[:3, 3] += 7
    write_nifti(scan_path(data, "c"), Volume(again.array.astype(np.float32), moved), level=1)
    write_facts(data, "c", ScanFacts("p3", "nifti"))
    content = describe_cases(data, workers=1).set_index("case")["content"]
    assert content["a"] == content["c"] != content["b"]


def read_scan(data: Path, case: str) -> Volume:
    from coronet.io.volume import read_nifti

    return read_nifti(scan_path(data, case))


def test_what_may_not_be_scored_takes_no_part(data):
    reasons = {"a": "is flagged heart_size", "b": "is flagged contrast"}
    assert left_out(describe_cases(data, workers=1)) == reasons
    table = pandas.DataFrame({"case": [*FLAGS], "flags": [*FLAGS], "has_heart": True, "has_calcium": True})
    assert set(left_out(table)) == set(UNFIT)


def test_flags_are_found_where_none_are_recorded(data):
    write_case(data, "d", seed=4, facts=ScanFacts("p4", "nifti"))
    row = describe_cases(data, workers=1).set_index("case").loc["d"]
    assert "no_heart_in_view" in row["flags"].split()
    assert row["recorded_flags"] == ""


def test_progress_is_told(data):
    calls = []
    describe_cases(data, workers=1, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 2), (2, 2)]


def test_absent_and_foreign_tables_are_refused(tmp_path):
    with pytest.raises(InputError, match="dvc repro describe"):
        read_table(tmp_path / "cases.csv")
    (tmp_path / "cases.csv").write_text("case,patient\na,b\n")
    with pytest.raises(InputError, match="lacks the column source"):
        read_table(tmp_path / "cases.csv")


def test_alike():
    assert read_alike("a=0.1200 b-c.d=1.0000") == {"a": 0.12, "b-c.d": 1.0}
    assert read_alike("") == {}


def test_a_picture_does_not_depend_on_sampling(real_data):
    nrrd = pytest.importorskip("nrrd")
    array, _ = nrrd.read(str(real_data / "lidc_3mm" / "0187_img.nrrd"))
    whole = Volume(array.astype(np.int16), grid_affine((3.0, 3.0, 3.0), (0.0, 0.0, 0.0)))
    moved = Volume(whole.array, grid_affine((3.0, 3.0, 3.0), (50.0, -20.0, 9.0)))
    finer = Volume(np.repeat(whole.array, 2, axis=0), grid_affine((1.5, 3.0, 3.0), (-0.75, 0.0, 0.0)))
    assert np.array_equal(chest_signature(whole), chest_signature(moved))
    assert np.corrcoef(chest_signature(whole).ravel(), chest_signature(finer).ravel())[0, 1] > 0.995


def test_real_patients_are_no_copies_and_a_turned_one_is(real_data):
    from scipy import ndimage

    nrrd = pytest.importorskip("nrrd")
    affine = grid_affine((3.0, 3.0, 3.0), (0.0, 0.0, 0.0))
    scans = {
        name: nrrd.read(str(real_data / "lidc_3mm" / f"{name}_img.nrrd"))[0].astype(np.float32)
        for name in ("0187", "0506", "0909")
    }
    scans["twin"] = ndimage.gaussian_filter(
        ndimage.rotate(scans["0506"], 8, axes=(0, 1), reshape=False, order=1, cval=-1024)[::-1], 0.5
    )
    pictures = [chest_signature(Volume(array, affine)) for array in scans.values()]
    distances = {
        (pair.first, pair.second): pair.distance
        for pair in find_duplicates(list(scans), pictures, list(scans))
    }
    assert distances.pop(("0506", "twin")) < 0.55
    assert min(distances.values()) > 0.7


def test_air_is_measured_where_a_scan_holds_some():
    """A narrow field of view may show nothing darker than lung; air at wrong HU is air all the same."""
    rng = np.random.default_rng(0)
    hu = rng.normal(40, 15, (64, 64, 64))
    hu[:24] = rng.normal(-780, 70, (24, 64, 64))
    affine = grid_affine((3.0, 3.0, 3.0), (0.0, 0.0, 0.0))

    def air_hu(values):
        return measure_image(Volume(np.asfortranarray(values.round().astype(np.int16)), affine)).air_hu

    assert air_hu(hu) is None
    hu[:12] = rng.normal(-1000, 12, (12, 64, 64))
    assert air_hu(hu) == pytest.approx(-1015, abs=10)
    assert air_hu(hu * 0.7) == pytest.approx(-710, abs=10)
