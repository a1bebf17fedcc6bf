"""A mask file beside a scan: scored where both lie in one place, else refused or warned about.

The scan is a block of soft tissue in air with two plaques: 4 × 3 × 2 voxels of 250 HU and 3 × 3 × 1 of
450 HU, of 0.8 × 0.7 × 2.5 mm. Agatston: (12 · 0.56 · 2 · 2 + 9 · 0.56 · 4) · 2.5 / 3 = 39.2.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from typer.testing import CliRunner

from coronet.cli import app
from coronet.errors import InputError
from coronet.io.volume import grid_affine
from segmentations import write_segmentation

SPACING = (0.8, 0.7, 2.5)
AFFINE = grid_affine(SPACING, (-25.6, -21.0, -60.0))
EXPECTED = 39.2
PLAQUES = (slice(10, 14), slice(8, 11), slice(4, 6)), (slice(18, 21), slice(12, 15), slice(11, 12))
CANARY = "Kanarienvogel"


def block() -> tuple[np.ndarray, np.ndarray]:
    """HU and labels, (x, y, z)."""
    hu = np.full((28, 24, 20), -1000, np.int16)
    hu[4:-4, 4:-4] = 40
    labels = np.zeros(hu.shape, np.uint8)
    for label, (place, value) in enumerate(zip(PLAQUES, (250, 450), strict=True), 1):
        hu[place], labels[place] = value, label
    return hu, labels


HU, LABELS = block()


def moved(*voxels: float) -> np.ndarray:
    """The scan's affine with its origin so many voxels away."""
    return AFFINE @ nibabel.affines.from_matvec(np.eye(3), voxels)


def turned(degrees: float) -> np.ndarray:
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return nibabel.affines.from_matvec(turn @ AFFINE[:3, :3], AFFINE[:3, 3])


def nifti(
    path: Path,
    array: np.ndarray,
    affine: np.ndarray = AFFINE,
    *,
    qform: np.ndarray | None = None,
    sform: bool = True,
) -> Path:
    """Write a NIfTI file; its qform is ``qform``, or the sform's place where there is no sform."""
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine if sform else None, code=int(sform))
    image.set_qform(affine if qform is None else qform, code=1)
    nibabel.save(image, path)
    return path


def cropped(low: tuple[int, int, int], high: tuple[int, int, int]) -> np.ndarray:
    return LABELS[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]


def score(scan: Path, mask: Path, *options: str) -> dict:
    """What ``coronet score --mask --json`` prints."""
    done = CliRunner().invoke(app, ["score", str(scan), "--mask", str(mask), "--json", *options])
    if done.exception is not None:
        raise done.exception
    return json.loads(done.stdout)


def check(
    scan: Path,
    mask: Path,
    expected: float | str,
    warnings: Mapping[str, str] = {},
    options: tuple[str, ...] = (),
) -> None:
    """A score with warnings of the mask or the scan's values (key and a part of the text), or a refusal."""
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected) as caught:
            score(scan, mask, *options)
        assert CANARY not in str(caught.value)
        return
    answer = score(scan, mask, *options)
    assert answer["scores"]["agatston"] == pytest.approx(expected)
    found = {
        key: text for key, text in answer["input"]["warnings"].items() if key.startswith(("mask", "scan"))
    }
    assert found.keys() == warnings.keys()
    for key, part in warnings.items():
        assert part in found[key]
    printed = CliRunner().invoke(app, ["score", str(scan), "--mask", str(mask), *options]).stdout
    assert all(f"Beware: {text}." in printed for text in found.values())


PLAIN = dict(array=HU)
NIFTI = {
    "one place": (PLAIN, dict(array=LABELS), EXPECTED),
    "scan, qform 10 voxels off": (
        dict(array=HU, qform=moved(10, 0, 0)),
        dict(array=LABELS),
        "qform and sform differ by up to 10 voxels",
    ),
    "scan, qform half a voxel off": (
        dict(array=HU, qform=moved(0, 0, 0.5)),
        dict(array=LABELS),
        "differ by up to 0.5 voxels",
    ),
    "scan, qform turned": (
        dict(array=HU, qform=turned(3)),
        dict(array=LABELS),
        "qform and sform differ.*fslorient",
    ),
    "scan, qform rounded": (dict(array=HU, qform=moved(0.02, 0, 0)), dict(array=LABELS), EXPECTED),
    "mask, qform off": (
        PLAIN,
        dict(array=LABELS, qform=moved(0, 3, 0)),
        "mask.nii.gz: its header states two places",
    ),
    "both, qform off alike": (
        dict(array=HU, qform=moved(9, 0, 0)),
        dict(array=LABELS, qform=moved(9, 0, 0)),
        "two places",
    ),
    "mask with a qform alone": (PLAIN, dict(array=LABELS, sform=False), EXPECTED),
    "mask with a qform alone, off": (
        PLAIN,
        dict(array=LABELS, affine=moved(10, 0, 0), sform=False),
        r"begins \+10 voxels along x",
    ),
    "mask 3, 2 and 1 voxels off": (
        PLAIN,
        dict(array=LABELS, affine=moved(3, 2, 1)),
        r"begins \+3 voxels along x, \+2 voxels along y, \+1 voxels",
    ),
    "mask one slice off": (PLAIN, dict(array=LABELS, affine=moved(0, 0, -1)), r"begins -1 voxels along z"),
    "mask 1.5 voxels off": (
        PLAIN,
        dict(array=LABELS, affine=moved(1.5, 0, 0)),
        "another grid.*states a wrong position",
    ),
    "mask far off": (
        PLAIN,
        dict(array=LABELS, affine=moved(100, 0, 0)),
        "100 % of the mask lies outside the scan",
    ),
    "mask without a place": (PLAIN, dict(array=LABELS, affine=np.eye(4)), "its header gives no place"),
    "cropped": (PLAIN, dict(array=cropped((9, 7, 3), (22, 16, 13)), affine=moved(9, 7, 3)), EXPECTED),
    "cropped along z alone, off along x": (
        PLAIN,
        dict(array=cropped((0, 0, 3), (28, 24, 13)), affine=moved(2, 0, 3)),
        r"begins \+2 voxels along x",
    ),
    "larger than the scan": (PLAIN, dict(array=np.pad(LABELS, 3), affine=moved(-3, -3, -3)), EXPECTED),
    "scaled by a program": (PLAIN, dict(array=(LABELS > 0) * np.float32(1.00000006)), EXPECTED),
    "scaled down by a program": (PLAIN, dict(array=LABELS * 0.9999), EXPECTED),
    "probabilities": (PLAIN, dict(array=LABELS * 0.9), "no whole numbers"),
    "NaN in the mask": (PLAIN, dict(array=np.where(LABELS, np.nan, 0.0)), "33 of its values are NaN"),
}


@pytest.mark.parametrize(("scan", "mask", "expected"), NIFTI.values(), ids=NIFTI)
def test_a_nifti_mask_is_in_the_place_of_its_scan_or_refused(tmp_path, scan, mask, expected):
    check(nifti(tmp_path / "ct.nii.gz", **scan), nifti(tmp_path / "mask.nii.gz", **mask), expected)


def with_outside() -> np.ndarray:
    """Labels with a rim of 3 voxels, in which 4 more are set."""
    grown = np.pad(LABELS, 3)
    grown[0, 0, :4] = 1
    return grown


BESIDE = {
    "lost origin, over soft tissue": (
        cropped((9, 7, 3), (22, 16, 13)),
        moved(5, 5, 5),
        0.0,
        {"mask_below_130": "100 % of the calcium mask is below 130 HU"},
    ),
    "partly over soft tissue": (
        cropped((9, 7, 3), (22, 16, 13)),
        moved(11, 7, 3),
        16.8,
        {"mask_below_130": "55 %"},
    ),
    "lost origin, over air": (
        cropped((9, 7, 3), (22, 12, 7)),
        moved(9, 20, 3),
        "whole mask lies in air or lung",
        {},
    ),
    "partly over air": (
        cropped((9, 7, 3), (22, 16, 13)),
        moved(9, 1, 3),
        0.0,
        {"mask_below_130": "100 %", "mask_in_air": "48 %"},
    ),
    "partly outside the scan": (
        with_outside(),
        moved(-3, -3, -3),
        EXPECTED,
        {"mask_outside_scan": "11 % of the mask"},
    ),
    "empty": (np.zeros_like(LABELS), AFFINE, 0.0, {"mask_empty": "marks no calcium"}),
}


@pytest.mark.parametrize(("array", "affine", "expected", "warnings"), BESIDE.values(), ids=BESIDE)
def test_a_mask_over_other_tissue_is_warned_about(tmp_path, array, affine, expected, warnings):
    scan, mask = nifti(tmp_path / "ct.nii.gz", HU), nifti(tmp_path / "mask.nii.gz", array, affine)
    check(scan, mask, expected, warnings)


def edged(value: float, *, at: tuple[slice, ...]) -> np.ndarray:
    values = HU.astype(np.float32)
    values[at] = value
    return values


def ring() -> np.ndarray:
    values = HU.astype(np.float32)
    around = np.zeros(HU.shape, bool)
    around[9:15, 7:12, 3:7] = True
    values[around & (LABELS == 0)] = np.nan
    return values


FAR = (slice(0, 2), slice(None), slice(None))
UNFINITE = {
    "NaN far off": (edged(np.nan, at=FAR), EXPECTED, {"scan_not_finite": "960 values of the scan are NaN"}),
    "infinite far off": (edged(np.inf, at=(0, 0, 0)), EXPECTED, {"scan_not_finite": "1 values"}),
    "NaN in the mask": (
        edged(np.nan, at=(11, 9, 4)),
        "1 of the 33 voxels under the mask are no numbers.*11, 9, 4",
        {},
    ),
    "infinite in the mask": (edged(-np.inf, at=(11, 9, 4)), "1 of the 33 voxels under the mask", {}),
    "NaN beside the mask": (ring(), EXPECTED, {"scan_not_finite": "values of the scan are NaN"}),
}


@pytest.mark.parametrize(("values", "expected", "warnings"), UNFINITE.values(), ids=UNFINITE)
def test_values_that_are_no_numbers(tmp_path, values, expected, warnings):
    scan, mask = nifti(tmp_path / "ct.nii.gz", values), nifti(tmp_path / "mask.nii.gz", LABELS)
    check(scan, mask, expected, warnings)


def finer(*corners: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A mask with three times as many voxels along each axis, and its affine.

    Both plaques lie in it whole, and cubes of 2 × 2 × 2 voxels at ``corners``, given in thirds of voxels.
    """
    array = LABELS.repeat(3, 0).repeat(3, 1).repeat(3, 2)
    for corner in corners:
        array[tuple(slice(start, start + 2) for start in corner)] = 1
    return array, AFFINE @ np.diag([1 / 3, 1 / 3, 1 / 3, 1.0]) @ nibabel.affines.from_matvec(
        np.eye(3), (-1, -1, -1)
    )


RESAMPLED = {
    "without leave": (finer(), (), "another grid than the scan .*--resample-mask;", {}),
    "whole voxels": (finer(), ("--resample-mask",), EXPECTED, {"mask_resampled": "46.2 mm³ became 46.2 mm³"}),
    "a speck between centres": (
        finer((20, 20, 20)),
        ("--resample-mask",),
        EXPECTED,
        {"mask_resampled": "1 of its 3 pieces vanished"},
    ),
    "a place lost, of the same size": (
        (LABELS, moved(1.5, 0, 0)),
        ("--resample-mask",),
        "states a wrong position",
        {},
    ),
    "no place, of the same size": (
        (LABELS, np.eye(4)),
        ("--resample-mask",),
        "its header gives no place",
        {},
    ),
}


@pytest.mark.parametrize(("mask", "options", "expected", "warnings"), RESAMPLED.values(), ids=RESAMPLED)
def test_masks_on_other_voxels(tmp_path, mask, options, expected, warnings):
    scan = nifti(tmp_path / "ct.nii.gz", HU)
    check(scan, nifti(tmp_path / "mask.nii.gz", *mask), expected, warnings, options)


def test_a_mask_that_vanishes_is_refused(tmp_path):
    array, affine = finer((20, 20, 20))
    array[LABELS.repeat(3, 0).repeat(3, 1).repeat(3, 2) > 0] = 0
    scan, mask = nifti(tmp_path / "ct.nii.gz", HU), nifti(tmp_path / "mask.nii.gz", array, affine)
    check(scan, mask, "vanishes when it is resampled: none of its 1 pieces", options=("--resample-mask",))


@pytest.fixture
def series(tmp_path, write_dicom) -> Path:
    """The block as a DICOM series of a named patient, with a frame of reference."""
    folder, frame = tmp_path / "series", generate_uid()

    def change(dataset: Dataset, index: int) -> None:
        dataset.PatientID, dataset.FrameOfReferenceUID, dataset.SliceThickness = CANARY, frame, 2.5

    stored = (HU[::-1, ::-1].transpose(2, 1, 0) + 1024).astype(np.uint16)
    write_dicom(folder, stored, spacing_mm=(0.7, 0.8), change=change)
    return folder


def measures(dataset: Dataset) -> Dataset:
    return dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]


def without_spacing(dataset: Dataset) -> None:
    del measures(dataset).SpacingBetweenSlices


def state(**values: object) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        dataset.update(values)

    return change


def rounded_places(dataset: Dataset) -> None:
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        place = frame.PlanePositionSequence[0]
        place.ImagePositionPatient = [
            *place.ImagePositionPatient[:2],
            round(place.ImagePositionPatient[2] + 0.04, 2),
        ]


def stating_mm(spacing: float) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        measures(dataset).SpacingBetweenSlices = spacing

    return change


def unreferenced_coarse(dataset: Dataset) -> None:
    """Frames on every second slice and of double thickness, of an unknown series."""
    without_spacing(dataset)
    measures(dataset).SliceThickness = 5.0
    del dataset.ReferencedSeriesSequence


def unreferenced(dataset: Dataset) -> None:
    del dataset.ReferencedSeriesSequence


def unreferenced_coarser(dataset: Dataset) -> None:
    unreferenced_coarse(dataset)
    measures(dataset).SpacingBetweenSlices = 5.0


def other_series(dataset: Dataset) -> None:
    dataset.ReferencedSeriesSequence[0].SeriesInstanceUID = generate_uid()


FIRST, EVERY = LABELS == 1, LABELS > 0
SECOND_SLICES = np.zeros(LABELS.shape, bool)
SECOND_SLICES[10:14, 8:11, 4:10:2] = True
SEGMENTATIONS = {
    "binary": (LABELS, "BINARY", lambda dataset: None, EXPECTED, {}),
    "fractional": (EVERY, "FRACTIONAL", lambda dataset: None, EXPECTED, {}),
    "label map": (LABELS, "LABELMAP", lambda dataset: None, EXPECTED, {}),
    "gaps": (EVERY, "BINARY", lambda dataset: None, EXPECTED, {}),
    "gaps, no spacing": (EVERY, "BINARY", without_spacing, EXPECTED, {}),
    "two far slices, no spacing": (EVERY & (np.arange(20) != 5), "BINARY", without_spacing, 28.0, {}),
    "one slice, no spacing": (LABELS == 2, "BINARY", without_spacing, 16.8, {}),
    # highdicom states 1 mm for a single slice
    "one slice": (LABELS == 2, "BINARY", lambda dataset: None, 16.8, {}),
    "one slice, unknown series": (LABELS == 2, "BINARY", unreferenced, 16.8, {}),
    "one slice of 5 mm, unknown series": (
        LABELS == 2,
        "BINARY",
        unreferenced_coarser,
        "another grid",
        {},
    ),
    "spacing of 5 mm, frames of 2.5 mm": (EVERY, "BINARY", stating_mm(5.0), EXPECTED, {}),
    "spacing of 5 mm and frames too": (SECOND_SLICES, "BINARY", stating_mm(5.0), "another grid", {}),
    "frames of 5 mm, no spacing": (SECOND_SLICES, "BINARY", unreferenced_coarse, "another grid", {}),
    "rounded places": (EVERY, "BINARY", rounded_places, EXPECTED, {}),
    "another patient": (EVERY, "BINARY", state(PatientID=f"{CANARY} B"), "name another patient", {}),
    "another study": (EVERY, "BINARY", state(StudyInstanceUID=generate_uid()), "name another study", {}),
    "another frame of reference": (
        EVERY,
        "BINARY",
        state(FrameOfReferenceUID=generate_uid()),
        "name another frame of reference",
        {},
    ),
    "an unnamed study": (EVERY, "BINARY", state(StudyInstanceUID="0.0.0"), EXPECTED, {}),
    "an unnamed patient": (EVERY, "BINARY", state(PatientID="ANONYMOUS"), EXPECTED, {}),
    "another series": (
        EVERY,
        "BINARY",
        other_series,
        EXPECTED,
        {"mask_other_series": "drawn on another series"},
    ),
}


@pytest.mark.parametrize("row", SEGMENTATIONS.values(), ids=SEGMENTATIONS)
def test_dicom_segmentations(tmp_path, series, row):
    drawn, kind, change, expected, warnings = row
    drawn = np.ascontiguousarray(drawn[::-1, ::-1].transpose(2, 1, 0)).astype(np.uint8)
    paths = sorted(series.iterdir(), key=lambda path: pydicom.dcmread(path).InstanceNumber)
    segments = [(f"plaque {number}", codes.SCT.Heart) for number in range(1, drawn.max() + 1)]
    if kind == "FRACTIONAL":
        drawn = drawn.astype(float)[..., None]
    seg = write_segmentation(tmp_path / "seg.dcm", paths, drawn, segments, kind=kind, change=change)
    check(series, seg, expected, warnings)


def other_object(path: Path, uid: str, modality: str) -> Path:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = uid, generate_uid(), modality
    dataset.PatientID = CANARY
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


@pytest.mark.parametrize(
    ("uid", "modality", "gist"),
    [
        ("1.2.840.10008.5.1.4.1.1.481.3", "RTSTRUCT", "RT structure set.*contours.*plastimatch convert"),
        ("1.2.840.10008.5.1.4.1.1.66.5", "SEG", "surface segmentation: meshes"),
        ("1.2.840.10008.5.1.4.1.1.481.2", "RTDOSE", "0 DICOM segmentations"),
    ],
)
def test_other_dicom_objects_are_named(tmp_path, series, uid, modality, gist):
    alone = other_object(tmp_path / "object.dcm", uid, modality)
    beside = shutil.copytree(series, tmp_path / "ct")
    shutil.copy(alone, beside)
    for mask in (alone, beside):
        check(series, mask, gist)


def add(*words: object) -> dict:
    done = CliRunner().invoke(app, ["data", "import", *map(str, words), "--json"])
    assert done.exit_code in (0, 1), done.output
    return json.loads(done.stdout.splitlines()[0])


def test_masks_are_added_by_the_same_rules(tmp_path, series):
    """Wrong masks are refused with their scan; doubtful ones are added, and the answer says why they are."""
    data, scan = tmp_path / "data", nifti(tmp_path / "ct.nii.gz", HU)
    shifted = nifti(tmp_path / "shifted.nii.gz", LABELS, moved(3, 2, 1))
    for option in ("--heart", "--calcium"):
        (reason,) = add(scan, "--data", data, option, shifted)["refused"]
        assert "states a wrong position" in reason
    faint = nifti(tmp_path / "faint.nii.gz", cropped((9, 7, 3), (22, 16, 13)), moved(5, 5, 5))
    (added,) = add(scan, "--data", data, "--heart", faint, "--calcium", faint)["added"]
    assert added["masks"] == ["heart", "calcium"]
    assert [text.split(" is below")[0] for text in added["warnings"]] == [
        "calcium: 100 % of the calcium mask"
    ]
    drawn = np.ascontiguousarray(EVERY[::-1, ::-1].transpose(2, 1, 0)).astype(np.uint8)
    paths = sorted(series.iterdir(), key=lambda path: pydicom.dcmread(path).InstanceNumber)
    seg = write_segmentation(
        tmp_path / "seg.dcm", paths, drawn, [("calcium", codes.SCT.Heart)], change=state(PatientID="other")
    )
    (reason,) = add(series, "--data", data, "--calcium", seg)["refused"]
    assert "name another patient" in reason
