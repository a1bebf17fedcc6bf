"""Every orientation is read into RAS+, and a file has the same bytes each time."""

from __future__ import annotations

import gzip
import itertools

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from coronet.errors import UnreadableScan
from coronet.io.volume import Volume, grid_affine, read_nifti, write_nifti


@pytest.fixture
def volume():
    array = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    return Volume(array, grid_affine((0.7, 0.8, 2.5), (-10.0, 20.0, -300.0)))


@pytest.mark.parametrize("flips", list(itertools.product("RL", "AP", "SI")))
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_any_orientation_is_read_as_ras(tmp_path, volume, flips, order):
    codes = tuple(flips[axis] for axis in order)
    turn = ornt_transform(axcodes2ornt(("R", "A", "S")), axcodes2ornt(codes))
    stored = nibabel.orientations.apply_orientation(volume.array, turn)
    affine = volume.affine @ inv_ornt_aff(turn, volume.shape)
    nibabel.save(nibabel.Nifti1Image(stored, affine), tmp_path / "scan.nii")
    read = read_nifti(tmp_path / "scan.nii")
    assert read.same_grid(volume)
    np.testing.assert_array_equal(read.array, volume.array)


def test_round_trip_keeps_values_place_and_type(tmp_path, volume):
    write_nifti(tmp_path / "scan.nii.gz", volume)
    read = read_nifti(tmp_path / "scan.nii.gz")
    assert read.same_grid(volume)
    assert read.array.dtype == np.int16
    np.testing.assert_array_equal(read.array, volume.array)
    assert read.spacing_mm == pytest.approx((0.7, 0.8, 2.5), abs=1e-6)
    assert read.voxel_mm3 == pytest.approx(1.4, abs=1e-6)


def test_same_volume_gives_the_same_bytes(tmp_path, volume):
    for name in ("a", "b"):
        write_nifti(tmp_path / f"{name}.nii.gz", volume)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_scaled_values_are_read_as_hu(tmp_path):
    image = nibabel.Nifti1Image(np.array([[[0, 1024, 1154]]], dtype=np.int16), np.eye(4))
    image.header.set_slope_inter(1.0, -1024.0)
    nibabel.save(image, tmp_path / "scan.nii")
    stored = nibabel.load(tmp_path / "scan.nii")
    read = read_nifti(tmp_path / "scan.nii")
    np.testing.assert_array_equal(read.array, stored.get_fdata().astype(np.int16))


def test_damaged_and_flat_files_are_named(tmp_path, volume):
    (tmp_path / "broken.nii.gz").write_bytes(b"not an image")
    with pytest.raises(UnreadableScan, match=r"broken\.nii\.gz"):
        read_nifti(tmp_path / "broken.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4), np.int16), np.eye(4)), tmp_path / "flat.nii")
    with pytest.raises(UnreadableScan, match="three axes"):
        read_nifti(tmp_path / "flat.nii")
    write_nifti(tmp_path / "cut.nii.gz", volume)
    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "cut.nii.gz").read_bytes()[:100])
    with pytest.raises(UnreadableScan, match=r"cut\.nii\.gz"):
        read_nifti(tmp_path / "cut.nii.gz")


def _cut(content: bytes, count: int) -> bytes:
    return content[:-count]


def _flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.fixture
def packed(tmp_path):
    """A scan of noise, which deflate stores as it is, so that a flipped bit still inflates."""
    array = np.random.default_rng(5).integers(-1024, 3071, (40, 30, 20)).astype(np.int16)
    write_nifti(tmp_path / "scan.nii.gz", Volume(array, grid_affine((1.0, 1.0, 2.0), (0.0, 0.0, 0.0))))
    return (tmp_path / "scan.nii.gz").read_bytes(), array


@pytest.mark.parametrize("lost", [1, 4, 8, 9, 5000, 40000])
def test_a_file_that_lost_its_end_is_refused(tmp_path, packed, lost):
    (tmp_path / "short.nii.gz").write_bytes(_cut(packed[0], lost))
    with pytest.raises(UnreadableScan, match=r"short\.nii\.gz"):
        read_nifti(tmp_path / "short.nii.gz")


@pytest.mark.parametrize("place", [-6, -2, -400, -20000, 9000])
def test_a_file_with_a_flipped_bit_is_refused(tmp_path, packed, place):
    (tmp_path / "bent.nii.gz").write_bytes(
        _flipped(packed[0], len(packed[0]) + place if place < 0 else place)
    )
    with pytest.raises(UnreadableScan, match=r"bent\.nii\.gz"):
        read_nifti(tmp_path / "bent.nii.gz")


def test_several_gzip_members_are_one_file(tmp_path, packed):
    content = gzip.decompress(packed[0])
    parts = [gzip.compress(content[:1000]), gzip.compress(content[1000:])]
    (tmp_path / "parts.nii.gz").write_bytes(b"".join(parts))
    np.testing.assert_array_equal(read_nifti(tmp_path / "parts.nii.gz").array, packed[1])


def test_a_header_that_promises_too_much_takes_no_memory(tmp_path, packed):
    content = bytearray(gzip.decompress(packed[0]))
    content[42:48] = np.array([20000, 20000, 2000], "<i2").tobytes()
    (tmp_path / "huge.nii.gz").write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(UnreadableScan, match=r"huge\.nii\.gz"):
        read_nifti(tmp_path / "huge.nii.gz")


def test_scaled_and_packed_values_are_read_as_hu(tmp_path):
    image = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    image.header.set_slope_inter(2.0, -1024.0)
    nibabel.save(image, tmp_path / "scan.nii.gz")
    expected = np.asanyarray(nibabel.load(tmp_path / "scan.nii.gz").dataobj)
    np.testing.assert_array_equal(read_nifti(tmp_path / "scan.nii.gz").array, expected)
