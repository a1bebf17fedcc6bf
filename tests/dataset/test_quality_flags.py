"""Flags of real scans, whole and cut, and of values that are no HU."""

from __future__ import annotations

import time

import numpy as np
import pytest

from coronet.dataset.quality_flags import FLAGS, UNFIT, quality_flags
from coronet.io.reader import read_scan
from coronet.io.scan_facts import ScanFacts
from coronet.io.volume import Volume

FACTS = ScanFacts(patient="", source="nifti")

REAL = [
    ("lung1_001", ()),
    ("lung_dx_a0002/B40f", ("thick_slices",)),
    ("lung_dx_a0002/B70f", ("thick_slices",)),
    ("lidc_3mm/0187_img.nrrd", ()),
    ("lidc_3mm/0506_img.nrrd", ()),
    ("lidc_3mm/0909_img.nrrd", ()),
    # 49 of 215 slices, but the whole heart is among them
    ("acrin_flt_013", ()),
    ("slicer_ctchest/CTChest4.nrrd", ("thick_slices",)),
    ("totalseg_ref/pulmonary_report/models/ct_cropped.nii.gz", ("contrast",)),
    ("totalseg_ref/example_ct_dicom", ("contrast", "no_heart_in_view", "incomplete")),
    ("totalseg_ref/example_ct_sm.nii.gz", ("no_heart_in_view", "incomplete")),
    ("import_oddities/lungmask_2slices", ("no_heart_in_view", "incomplete")),
    ("import_oddities/panimg/dicom_enhanced", ("no_heart_in_view", "incomplete")),
    ("import_oddities/xz_reformat_volumes", ("no_heart_in_view",)),
]


@pytest.mark.parametrize(("name", "flags"), REAL, ids=[row[0] for row in REAL])
def test_flags_of_real_scans(real_data, name, flags):
    scan = read_scan(real_data / name)
    assert quality_flags(scan.volume, scan.facts) == flags
    assert set(flags) <= set(FLAGS)


def test_flags_take_a_fraction_of_a_second(real_data):
    scan = read_scan(real_data / "lung1_001")
    start = time.process_time()
    quality_flags(scan.volume, scan.facts)
    assert time.process_time() - start < 0.5


@pytest.fixture(scope="module")
def chest(real_data) -> Volume:
    return read_scan(real_data / "lidc_3mm" / "0506_img.nrrd").volume


@pytest.mark.parametrize(
    "change",
    [
        lambda hu: hu + 1024,
        lambda hu: np.maximum(hu.astype(int) - 1024, -1024).astype(np.int16),
        lambda hu: (hu.astype(np.float32) + 1024) / 8,
        np.abs,
        lambda hu: np.clip(hu, -160, 240),
    ],
    ids=["offset lost", "offset twice", "scaled", "magnitude", "windowed"],
)
def test_values_that_are_no_hu(chest, change):
    assert quality_flags(chest.with_array(change(chest.array)), FACTS) == ("not_hu",)


def test_magnetic_resonance_as_nifti_is_no_hu(real_data):
    folder = real_data / "import_oddities" / "dicom2nifti_failing" / "slicecount"
    assert "not_hu" in quality_flags(read_scan(folder / "001_ground_truth.nii.gz").volume, FACTS)


@pytest.mark.parametrize(("blood", "contrast"), [(180, None), (300, None), (300, False)])
def test_bright_blood_is_contrast_whatever_the_header_leaves_open(real_data, chest, blood, contrast):
    from coronet.io.masks import read_mask

    heart = read_mask(real_data / "lidc_3mm" / "0506_msk.nrrd", chest, labels=(1, 3)).labels > 0
    bright = np.where(heart, chest.array + np.int16(blood - 40), chest.array)
    facts = ScanFacts(patient="", source="dicom", contrast=contrast)
    assert quality_flags(chest.with_array(bright), facts) == ("contrast",)


def test_contrast_in_the_header_counts_alone(chest):
    facts = ScanFacts(patient="", source="dicom", contrast=True)
    assert quality_flags(chest, facts) == ("contrast",)


@pytest.mark.parametrize(("low", "high"), [(45, 100), (0, 45), (35, 60)], ids=["bottom", "top", "short"])
def test_a_cut_heart_is_incomplete(chest, low, high):
    """The heart of this scan lies in slices 21 to 59."""
    affine = chest.affine.copy()
    affine[2, 3] += 3.0 * low
    assert "incomplete" in quality_flags(Volume(chest.array[:, :, low:high], affine), FACTS)


def test_a_score_is_forbidden_by_all_but_thick_slices():
    assert set(FLAGS) - set(UNFIT) == {"thick_slices"}
