"""Header fields of MetaImage, NRRD and NIfTI files that change values or places."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest

from coronet.errors import UnreadableScan
from coronet.io.masks import read_mask
from coronet.io.reader import read_scan
from coronet.scoring.protocol import PROTOCOLS
from coronet.scoring.score_with_mask import score_mask

SHAPE = (5, 6, 7)
SPACING = (0.7, 0.8, 2.5)


def hu() -> np.ndarray:
    return np.random.default_rng(3).integers(-1000, 1500, SHAPE).astype("<i2")


def demand_hu(path: Path, expected: np.ndarray | None = None) -> None:
    """`read_scan` gives the values of `hu` at their places: file axes point left, back and up."""
    volume = read_scan(path).volume
    assert np.array_equal(volume.array, (hu() if expected is None else expected)[::-1, ::-1])
    assert volume.spacing_mm == pytest.approx(SPACING)
    assert volume.affine[:3, 3] == pytest.approx((-1 - 4 * 0.7, -2 - 5 * 0.8, 3))


def metaimage(path: Path, content: bytes | None = None, **fields) -> Path:
    """Write a MetaImage file; ``None`` leaves a field out."""
    header = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "1 2 3",
        "ElementSpacing": "0.7 0.8 2.5",
        "DimSize": "5 6 7",
        "ElementType": "MET_SHORT",
        **fields,
    }
    content = hu().tobytes(order="F") if content is None else content
    local = path.suffix == ".mha"
    header["ElementDataFile"] = "LOCAL" if local else f"{path.stem}.raw"
    text = "".join(f"{key} = {value}\n" for key, value in header.items() if value is not None).encode(
        "latin-1"
    )
    path.write_bytes(text + (content if local else b""))
    if not local:
        path.with_suffix(".raw").write_bytes(content)
    return path


def raw(values: np.ndarray) -> bytes:
    return values.tobytes(order="F")


@pytest.mark.parametrize("suffix", [".mha", ".mhd"])
@pytest.mark.parametrize(
    ("content", "fields"),
    [
        (None, {}),
        # a line from stored values to HU
        (
            raw(hu() + np.int16(1024)),
            {"ElementToIntensityFunctionSlope": "1", "ElementToIntensityFunctionOffset": "-1024"},
        ),
        (
            raw(hu().astype("<f4") / 2),
            {"ElementToIntensityFunctionSlope": "2.0", "ElementType": "MET_FLOAT"},
        ),
        (raw(-hu()), {"ElementToIntensityFunctionSlope": "-1"}),
        (
            raw(hu() + np.int16(1024)),
            {"ElementToIntensityFunctionSlope": "1,0", "ElementToIntensityFunctionOffset": "-1024,0"},
        ),
        (None, {"ElementToIntensityFunctionSlope": "1", "ElementToIntensityFunctionOffset": "0"}),
        # types and byte orders
        (raw(hu().astype("<i4")), {"ElementType": "MET_LONG"}),
        (raw(hu().astype("<i8")), {"ElementType": "MET_LONG_LONG"}),
        (raw(hu().astype(">i2")), {"ElementByteOrderMSB": "True", "BinaryDataByteOrderMSB": None}),
        (raw(hu().astype(">f8")), {"ElementType": "MET_DOUBLE", "BinaryDataByteOrderMSB": "True"}),
        # where the data begin and end
        (None, {"HeaderSize": "-1"}),
        (b"\0" * 100 + raw(hu()), {"HeaderSize": "-1"}),
        (zlib.compress(raw(hu())), {"CompressedData": "True"}),
        (zlib.compress(raw(hu())) + b"rest", {"CompressedData": "True", "CompressedDataSize": None}),
        # spacing and place under their other names
        (None, {"ElementSpacing": None, "ElementSize": "0.7 0.8 2.5"}),
        (None, {"ElementSize": "1 1 1"}),
        (None, {"ElementSpacing": "0,7 0,8 2,5"}),
        (None, {"Offset": None, "Position": "1 2 3"}),
        (None, {"Offset": None, "Origin": "1 2 3"}),
        (None, {"Position": "1 2 3", "Origin": "1.0 2.0 3.0"}),
        (None, {"TransformMatrix": None, "Rotation": "1 0 0 0 1 0 0 0 1"}),
        (None, {"TransformMatrix": None, "AnatomicalOrientation": "RAI"}),
        (None, {"TransformMatrix": "1 1e-17 0 0 1.0 0 -0 0 1"}),
        (
            None,
            {
                "NDims": "4",
                "DimSize": "5 6 7 1",
                "ElementSpacing": "0.7 0.8 2.5 1",
                "Offset": "1 2 3 0",
                "TransformMatrix": "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1",
            },
        ),
        (None, {"DistanceUnits": "mm"}),
        (None, {"ElementNumberOfChannels": "1", "ElementMin": "0", "ElementMax": "9", "Comment": "a = b"}),
    ],
)
def test_metaimage_fields(tmp_path, suffix, content, fields):
    demand_hu(metaimage(tmp_path / f"a{suffix}", content, **fields))


def test_metaimage_data_behind_another_header(tmp_path):
    demand_hu(metaimage(tmp_path / "a.mhd", b"\7" * 100 + raw(hu()), HeaderSize="100"))


@pytest.mark.parametrize(
    ("fields", "gist"),
    [
        ({"ElementToIntensityFunctionSlope": "0"}, "ElementToIntensityFunctionSlope of its header is 0"),
        ({"ElementToIntensityFunctionSlope": "nan"}, "ElementToIntensityFunctionSlope .* plain numbers"),
        ({"ElementToIntensityFunctionOffset": "-1,024"}, "ElementToIntensityFunctionOffset .* plain numbers"),
        ({"ElementToIntensityFunctionOffset": "1 2"}, "ElementToIntensityFunctionOffset .* plain numbers"),
        ({"ElementSlope": "2"}, "field ElementSlope, which is not of the format"),
        ({"RescaleIntercept": "-1024"}, "field RescaleIntercept, which is not of the format"),
        ({"ElementSpacing": "0.7 -0.8 2.5"}, "ElementSpacing .* cannot be right"),
        ({"ElementSpacing": "0.7 0.8"}, "ElementSpacing .* plain numbers"),
        ({"ElementSpacing": "0.7 0.8 nan"}, "ElementSpacing .* plain numbers"),
        ({"ElementSpacing": "0.7mm 0.8mm 2.5mm"}, "ElementSpacing .* plain numbers"),
        ({"Offset": "1 2"}, "Offset .* plain numbers"),
        ({"Position": "1 2 4"}, "Offset and Position .* contradict"),
        ({"Rotation": "-1 0 0 0 -1 0 0 0 1"}, "TransformMatrix and Rotation .* contradict"),
        ({"TransformMatrix": "2 0 0 0 2 0 0 0 2"}, "not of length 1"),
        ({"TransformMatrix": None, "AnatomicalOrientation": "LPI"}, "no TransformMatrix"),
        ({"DistanceUnits": "cm"}, "not in millimetres"),
        ({"NDims": "4"}, "NDims and DimSize"),
        ({"DimSize": "5 6 6"}, "420 bytes of data where its header says 360"),
        ({"DimSize": None}, "no field DimSize"),
        ({"HeaderSize": "-2"}, "only binary data"),
        ({"ElementByteOrderMSB": "True"}, "contradict each other"),
        ({"CompressedData": "True", "CompressedDataSize": "9"}, "damaged"),
    ],
    ids=str,
)
def test_metaimage_fields_that_are_refused(tmp_path, fields, gist):
    with pytest.raises(UnreadableScan, match=gist):
        read_scan(metaimage(tmp_path / "a.mhd", **fields))


def test_two_different_fields_of_one_name_are_refused(tmp_path):
    path = metaimage(tmp_path / "a.mha")
    path.write_bytes(path.read_bytes().replace(b"NDims = 3", b"NDims = 3\nOffset = 0 0 0"))
    with pytest.raises(UnreadableScan, match="two different fields Offset"):
        read_scan(path)


def test_the_slope_of_a_mask_counts_too(tmp_path):
    labels = (hu() > 0).astype("u1")
    path = metaimage(
        tmp_path / "mask.mha",
        raw(labels * np.uint8(2)),
        ElementType="MET_UCHAR",
        ElementToIntensityFunctionSlope="0.5",
    )
    ct = read_scan(metaimage(tmp_path / "ct.mha")).volume
    assert np.array_equal(read_mask(path, ct).labels, labels[::-1, ::-1])


def nhdr(path: Path, data: bytes, *lines: str, encoding: str = "raw", kind: str = "short") -> Path:
    """Write an NRRD header with its data beside it."""
    path.with_suffix(".raw").write_bytes(data)
    header = [
        "NRRD0004",
        f"type: {kind}",
        "dimension: 3",
        "space: left-posterior-superior",
        "sizes: 5 6 7",
        "space directions: (0.7,0,0) (0,0.8,0) (0,0,2.5)",
        "space origin: (1,2,3)",
        f"encoding: {encoding}",
        *lines,
        f"data file: {path.stem}.raw",
    ]
    path.write_text("\n".join(header) + "\n\n")
    return path


@pytest.mark.parametrize(
    ("data", "lines", "options"),
    [
        (raw(hu()), ["endian: little"], {}),
        (raw(hu().astype(">i2")), ["endian: big"], {}),
        (raw(hu().astype("<f8")), ["endian: little"], {"kind": "double"}),
        (b"\7" * 100 + raw(hu()), ["endian: little", "byte skip: 100"], {}),
        (b"\7" * 100 + raw(hu()), ["endian: little", "byte skip: -1"], {}),
        (b"one\ntwo\n" + raw(hu()), ["endian: little", "line skip: 2"], {}),
        (gzip.compress(raw(hu())), ["endian: little"], {"encoding": "gzip"}),
        (gzip.compress(b"\7" * 9 + raw(hu())), ["endian: little", "byte skip: -1"], {"encoding": "gz"}),
        (raw(hu()), ["endian: little", "old min: nan", "old max: nan"], {}),
        (raw(hu()), ["endian: little", "min: -1000", "max: 1500"], {}),
    ],
)
def test_nrrd_fields(tmp_path, data, lines, options):
    demand_hu(nhdr(tmp_path / "a.nhdr", data, *lines, **options))


@pytest.mark.parametrize(
    ("data", "lines", "gist"),
    [
        (raw(hu()), ["endian: little", "old min: -1024", "old max: 3071"], r"quantised \(old min, old max\)"),
        (raw(hu()), ["endian: little", "old max: 3071"], "quantised"),
        (b"\7" * 100 + raw(hu()), ["endian: little"], "damaged"),
        (raw(hu())[:-2], ["endian: little"], "damaged"),
        (raw(hu()), [], "damaged"),
        (raw(hu()), ["endian: little", "data file: LIST", "a.raw"], "one file in the same folder"),
        (raw(hu()).hex().encode(), ["endian: little"], "its encoding is hex, which is not read"),
    ],
)
def test_nrrd_fields_that_are_refused(tmp_path, data, lines, gist):
    encoding = "hex" if "hex" in gist else "raw"
    with pytest.raises(UnreadableScan, match=gist):
        read_scan(nhdr(tmp_path / "a.nhdr", data, *lines, encoding=encoding))


def test_a_quantised_nrrd_in_one_file_is_refused(tmp_path):
    fields = {
        "space": "left-posterior-superior",
        "space directions": np.diag(SPACING),
        "space origin": [1, 2, 3],
        "old min": -1024.0,
        "old max": 3071.0,
    }
    nrrd.write(str(tmp_path / "a.nrrd"), hu(), fields)
    with pytest.raises(UnreadableScan, match="quantised"):
        read_scan(tmp_path / "a.nrrd")


NAN, INFINITE = float("nan"), float("inf")


def nifti(path: Path, slope: float, intercept: float, stored: np.ndarray, kind=nibabel.Nifti1Image) -> Path:
    """Write a NIfTI file with these two numbers in its header, whatever they are."""
    affine = np.diag([-0.7, -0.8, 2.5, 1.0])
    affine[:3, 3] = -1, -2, 3
    image = kind(stored, affine)
    image.header.set_xyzt_units("mm")
    content = bytearray(image.to_bytes())
    form, place = ("<ff", 112) if kind is nibabel.Nifti1Image else ("<dd", 176)
    struct.pack_into(form, content, place, slope, intercept)
    path.write_bytes(gzip.compress(bytes(content)) if path.suffix == ".gz" else bytes(content))
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize(
    ("slope", "intercept", "stored"),
    [
        (1, 0, hu()),
        (0, 0, hu()),
        (NAN, NAN, hu()),
        (NAN, 0, hu()),
        (0, NAN, hu()),
        (1, -1024, (hu() + np.int16(1024)).astype("u2")),
        (0.5, -24, (hu() + np.int16(24)).astype("<i4") * 2),
        (2, 0.5, (hu().astype("f4") - 0.5) / 2),
    ],
)
def test_nifti_scaling(tmp_path, name, slope, intercept, stored):
    for kind in (nibabel.Nifti1Image, nibabel.Nifti2Image):
        demand_hu(nifti(tmp_path / name, slope, intercept, stored, kind))


@pytest.mark.parametrize(
    ("slope", "intercept"),
    [(0, -1024), (NAN, -1024), (INFINITE, -1024), (1, NAN), (1, INFINITE)],
)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_nifti_scaling_that_contradicts_itself_is_refused(tmp_path, name, slope, intercept):
    with pytest.raises(UnreadableScan, match="scl_slope .* scl_inter .* contradict each other"):
        read_scan(nifti(tmp_path / name, slope, intercept, hu()))


@pytest.mark.parametrize("masked", [False, True])
def test_values_above_all_hu_are_refused(tmp_path, masked):
    """-2000, the padding of many scanners, in unsigned values, also where an expert's mask is scored."""
    stored = (hu().astype("<i4") + 1024).astype("<u2")
    stored[:2] = 63536
    path = nifti(tmp_path / "a.nii", 1, -1024, stored)
    mask = nifti(tmp_path / "mask.nii", 1, 0, np.ones(SHAPE, "u1"))
    with pytest.raises(UnreadableScan, match="reach 62512, which is no HU"):
        score_mask(path, mask, protocol=PROTOCOLS["coronet"]) if masked else read_scan(path)
