"""What a background must say of itself, and which scans are refused."""

from __future__ import annotations

import numpy as np
import pytest

from coronet.errors import InputError, UnsuitableScan
from coronet.io.volume import Volume, write_nifti
from coronet.real_backgrounds.backgrounds import find_backgrounds, read_background


def test_a_background_is_read(folder, chest):
    (file,) = find_backgrounds(folder)
    found = read_background(file)
    assert (file.name, file.patient) == ("chest", "background-chest")
    assert found.thickness_mm == 2.5
    assert np.array_equal(found.heart, chest.heart.array > 0)
    assert np.array_equal(found.ct.array, np.maximum(chest.ct.array, -1024))


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"licence": None}, 'the key "licence" is missing'),
        ({"licence": " "}, "licence is empty"),
        ({"licence": "CC BY-NC 3.0"}, "could not be passed on"),
        ({"coronary_calcium": "some"}, "coronary_calcium"),
        ({"license": "CC BY 4.0"}, 'nearest is "licence"'),
    ],
)
def test_facts_that_are_refused(folder, rewrite, facts, words):
    rewrite(**facts)
    with pytest.raises(InputError, match=words):
        find_backgrounds(folder)


def test_a_scan_without_its_file_is_refused(folder):
    (folder / "chest.json").rename(folder / "other.json.txt")
    with pytest.raises(InputError, match=r"no chest.json beside it says"):
        find_backgrounds(folder)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no backgrounds"):
        find_backgrounds(tmp_path)


def test_a_missing_heart_mask_names_the_remedy(folder):
    (folder / "chest_heart.nii.gz").unlink()
    (file,) = find_backgrounds(folder)
    with pytest.raises(InputError, match="--heart-model"):
        read_background(file)


def test_contrast_agent_is_refused(folder, chest):
    blood = (chest.heart.array > 0) & (chest.ct.array > 0)
    write_nifti(folder / "chest.nii.gz", chest.ct.with_array(chest.ct.array + np.int16(200) * blood), level=1)
    (file,) = find_backgrounds(folder)
    with pytest.raises(UnsuitableScan, match="contrast agent"):
        read_background(file)


def test_a_cut_heart_is_refused(folder, chest):
    middle = int(np.argwhere(chest.heart.array)[:, 2].mean())
    for name, volume in (("chest", chest.ct), ("chest_heart", chest.heart)):
        write_nifti(folder / f"{name}.nii.gz", Volume(volume.array[:, :, middle:], volume.affine), level=1)
    (file,) = find_backgrounds(folder)
    with pytest.raises(UnsuitableScan, match="heart"):
        read_background(file)


def test_tilted_slices_are_refused(folder, chest):
    affine = chest.ct.affine.copy()
    affine[1, 2] = 0.3 * affine[2, 2]
    for name, volume in (("chest", chest.ct), ("chest_heart", chest.heart)):
        write_nifti(folder / f"{name}.nii.gz", Volume(volume.array, affine), level=1)
    (file,) = find_backgrounds(folder)
    with pytest.raises(InputError, match="tilted"):
        read_background(file)


def test_a_turned_scan_keeps_its_world(folder, chest):
    angle = np.radians(4.0)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    for name, volume in (("chest", chest.ct), ("chest_heart", chest.heart)):
        write_nifti(folder / f"{name}.nii.gz", Volume(volume.array, turn @ volume.affine), level=1)
    (file,) = find_backgrounds(folder)
    found = read_background(file)
    grid = found.ct.affine
    assert np.array_equal(grid[:3, :3], np.diag(np.diag(grid)[:3]))
    index = np.asarray([10.0, 20.0, 30.0, 1.0])
    place = found.to_world((grid @ index)[None, :3])[0]
    assert place == pytest.approx((turn @ chest.ct.affine @ index)[:3], abs=1e-3)
