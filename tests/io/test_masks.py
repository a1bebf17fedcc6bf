"""Masks are placed exactly, resampled only where asked, or refused."""

from __future__ import annotations

from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydicom.sr.codedict import codes

from coronet.errors import InputError, UnreadableScan
from coronet.io import masks
from coronet.io.reader import read_scan
from coronet.io.volume import Volume, grid_affine
from segmentations import write_segmentation

SHAPE = (9, 8, 7)
GRID = Volume(np.zeros(SHAPE, np.int16), grid_affine((0.7, 0.8, 2.5), (-50.0, -60.0, 70.0)))


def labels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4, SHAPE).astype(np.uint8)


def read_mask(*arguments, **options) -> np.ndarray:
    return masks.read_mask(*arguments, **options).labels


def save(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


@given(
    order=st.permutations([0, 1, 2]),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    low=st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)),
    grown=st.integers(0, 3),
)
@settings(max_examples=25, deadline=None)
def test_turned_cropped_and_grown_masks_are_placed_exactly(tmp_path_factory, order, flips, low, grown):
    # What begins elsewhere and has as many voxels was not cropped: its position is wrong, and it is refused.
    assume(not any(start == 2 * grown > 0 for start in low))
    full = np.pad(labels(), grown)
    affine = GRID.affine.copy()
    affine[:3, 3] -= grown * np.array(GRID.spacing_mm)
    box = tuple(slice(start, None) for start in low)
    cropped = full[box]
    affine = affine @ nibabel.affines.from_matvec(np.eye(3), low)
    orientation = np.column_stack([np.argsort(order), [-1 if flip else 1 for flip in flips]])
    turned = nibabel.orientations.apply_orientation(cropped, orientation)
    turned_affine = affine @ nibabel.orientations.inv_ornt_aff(orientation, cropped.shape)
    path = save(tmp_path_factory.mktemp("m") / "m.nii.gz", turned, turned_affine)
    expected = np.zeros_like(full)
    expected[box] = cropped
    inner = tuple(slice(grown, grown + size) for size in SHAPE)
    assert np.array_equal(read_mask(path, GRID), expected[inner])


def test_another_grid_is_refused_or_resampled_when_asked(tmp_path):
    coarse = np.zeros((5, 4, 4), np.uint8)
    coarse[1:3, 1:3, 1:3] = 2
    affine = grid_affine((1.4, 1.6, 5.0), (-49.65, -59.6, 71.25))
    path = save(tmp_path / "m.nii", coarse, affine)
    with pytest.raises(InputError, match=r"another grid .*1.4 × 1.6 × 5 against 0.7 × 0.8 × 2.5"):
        read_mask(path, GRID)
    placed = read_mask(path, GRID, resample=True)
    expected = np.zeros(SHAPE, np.uint8)
    expected[2:6, 2:6, 2:6] = 2
    assert np.array_equal(placed, expected)


def test_a_shift_by_part_of_a_voxel_is_another_grid(tmp_path):
    affine = GRID.affine.copy()
    affine[0, 3] += 0.2
    with pytest.raises(InputError, match="another grid"):
        read_mask(save(tmp_path / "m.nii", labels(), affine), GRID)
    affine[0, 3] -= 0.19
    assert np.array_equal(read_mask(save(tmp_path / "m.nii", labels(), affine), GRID), labels())


def test_a_mask_of_another_place_is_refused(tmp_path):
    affine = GRID.affine.copy()
    affine[2, 3] += 2.5 * 5
    with pytest.raises(InputError, match="% of the mask lies outside the scan"):
        read_mask(save(tmp_path / "m.nii", labels(), affine), GRID)


@pytest.mark.parametrize(
    ("array", "gist"),
    [
        (labels().astype("f4") * 0.3, "no whole numbers"),
        (np.full(SHAPE, np.nan, "f4"), "504 of its values are NaN or infinite"),
        (labels().astype("i2") - 1, "run from -1 to 2"),
        (labels().astype("i2") * 100, "run from 0 to 300"),
    ],
)
def test_values_that_are_no_labels_are_refused(tmp_path, array, gist):
    with pytest.raises(InputError, match=gist):
        read_mask(save(tmp_path / "m.nii", array, GRID.affine), GRID)


def test_whole_numbers_stored_as_floats_are_labels(tmp_path):
    path = save(tmp_path / "m.nii", labels().astype("f8"), GRID.affine)
    assert np.array_equal(read_mask(path, GRID), labels())


def test_labels_are_chosen_by_number(tmp_path):
    path = save(tmp_path / "m.nii", labels(), GRID.affine)
    assert np.array_equal(read_mask(path, GRID, labels=(1, "3")), np.isin(labels(), (1, 3)))
    with pytest.raises(InputError, match="no label 7 in it; there are 1, 2, 3"):
        read_mask(path, GRID, labels=(1, 7))
    assert not read_mask(path, GRID, labels=(7,), absent_allowed=True).any()
    with pytest.raises(InputError, match="no label heart in it"):
        read_mask(path, GRID, labels=("heart",), absent_allowed=True)


def test_real_label_maps(real_data):
    grid = read_scan(real_data / "lidc_3mm" / "0506_img.nrrd").volume
    heart = read_mask(real_data / "lidc_3mm" / "0506_msk.nrrd", grid, labels=(1, 3))
    raw = nrrd.read(str(real_data / "lidc_3mm" / "0506_msk.nrrd"))[0]
    assert np.array_equal(heart[::-1, ::-1], np.isin(raw, (1, 3)))
    assert 583 < heart.sum() * grid.voxel_mm3 / 1000 < 930
    with pytest.raises(InputError, match="another grid"):
        read_mask(real_data / "lidc_3mm" / "0909_msk.nrrd", grid)


def test_a_real_mask_on_a_finer_grid_resamples_to_the_coarse_one(real_data):
    grid = read_scan(real_data / "lidc_3mm" / "0506_img.nrrd").volume
    fine = real_data / "lidc_native_masks" / "0506_msk.nrrd"
    coarse = read_mask(real_data / "lidc_3mm" / "0506_msk.nrrd", grid, labels=(1, 3))
    resampled = read_mask(fine, grid, labels=(1, 3), resample=True)
    assert 2 * (coarse & resampled).sum() / (coarse.sum() + resampled.sum()) > 0.98


def test_a_real_heart_on_a_larger_grid_is_cropped_to_its_scan(real_data):
    models = real_data / "totalseg_ref" / "pulmonary_report" / "models"
    grid = read_scan(models / "ct_cropped.nii.gz").volume
    heart = read_mask(models / "heart.nii.gz", grid)
    assert 400 < np.median(grid.array[heart > 0]) < 550
    assert np.median(grid.array[heart == 0]) < 0


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_segments_with_names_beyond_ascii_are_chosen_by_name(tmp_path, encoding):
    header = {
        "space": "left-posterior-superior",
        "space directions": np.diag([-0.7, -0.8, 2.5]),
        "space origin": [50.0, 60.0, 70.0],
        "Segment0_ID": "a",
        "Segment0_LabelValue": "1",
        "Segment0_Name": "Herzkranzgef@ss",
    }
    path = tmp_path / "m.seg.nrrd"
    nrrd.write(str(path), labels(), header)
    path.write_bytes(path.read_bytes().replace(b"gef@ss", "gefäss".encode(encoding), 1))
    for name in ("Herzkranzgefäss", "Herzkranzgefa\u0308ss"):
        assert np.array_equal(read_mask(path, GRID, labels=(name,)), labels() == 1)


def test_a_mask_whose_spacing_is_rounded_lies_within_its_scan(tmp_path):
    affine = GRID.affine.copy()
    affine[2, 2] *= 1.001
    assert not masks.read_mask(save(tmp_path / "m.nii", labels(), affine), GRID).warnings


def test_segments_of_a_real_seg_nrrd_are_chosen_by_name(real_data):
    folder = real_data / "slicer_ctchest"
    grid = read_scan(folder / "CTChest4.nrrd").volume
    right = read_mask(folder / "Segmentation.seg.nrrd", grid, labels=("Right lung",))
    left = read_mask(folder / "Segmentation.seg.nrrd", grid, labels=("left lung",))
    assert np.argwhere(right)[:, 0].mean() > np.argwhere(left)[:, 0].mean() + 30
    assert np.median(grid.array[right > 0]) < -800
    overlapping = folder / "SegmentationOverlapping.seg.nrrd"
    with pytest.raises(InputError, match=r'segments overlap.*"overlapping sphere"'):
        read_mask(overlapping, grid)
    sphere = read_mask(overlapping, grid, labels=("overlapping sphere",))
    both = read_mask(overlapping, grid, labels=("overlapping sphere", "right lung"))
    assert sphere.sum() < both.sum() <= sphere.sum() + right.sum()


def test_files_that_are_no_mask(real_data, tmp_path):
    with pytest.raises(UnreadableScan, match="0 DICOM segmentations"):
        read_mask(real_data / "import_oddities" / "seg_one_file_per_slice", GRID)
    with pytest.raises(UnreadableScan, match="no such file"):
        read_mask(tmp_path / "gone.nii", GRID)


def test_a_dicom_segmentation_lands_on_its_scan(tmp_path, write_dicom, picture):
    paths = write_dicom(tmp_path / "ct", picture((6, 16, 12)))
    grid = read_scan(tmp_path / "ct").volume
    drawn = np.zeros((6, 16, 12, 2), np.uint8)
    drawn[1:4, 3:7, 2:9, 0] = 1
    drawn[4, 8:10, 4:6, 1] = 1
    segments = [("heart", codes.SCT.Heart), ("calcium", codes.SCT.Heart)]
    write_segmentation(tmp_path / "ct" / "seg.dcm", paths, drawn, segments)
    heart = read_mask(tmp_path / "ct" / "seg.dcm", grid, labels=("heart",))
    assert np.array_equal(heart[::-1, ::-1].transpose(2, 1, 0), drawn[..., 0])
    both = read_mask(tmp_path / "ct", grid)
    assert np.array_equal(both[::-1, ::-1].transpose(2, 1, 0), drawn[..., 0] + 2 * drawn[..., 1])
    assert read_scan(tmp_path / "ct").volume.shape == grid.shape
