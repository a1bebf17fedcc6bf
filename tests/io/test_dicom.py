"""DICOM series that are right, odd, or wrong."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEGLSLossless, RLELossless, generate_uid

from coronet.errors import UnreadableScan
from coronet.io.reader import read_scan
from enhanced import enhanced

AXIAL = (1, 0, 0, 0, 1, 0)
CORONAL = (1, 0, 0, 0, 0, -1)
SAGITTAL = (0, 1, 0, 0, 0, -1)


def hu_at(scan, position_lps) -> int:
    """HU of the voxel whose centre lies at a position that DICOM gives."""
    ras = np.array([-position_lps[0], -position_lps[1], position_lps[2], 1.0])
    index = np.linalg.inv(scan.volume.affine) @ ras
    assert np.abs(index - np.rint(index)).max() < 1e-3
    return scan.volume.array[tuple(np.rint(index[:3]).astype(int))]


@pytest.mark.parametrize(
    ("orientation", "spacing"),
    [
        (AXIAL, (0.8, 0.7, 2.5)),
        (CORONAL, (0.8, 2.5, 0.7)),
        (SAGITTAL, (2.5, 0.8, 0.7)),
        ((-1, 0, 0, 0, -1, 0), (0.8, 0.7, 2.5)),
        ((-1, 0, 0, 0, 1, 0), (0.8, 0.7, 2.5)),
    ],
    ids=["axial", "coronal", "sagittal", "prone", "mirrored"],
)
def test_each_pixel_lands_where_its_position_says(tmp_path, write_dicom, picture, orientation, spacing):
    stored = picture((6, 9, 11))
    paths = write_dicom(tmp_path, stored, orientation=orientation)
    scan = read_scan(tmp_path)
    assert np.allclose(scan.volume.spacing_mm, spacing)
    assert (np.diag(scan.volume.affine)[:3] > 0).all()
    assert scan.volume.array.dtype == np.int16
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    for index, path in enumerate(paths):
        corner = np.array([float(value) for value in pydicom.dcmread(path).ImagePositionPatient])
        for r, c in ((0, 0), (8, 10), (3, 7)):
            place = corner + c * 0.8 * row + r * 0.7 * column
            assert hu_at(scan, place) == int(stored[index, r, c]) - 1024


def test_spacing_comes_from_positions_not_from_thickness(tmp_path, write_dicom, picture):
    write_dicom(tmp_path, picture((5, 8, 8)), step_mm=1.25)
    scan = read_scan(tmp_path)
    assert scan.volume.spacing_mm[2] == pytest.approx(1.25)
    assert scan.facts.slice_thickness_mm == 5.0
    assert (scan.facts.kernel, scan.facts.tube_kv, scan.facts.source) == ("B30f", 120.0, "dicom")


def test_slope_and_intercept_of_each_slice_count(tmp_path, write_dicom, picture):
    stored = picture((3, 8, 8))

    def change(dataset, index):
        dataset.RescaleSlope, dataset.RescaleIntercept = [(1, -1024), (2, -1000), (0.5, -900.25)][index]

    write_dicom(tmp_path, stored, change=change)
    array = read_scan(tmp_path).volume.array
    assert array.dtype == np.float32
    expected = [stored[0] - 1024.0, stored[1] * 2.0 - 1000, stored[2] * 0.5 - 900.25]
    for index in range(3):
        assert np.array_equal(array[::-1, ::-1, index].T, expected[index].astype(np.float32))


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless], ids=["RLE", "JPEG-LS"])
def test_compressed_equals_uncompressed(tmp_path, write_dicom, picture, syntax):
    stored = picture((4, 16, 16))
    write_dicom(tmp_path / "plain", stored)
    write_dicom(tmp_path / "packed", stored, syntax=syntax)
    plain, packed = read_scan(tmp_path / "plain"), read_scan(tmp_path / "packed")
    assert np.array_equal(plain.volume.array, packed.volume.array)


def test_big_endian_is_read(tmp_path, write_dicom, picture):
    stored = picture((3, 8, 8))
    (tmp_path / "big").mkdir()
    for path in write_dicom(tmp_path / "little", stored):
        original = pydicom.dcmread(path)
        dataset = Dataset()
        dataset.update(original)
        dataset.file_meta = original.file_meta
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
        dataset["PixelData"].value = np.frombuffer(original.PixelData, "<u2").astype(">u2").tobytes()
        pydicom.dcmwrite(tmp_path / "big" / path.name, dataset, implicit_vr=False, little_endian=False)
    little, big = read_scan(tmp_path / "little"), read_scan(tmp_path / "big")
    assert np.array_equal(little.volume.array, big.volume.array)


def test_files_without_preamble_in_sub_folders_with_other_files(tmp_path, write_dicom, picture):
    stored = picture((6, 8, 8))
    paths = write_dicom(tmp_path, stored)
    expected = read_scan(tmp_path).volume
    for index, path in enumerate(paths):
        dataset = pydicom.dcmread(path)
        target = tmp_path / "deep" / f"part{index % 2}" / f"IM{index}"
        target.parent.mkdir(parents=True, exist_ok=True)
        if index % 3 == 0:
            del dataset.file_meta
            dataset.save_as(target, implicit_vr=True, little_endian=True)
        else:
            dataset.save_as(target)
    (tmp_path / "deep" / "notes.txt").write_text("nothing")
    directory = Dataset()
    directory.file_meta = pydicom.dataset.FileMetaDataset()
    directory.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    directory.file_meta.MediaStorageSOPClassUID = pydicom.uid.MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    directory.FileSetID = "DISK"
    pydicom.dcmwrite(tmp_path / "deep" / "DICOMDIR", directory, enforce_file_format=True)
    (tmp_path / "deep" / ".hidden.dcm").write_bytes(b"no")
    assert np.array_equal(read_scan(tmp_path / "deep").volume.array, expected.array)


def test_padding_is_air_whatever_value_marks_it(tmp_path, write_dicom):
    body = np.random.default_rng(1).integers(-200, 200, (3, 12, 12)).astype(np.int16)
    arrays = []
    for name, padding, declared in (("a", -2000, True), ("b", -3024, False), ("c", -1024, False)):
        stored = body.copy()
        stored[:, :3, :3] = padding

        def change(dataset, index, padding=padding, declared=declared):
            dataset.RescaleIntercept = 0
            if declared:
                dataset.add_new("PixelPaddingValue", "SS", padding)

        write_dicom(tmp_path / name, stored, change=change)
        arrays.append(read_scan(tmp_path / name).volume.array)
    assert arrays[0].min() == -1024
    assert np.array_equal(arrays[0], arrays[1])
    assert np.array_equal(arrays[0], arrays[2])


def test_padding_value_that_is_also_tissue_counts_at_the_edge_only(tmp_path, write_dicom):
    stored = np.random.default_rng(2).integers(-100, 100, (3, 12, 12)).astype(np.int16)
    stored[stored == 0] = 1
    stored[:, 0:2, :] = 0
    stored[:, 6, 6] = 0

    def change(dataset, index):
        dataset.RescaleIntercept = 0
        dataset.add_new("PixelPaddingValue", "SS", 0)

    write_dicom(tmp_path, stored, change=change)
    array = read_scan(tmp_path).volume.array[::-1, ::-1]
    assert (array[:, 0:2] == -1024).all()
    assert (array[6, 6] == 0).all()


def test_overlay_bits_above_the_stored_ones_are_dropped(tmp_path, write_dicom, picture):
    stored = picture((3, 8, 8))
    write_dicom(tmp_path / "clean", stored)
    write_dicom(tmp_path / "drawn", stored | np.uint16(0x8000))
    clean, drawn = read_scan(tmp_path / "clean"), read_scan(tmp_path / "drawn")
    assert np.array_equal(clean.volume.array, drawn.volume.array)


def test_duplicates_are_dropped(tmp_path, write_dicom, picture):
    paths = write_dicom(tmp_path, picture((4, 8, 8)))
    expected = read_scan(tmp_path).volume.array
    copy = pydicom.dcmread(paths[1])
    copy.SOPInstanceUID, copy.InstanceNumber = generate_uid(), 99
    copy.save_as(tmp_path / "again.dcm")
    assert np.array_equal(read_scan(tmp_path).volume.array, expected)
    copy.PixelData = bytes(len(copy.PixelData))
    copy.save_as(tmp_path / "again.dcm")
    with pytest.raises(UnreadableScan, match="different pictures of one place"):
        read_scan(tmp_path)


def test_one_of_several_series_is_chosen_by_number_or_uid(tmp_path, write_dicom, picture):
    for name, number, kernel in (("soft", 4, "B30f"), ("sharp", 2, "B70f")):

        def change(dataset, index, number=number, kernel=kernel):
            dataset.SeriesNumber, dataset.ConvolutionKernel = number, kernel

        paths = write_dicom(tmp_path / name, picture((4, 8, 8), seed=number), change=change)
    with pytest.raises(UnreadableScan, match=r"2 series in it.*1: 4 slices .* B70f; 2: 4 slices .* B30f"):
        read_scan(tmp_path)
    assert read_scan(tmp_path, series=1).facts.kernel == "B70f"
    assert read_scan(tmp_path, series="2").facts.kernel == "B30f"
    uid = str(pydicom.dcmread(paths[0]).SeriesInstanceUID)
    assert read_scan(tmp_path, series=uid).facts.kernel == "B70f"
    with pytest.raises(UnreadableScan, match="there is no series 3"):
        read_scan(tmp_path, series=3)


def test_localizers_and_pictures_in_colour_are_passed_over(tmp_path, write_dicom, picture):
    write_dicom(tmp_path / "ct", picture((4, 8, 8)))

    def localizer(dataset, index):
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    def colour(dataset, index):
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "RGB"
        dataset.ImageType = ["DERIVED", "SECONDARY"]

    write_dicom(tmp_path / "scout", picture((1, 8, 8)), change=localizer, orientation=CORONAL)
    write_dicom(tmp_path / "dose", picture((1, 8, 8)), change=colour)
    assert read_scan(tmp_path).volume.shape == (8, 8, 4)
    with pytest.raises(UnreadableScan, match="no CT volume in it .*1 × localizer"):
        read_scan(tmp_path / "scout")


def test_enhanced_multi_frame_is_read_in_the_order_of_its_positions(tmp_path, picture):
    stored = picture((3, 8, 10))
    dataset = enhanced(stored, depths=[6.0, 0.0, 3.0], intercepts=[-1024, -1000, -1024])
    pydicom.dcmwrite(tmp_path / "frames.dcm", dataset, enforce_file_format=True)
    scan = read_scan(tmp_path / "frames.dcm")
    assert scan.volume.shape == (10, 8, 3)
    assert np.allclose(scan.volume.spacing_mm, (0.8, 0.7, 3.0))
    upright = scan.volume.array[::-1, ::-1].transpose(2, 1, 0)
    stored = stored.astype(int)
    assert np.array_equal(upright, np.stack([stored[1] - 1000, stored[2] - 1024, stored[0] - 1024]))
    assert np.array_equal(read_scan(tmp_path).volume.array, scan.volume.array)


def no_positions(dataset, index):
    if index == 2:
        del dataset.ImagePositionPatient


def no_pixels(dataset, index):
    if index == 2:
        del dataset.PixelData


def other_size(dataset, index):
    if index == 2:
        dataset.PixelSpacing = [0.9, 0.9]


def other_units(dataset, index):
    dataset.RescaleType = "MGML"


def projection(dataset, index):
    dataset.ImageType = ["DERIVED", "SECONDARY", "MIP"]


def magnetic_resonance(dataset, index):
    dataset.Modality, dataset.SOPClassUID = "MR", "1.2.840.10008.5.1.4.1.1.4"


def phases(dataset, index):
    dataset.AcquisitionNumber = index


def other_direction(dataset, index):
    if index == 2:
        dataset.ImageOrientationPatient = list(CORONAL)


@pytest.mark.parametrize(
    ("options", "gist"),
    [
        ({"depths_mm": [0, 2.5, 7.5, 10]}, r"missing or unevenly spaced: 5.00 mm between -47.5 and -42.5"),
        ({"depths_mm": [0, 2.5, 5.0, 8.0]}, "3.00 mm between"),
        ({"step_direction": (0, 0.25, 1)}, r"lean by 14.0 degrees .*gantry tilt"),
        ({"depths_mm": [0, 0, 0, 0], "change": phases}, "4 acquisitions of the same place"),
        ({"change": no_positions}, r"damaged \(no ImagePositionPatient\)"),
        ({"change": no_pixels}, r"damaged \(no pixels\)"),
        ({"change": other_size}, "differ in size or spacing"),
        ({"change": other_direction}, "look in different directions"),
        ({"change": other_units}, "not in HU"),
        ({"change": projection}, "projection"),
        ({"change": magnetic_resonance}, "4 × MR object"),
    ],
)
def test_what_makes_no_volume_is_refused_with_the_reason(tmp_path, write_dicom, picture, options, gist):
    write_dicom(tmp_path, picture((4, 8, 8)), **options)
    with pytest.raises(UnreadableScan, match=gist) as caught:
        read_scan(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))
    assert "Doe" not in str(caught.value)


@pytest.mark.parametrize(
    ("acquisition", "refused"),
    [(lambda index: index % 2, True), (lambda index: index // 4, False), (lambda index: index, False)],
    ids=["between each other", "one behind the other", "one a slice"],
)
def test_acquisitions_that_lie_between_each_other_are_refused(
    tmp_path, write_dicom, picture, *, acquisition, refused
):
    def change(dataset, index):
        dataset.AcquisitionNumber = acquisition(index) + 1

    write_dicom(tmp_path, picture((8, 8, 8)), change=change)
    if not refused:
        assert read_scan(tmp_path).volume.shape == (8, 8, 8)
        return
    with pytest.raises(UnreadableScan, match="2 acquisitions .* lie between each other"):
        read_scan(tmp_path)


def test_every_second_slice_alone_is_refused(tmp_path, write_dicom, picture):
    paths = write_dicom(tmp_path, picture((8, 8, 8)), step_mm=5.0)
    for path in paths[1::2]:
        path.unlink()
    with pytest.raises(UnreadableScan, match="only every 2th slice is there"):
        read_scan(tmp_path)


@pytest.mark.parametrize("kept", [0, 40, 180, 200, 400, 800, 900])
def test_a_cut_file_condemns_its_folder(tmp_path, write_dicom, picture, kept):
    paths = write_dicom(tmp_path, picture((4, 32, 32)))
    whole = paths[3].read_bytes()
    paths[3].write_bytes(whole[: kept if kept < 900 else len(whole) - 100])
    with pytest.raises(UnreadableScan):
        read_scan(tmp_path)


def test_free_text_in_the_kernel_is_not_kept(tmp_path, write_dicom, picture):
    def change(dataset, index):
        dataset.ConvolutionKernel = "Jane Doe 1950"

    write_dicom(tmp_path, picture((3, 8, 8)), change=change)
    assert read_scan(tmp_path).facts.kernel == ""
