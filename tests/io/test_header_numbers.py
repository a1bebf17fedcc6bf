"""Numbers that DICOM headers hold as text: what is read, and what is refused by the name of its tag."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from coronet.errors import UnreadableScan
from coronet.io.reader import read_scan
from enhanced import enhanced

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR", "ignore:Value .* is not valid")

UNREAD = "holds no number that can be read"


def put(dataset: Dataset, keyword: str, text: str, vr: str | None = None) -> None:
    """Put an element into a dataset byte by byte; pydicom would not write these values."""
    content = text.encode("latin-1")
    content += b" " * (len(content) % 2)
    tag = Tag(keyword)
    dataset[tag] = RawDataElement(tag, vr or dictionary_VR(tag), len(content), content, 0, False, True)


def read(folder, write_dicom, picture, **texts):
    """The scan of three slices in whose headers some values are written as ``texts``."""

    def change(dataset, index):
        for keyword, text in texts.items():
            put(dataset, keyword, text[index] if isinstance(text, tuple) else text)

    write_dicom(folder, picture((3, 8, 8)), change=change)
    return read_scan(folder)


@pytest.mark.parametrize(
    ("text", "thickness"),
    [
        ("2.5", 2.5),
        ("2,5", 2.5),
        ("2,50 ", 2.5),
        ("0,625", 0.625),
        ("1,250", 1.25),
        ("2.5 mm", 2.5),
        ("2,5mm", 2.5),
        ("0.25 cm", 2.5),
        ("25e-1", 2.5),
        ("+2.5", 2.5),
        ("2.5\\", 2.5),
        ("2.5\0", 2.5),
        ("", None),
        ("0", None),
        ("-2.5", None),
    ],
)
def test_slice_thickness(tmp_path, write_dicom, picture, text, thickness):
    assert read(tmp_path, write_dicom, picture, SliceThickness=text).facts.slice_thickness_mm == thickness


@pytest.mark.parametrize(
    ("text", "kilovolts"),
    [
        ("120", 120),
        ("120.0", 120),
        ("120,0", 120),
        ("120 kV", 120),
        ("120kVp", 120),
        ("120000 V", 120),
        ("1.2e2", 120),
        ("0", None),
        ("", None),
        ("unknown", None),
        ("80\\140", None),
        ("nan", None),
        ("120000", None),
    ],
)
def test_tube_voltage(tmp_path, write_dicom, picture, text, kilovolts):
    assert read(tmp_path, write_dicom, picture, KVP=text).facts.tube_kv == kilovolts


@pytest.mark.parametrize(
    "texts",
    [
        {"PixelSpacing": "0,7\\0,8"},
        {"PixelSpacing": "0.7 mm\\0.8 mm"},
        {"PixelSpacing": "0.07cm\\0.08cm"},
        {"RescaleIntercept": "-1024,0"},
        {"RescaleIntercept": "-1,024.0"},
        {"RescaleIntercept": "-1.024,0"},
        {"RescaleIntercept": "-1024 HU"},
        {"RescaleSlope": "1,0"},
        {"RescaleSlope": "1,000"},
        {"RescaleSlope": "", "RescaleType": "Hounsfield Units"},
        {"ImageOrientationPatient": "1,0\\0,0\\0,0\\0,0\\1,0\\0,0"},
        {"ImagePositionPatient": ("-100,0\\-120,0\\-50,0", "-100,0\\-120,0\\-47,5", "-100,0\\-120,0\\-45,0")},
        # a comma before three digits is a point where the same file has others that can be nothing else
        {
            "PixelSpacing": "0,7\\0,8",
            "ImagePositionPatient": (
                "-100,0\\-120,0\\-1,250",
                "-100,0\\-120,0\\1,250",
                "-100,0\\-120,0\\3,750",
            ),
        },
        {"InstanceNumber": "1,5", "SeriesNumber": "three", "AcquisitionNumber": "14.5"},
        {"SpacingBetweenSlices": "-2.5"},
        {"SpacingBetweenSlices": "two"},
    ],
    ids=str,
)
def test_the_same_volume_however_its_numbers_are_written(tmp_path, write_dicom, picture, texts):
    scan = read(tmp_path / "odd", write_dicom, picture, **texts)
    plain = read(tmp_path / "plain", write_dicom, picture)
    assert np.array_equal(scan.volume.array, plain.volume.array)
    assert scan.volume.spacing_mm == pytest.approx(plain.volume.spacing_mm)


@pytest.mark.parametrize(
    ("texts", "gist"),
    [
        ({"SliceThickness": "thin"}, rf"SliceThickness \(0018,0050\) {UNREAD}"),
        ({"SliceThickness": "2.5 ft"}, rf"SliceThickness \(0018,0050\) {UNREAD}"),
        ({"SliceThickness": "nan"}, rf"SliceThickness \(0018,0050\) {UNREAD}"),
        ({"PixelSpacing": "0.7,0.8"}, rf"PixelSpacing \(0028,0030\) {UNREAD}"),
        ({"PixelSpacing": "0,7,0,8"}, rf"PixelSpacing \(0028,0030\) {UNREAD}"),
        ({"PixelSpacing": "-0.7\\0.8"}, r"PixelSpacing \(0028,0030\) that cannot be right"),
        ({"PixelSpacing": "0.7"}, "no PixelSpacing"),
        ({"ImagePositionPatient": "1.5\\1.5\\1,250"}, rf"ImagePositionPatient \(0020,0032\) {UNREAD}"),
        (
            {"ImageOrientationPatient": "2\\0\\0\\0\\1\\0"},
            r"ImageOrientationPatient \(0020,0037\) that cannot",
        ),
        # thousands or a fraction: one of them is off by a factor of a thousand
        ({"RescaleIntercept": "-1,024"}, rf"RescaleIntercept \(0028,1052\) {UNREAD}"),
        ({"RescaleSlope": "1e400"}, r"RescaleSlope \(0028,1053\) or .* that cannot be right"),
        ({"RescaleSlope": "0"}, r"RescaleSlope \(0028,1053\) or .* that cannot be right"),
        ({"NumberOfFrames": "one"}, rf"NumberOfFrames \(0028,0008\) {UNREAD}"),
    ],
)
def test_what_cannot_be_read_names_its_tag_and_not_its_value(tmp_path, write_dicom, picture, texts, gist):
    with pytest.raises(UnreadableScan, match=gist) as caught:
        read(tmp_path, write_dicom, picture, **texts)
    assert not [text for text in texts.values() if len(text) > 1 and text in str(caught.value)]


@pytest.mark.parametrize("implicit", [True, False])
def test_numbers_of_functional_groups(tmp_path, picture, implicit):
    stored = picture((3, 8, 10))
    dataset = enhanced(stored, depths=[0.0, 3.0, 6.0], intercepts=[-1024, -1000, -1024])
    shared = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    put(shared, "PixelSpacing", "0,7\\0,8")
    put(shared, "SliceThickness", "3,0 mm")
    second = dataset.PerFrameFunctionalGroupsSequence[1].PixelValueTransformationSequence[0]
    put(second, "RescaleSlope", "2,0")
    if implicit:
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    pydicom.dcmwrite(tmp_path / "frames.dcm", dataset, enforce_file_format=True)
    scan = read_scan(tmp_path / "frames.dcm")
    assert scan.volume.spacing_mm == pytest.approx((0.8, 0.7, 3.0))
    assert scan.facts.slice_thickness_mm == 3.0
    upright = scan.volume.array[::-1, ::-1].transpose(2, 1, 0)
    expected = stored.astype(int) * np.array([1, 2, 1])[:, None, None]
    assert np.array_equal(upright, expected + np.array([-1024, -1000, -1024])[:, None, None])


@pytest.mark.parametrize("vr", ["LO", "SH", "UN"])
def test_numbers_under_another_vr(tmp_path, write_dicom, picture, vr):
    def change(dataset, index):
        put(dataset, "SliceThickness", "2,5", vr)
        put(dataset, "RescaleIntercept", "-1024 ", vr)

    write_dicom(tmp_path, picture((3, 8, 8)), change=change)
    scan = read_scan(tmp_path)
    assert scan.facts.slice_thickness_mm == 2.5
    assert scan.volume.array.max() == 2002 - 1024
