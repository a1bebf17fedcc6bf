"""Calcium in real scans without any."""

from __future__ import annotations

import numpy as np
import pytest

from coronet.files import write_json
from coronet.io.reader import read_scan
from coronet.io.volume import Volume, write_nifti
from coronet.real_backgrounds.backgrounds import find_backgrounds, read_background
from coronet.real_backgrounds.deposited_cases import make_variant, study_background

pytestmark = pytest.mark.slow


def ellipsoid(
    ct: Volume, centre: tuple[float, float, float], half_mm: tuple[float, float, float]
) -> np.ndarray:
    """A heart mask by hand: bool, shape of ``ct``; the centre is a voxel index."""
    lines = [
        ((np.arange(size) - middle) * step / half) ** 2
        for size, middle, step, half in zip(ct.shape, centre, ct.spacing_mm, half_mm, strict=True)
    ]
    return lines[0][:, None, None] + lines[1][:, None] + lines[2] <= 1


def test_lidc_0002(real_data, tmp_path):
    ct = read_scan(real_data / "chest_ct" / "lidc_0002_2mm5.nii").volume
    # read off montages
    heart = ellipsoid(ct, (228, 325, 47), (56.0, 50.0, 54.0)) & (ct.array > -200)
    write_nifti(tmp_path / "lidc.nii.gz", ct, level=1)
    write_nifti(tmp_path / "lidc_heart.nii.gz", ct.with_array(heart), level=1)
    facts = {
        "scan": "lidc.nii.gz",
        "heart": "lidc_heart.nii.gz",
        "coronary_calcium": "none",
        "read_by": "montages, by eye",
        "source": "LIDC-IDRI-0002",
        "licence": "CC BY 3.0",
        "attribution": "LIDC-IDRI, The Cancer Imaging Archive",
    }
    write_json(tmp_path / "lidc.json", facts)
    (file,) = find_backgrounds(tmp_path)
    studied = study_background(read_background(file), seed=1)
    # GE's standard kernel
    assert studied.spread.origin == "edges"
    assert 0.4 < studied.spread.blur_mm < 0.9
    for tree in studied.trees:
        # arteries lie in fat, most of all the left main one
        assert tree.courses["LM"].fat_share > 0.3
        assert all(course.fat_share > 0.15 for course in tree.courses.values())
    case = make_variant(studied, 0, seed=1, burdens=("high",))
    before, after, mask = studied.background.ct.array, case.ct.array, case.calcium.array > 0
    assert mask.any()
    assert (after[mask] >= 130).all()
    assert np.count_nonzero(after != before) < 0.005 * after.size
