"""Stored values of DICOM pixels: which bits hold them, what is padding, and what is no HU."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless, RLELossless

from coronet.errors import UnreadableScan
from coronet.io.reader import read_scan

PADDING, LIMIT = 0x00280120, 0x00280121


def body(shape=(3, 16, 16)) -> np.ndarray:
    """HU of a body without air."""
    return np.random.default_rng(4).integers(-150, 900, shape).astype(np.int32)


def framed(stored: np.ndarray, value: int) -> np.ndarray:
    """``stored`` with three columns of padding at each side."""
    stored = stored.copy()
    stored[..., :3] = stored[..., -3:] = value
    return stored


def expected_hu(*, framed_by_air: bool) -> np.ndarray:
    return framed(body(), -1024) if framed_by_air else body()


def slices(folder) -> np.ndarray:
    """What is read, as (slice, row, column)."""
    return read_scan(folder).volume.array[::-1, ::-1].transpose(2, 1, 0)


def bits(allocated: int, stored: int, high: int | None, *, signed: bool = False, **fields):
    """An edit of a dataset that sets how its pixels are stored."""

    def change(dataset, index):
        dataset.BitsAllocated, dataset.BitsStored = allocated, stored
        dataset.PixelRepresentation = int(signed)
        if high is None:
            del dataset.HighBit
        else:
            dataset.HighBit = high
        for keyword, value in fields.items():
            setattr(dataset, keyword, value)

    return change


@pytest.mark.parametrize(
    ("stored", "change"),
    [
        (body() + 1024, bits(16, 12, 11)),
        (body() + 1024, bits(16, 12, None)),
        (body() + 1024, bits(16, 16, 15)),
        ((body() + 1024) << 4, bits(16, 12, 15)),
        # overlays in the bits below
        (((body() + 1024) << 4) | 9, bits(16, 12, 15)),
        (((body() + 1024) << 2) | 0x8001, bits(16, 12, 13)),
        (body() << 4, bits(16, 12, 15, signed=True, RescaleIntercept=0)),
        (body() & 0xFFF, bits(16, 12, 11, signed=True, RescaleIntercept=0)),
        # a HighBit that is not true, and makes no difference to these pixels
        (body() + 1024, bits(16, 16, 11)),
        (body(), bits(16, 16, 11, signed=True, RescaleIntercept=0)),
    ],
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_values_are_read_from_their_bits(tmp_path, write_dicom, stored, change, syntax):
    write_dicom(tmp_path, stored.astype("u2"), change=change, syntax=syntax)
    assert np.array_equal(slices(tmp_path), body())


@pytest.mark.parametrize("signed", [False, True])
def test_cells_of_32_bits(tmp_path, write_dicom, signed):
    stored = (body() + 1024).astype("<i4" if signed else "<u4")
    write_dicom(tmp_path, stored, change=bits(32, 32, 31, signed=signed))
    assert np.array_equal(slices(tmp_path), body())


@pytest.mark.parametrize(
    ("stored", "change", "gist"),
    [
        (body() + 1024, bits(16, 12, 15), r"HighBit \(0028,0102\) .* the pixels"),
        (body() + 4096, bits(16, 16, 11), r"HighBit \(0028,0102\) .* the pixels"),
        (body() + 1024, bits(16, 12, 20), r"BitsAllocated \(0028,0100\)"),
        (body() + 1024, bits(16, 20, 19), r"BitsStored \(0028,0101\)"),
    ],
)
def test_bits_that_contradict_the_pixels_are_refused(tmp_path, write_dicom, stored, change, gist):
    write_dicom(tmp_path, stored.astype("u2"), change=change)
    with pytest.raises(UnreadableScan, match=gist):
        read_scan(tmp_path)


def test_compressed_values_do_not_lie_in_high_bits(tmp_path, write_dicom):
    for path in write_dicom(tmp_path, (body() + 1024).astype("u2"), syntax=JPEGLSLossless):
        dataset = pydicom.dcmread(path)
        dataset.HighBit = 13
        dataset.save_as(path)
    with pytest.raises(UnreadableScan, match=r"HighBit \(0028,0102\) .* the pixels"):
        read_scan(tmp_path)


@pytest.mark.parametrize(
    "row",  # whether pixels are signed, the padding in them, the tags that declare it
    [
        (False, 63536, [(PADDING, "SS", -2000)]),
        (False, 63536, [(PADDING, "US", 63536)]),
        (False, 63536, [(PADDING, "SL", -2000)]),
        (False, 63536, [(PADDING, "IS", -2000)]),
        (False, 63536, [(PADDING, "OW", b"\x30\xf8")]),
        (False, 63536, [(PADDING, "SS", -2100), (LIMIT, "SS", -1900)]),
        (False, 63536, [(PADDING, "US", 63600), (LIMIT, "US", 63500)]),
        (False, 63536, [(PADDING, "SS", -2000), (LIMIT, "US", 63536)]),
        (True, -2000, [(PADDING, "US", 63536)]),
        (True, -2000, [(PADDING, "SS", -2000)]),
        (True, -2000, [(PADDING, "US", 63436), (LIMIT, "US", 63636)]),
        (True, -2000, []),
        # not declared, but no HU, one value, and at the edge
        (False, 63536, []),
    ],
)
@pytest.mark.parametrize("implicit", [False, True])
def test_padding_is_air_whatever_its_vr(tmp_path, write_dicom, row, implicit):
    signed, in_pixels, declared = row
    if implicit and any(vr not in ("US", "SS") for _, vr, _ in declared):
        pytest.skip("implicit VR has no VR in the file")
    stored = framed(body() + (0 if signed else 1024), in_pixels).astype("i2" if signed else "u2")

    def change(dataset, index):
        bits(16, 16, 15, signed=signed, RescaleIntercept=0 if signed else -1024)(dataset, index)
        for tag, vr, value in declared:
            dataset[tag] = DataElement(tag, vr, value)

    for path in write_dicom(tmp_path, stored, change=change):
        if implicit:
            dataset = pydicom.dcmread(path)
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
            dataset.save_as(path, implicit_vr=True, little_endian=True)
    assert np.array_equal(slices(tmp_path), expected_hu(framed_by_air=True))


def test_padding_beyond_the_stored_bits_is_no_tissue(tmp_path, write_dicom):
    """-2000 in a cell of 16 bits is 2096 in its lowest twelve, which would be 1072 HU."""

    def change(dataset, index):
        dataset[PADDING] = DataElement(PADDING, "SS", -2000)

    stored = framed(body() + 1024, 63536)
    stored[:, 8, 8] = 2096
    write_dicom(tmp_path, stored.astype("u2"), change=change)
    expected = expected_hu(framed_by_air=True)
    expected[:, 8, 8] = 1072
    assert np.array_equal(slices(tmp_path), expected)


def test_a_padding_range_across_zero_is_not_everything(tmp_path, write_dicom):
    def change(dataset, index):
        dataset[PADDING] = DataElement(PADDING, "US", 65535)
        dataset[LIMIT] = DataElement(LIMIT, "US", 1)

    write_dicom(tmp_path, framed(body() + 1024, 0).astype("u2"), change=change)
    assert np.array_equal(slices(tmp_path), expected_hu(framed_by_air=True))


@pytest.mark.parametrize(
    ("where", "change", "gist"),
    [
        # a stray pixel inside, and a frame of two values
        ((slice(None), 8, 8), bits(16, 16, 15), "reach 62512, which is no HU"),
        ((slice(None), 0, 0), bits(16, 16, 15, PixelPaddingValue=7), "reach 62512, which is no HU"),
        ((0, 0, 0), bits(16, 16, 15, ModalityLUTSequence=Sequence([Dataset()])), "ModalityLUTSequence"),
        ((0, 0, 0), bits(16, 16, 15, PhotometricInterpretation="PALETTE COLOR"), "picture in colour"),
        ((0, 0, 0), bits(16, 16, 15, FloatPixelData=bytes(4 * 256)), "FloatPixelData"),
    ],
)
def test_values_that_are_no_hu_are_refused(tmp_path, write_dicom, where, change, gist):
    stored = (body() + 1024).astype("u2")
    stored[where] = 63536
    stored[:, 0, 1] = 63000 if where != (0, 0, 0) else stored[:, 0, 1]
    write_dicom(tmp_path, stored, change=change)
    with pytest.raises(UnreadableScan, match=gist):
        read_scan(tmp_path)


@pytest.mark.parametrize("blank", [False, True])
def test_a_slice_without_an_intercept_among_others_is_refused(tmp_path, write_dicom, blank):
    def change(dataset, index):
        if index == 1 and blank:
            dataset.RescaleIntercept = None
        elif index == 1:
            del dataset.RescaleIntercept, dataset.RescaleSlope

    write_dicom(tmp_path, (body() + 1024).astype("u2"), change=change)
    with pytest.raises(UnreadableScan, match=r"1 of 3 slices have no RescaleIntercept \(0028,1052\)"):
        read_scan(tmp_path)


@pytest.mark.parametrize("blank", [False, True])
@pytest.mark.parametrize(
    ("stored", "signed", "gist"),
    [
        (body() + 1024, False, "no RescaleIntercept .* and no value below 0"),
        # padding is no air
        (framed(body() + 1024, -2000), True, "no RescaleIntercept .* and no value below 0"),
        # HU stored as they are
        (body(), True, ""),
    ],
)
def test_a_series_without_an_intercept_holds_hu_only_with_values_below_0(
    tmp_path, write_dicom, *, stored, signed, gist, blank
):
    def change(dataset, index):
        bits(16, 16, 15, signed=signed)(dataset, index)
        if blank:
            dataset.RescaleIntercept = None
        else:
            del dataset.RescaleIntercept, dataset.RescaleSlope

    write_dicom(tmp_path, stored.astype("i2" if signed else "u2"), change=change)
    if not gist:
        assert np.array_equal(slices(tmp_path), stored)
        return
    with pytest.raises(UnreadableScan, match=gist):
        read_scan(tmp_path)
