"""A score as DICOM segmentation and report: in the right place, with the right numbers, telling no more."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import subprocess
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from nibabel.affines import apply_affine
from nibabel.eulerangles import euler2mat
from typer.testing import CliRunner

from coronet.cli import app
from coronet.errors import InputError
from coronet.io.reader import read_scan
from coronet.io.volume import Volume, write_nifti
from coronet.networks.factory import load_model
from coronet.networks.vessel_map import VesselMap
from coronet.scoring.score_scan import ScanScore, score_scan
from coronet.scoring.score_with_mask import score_mask
from dicom_files import write_dicom_series
from enhanced import enhanced
from made_chests import write_calibration

LESIONS = [((20.0, 10.0, 4.0), 350), ((-24.0, 20.0, -20.0), 500)]
CANARY = "Kanarienvogel"
LPS = np.array([-1.0, -1.0, 1.0])
TURN = euler2mat(np.radians(8), np.radians(5), np.radians(-6))
# columns and rows run so in LPS
POSES = {
    "supine, head first": ((1, 0, 0, 0, 1, 0), np.eye(3)),
    "prone, head first": ((-1, 0, 0, 0, -1, 0), np.eye(3)),
    "supine, feet first": ((-1, 0, 0, 0, 1, 0), np.eye(3)),
    "oblique": ((1, 0, 0, 0, 1, 0), TURN),
}
KEEPERS = ("PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID", "StudyDescription")


def place(ct: Volume, orientation, turn=np.eye(3)):
    """Stored values (slices, rows, columns) of a volume, orientation and first position in LPS."""
    row, column = np.reshape(orientation, (2, 3)).astype(float)
    normal = np.cross(row, column)
    array, first = ct.array, [0, 0, 0]
    for axis, direction in enumerate((row, column, normal)):
        if (direction * LPS)[axis] < 0:
            array, first[axis] = np.flip(array, axis), ct.shape[axis] - 1
    origin = apply_affine(ct.affine, first) * LPS
    stored = np.clip(array.astype(int) + 1024, 0, None).astype(np.uint16).transpose(2, 1, 0)
    return stored, [*(turn @ row), *(turn @ column)], turn @ origin


def write_chest(folder: Path, ct: Volume, pose: str = "supine, head first", change=lambda *_: None) -> Path:
    orientation, turn = POSES[pose]
    stored, orientation, origin = place(ct, orientation, turn)
    x, y, z = ct.spacing_mm
    frame = pydicom.uid.generate_uid()

    def fill(dataset, index):
        dataset.FrameOfReferenceUID = frame
        dataset.PatientBirthDate, dataset.StudyDate = "19500203", "20200102"
        dataset.ImageOrientationPatient = [round(float(value), 8) for value in orientation]
        change(dataset, index)

    write_dicom_series(
        folder,
        stored,
        orientation=orientation,
        origin_mm=origin,
        spacing_mm=(y, x),
        step_mm=z,
        change=fill,
    )
    return folder


@pytest.fixture(scope="module")
def fits(save_fit, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fits")
    found = {model: save_fit(folder / model, model) for model in ("heart", "calcium")}
    # right of the heart's centre is RCA, left of it LAD
    rows = np.zeros((2, 20))
    rows[:, 10] = -9, 9
    vessels = VesselMap((2, 4), tuple(map(tuple, rows.tolist())), 40, 10, 40, 40)
    write_calibration(found["calcium"], load_model(found["calcium"]).sha256, intercept=2.0, vessels=vessels)
    return found


@pytest.fixture(scope="module")
def models(fits):
    return {f"{name}_model": load_model(folder) for name, folder in fits.items()}


@pytest.fixture(scope="module")
def chest(make_chest):
    return make_chest(LESIONS)


def drawn(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Segment label, SOPInstanceUID of the source to pixels, with pydicom's header and numpy alone."""
    seg = pydicom.dcmread(path)
    bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")
    pixels = bits[: seg.NumberOfFrames * seg.Rows * seg.Columns].reshape(-1, seg.Rows, seg.Columns)
    labels = {item.SegmentNumber: item.SegmentLabel for item in seg.SegmentSequence}
    found: dict[str, dict[str, np.ndarray]] = {label: {} for label in labels.values()}
    for picture, groups in zip(pixels, seg.PerFrameFunctionalGroupsSequence, strict=True):
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        key = source.ReferencedSOPInstanceUID, int(source.get("ReferencedFrameNumber") or 1)
        found[labels[number]][key] = picture.astype(bool)
    return found


def check_places(found: ScanScore, path: Path) -> None:
    """Every voxel of every segment lies where the mask has it."""
    expected = {"Heart": found.masks.heart, "Calcium": found.masks.calcium}
    labels = found.vessel_labels
    if labels is not None:
        expected |= {"Calcium LAD": labels == 2, "Calcium RCA": labels == 4}
    seg = highdicom.seg.segread(path)
    for number in seg.segment_numbers:
        label = seg.get_segment_description(number).SegmentLabel
        mask = expected.pop(label)
        volume = seg.get_volume(segment_numbers=[number], combine_segments=True, relabel=True)
        places = apply_affine(volume.affine, np.argwhere(volume.array)) * LPS
        voxels = apply_affine(np.linalg.inv(found.ct.affine), places)
        np.testing.assert_allclose(voxels, np.rint(voxels), atol=0.01)
        assert set(map(tuple, np.rint(voxels).astype(int))) == set(map(tuple, np.argwhere(mask)))
    assert not expected


@pytest.mark.parametrize("pose", POSES)
def test_masks_lie_on_the_source_in_every_position(chest, models, tmp_path, pose):
    folder = write_chest(tmp_path / "ct", chest.ct, pose)
    found = score_scan(read_scan(folder), **models)
    assert found.agatston > 100
    report = found.save_dicom(tmp_path / "out")
    path = report.with_name("segmentation.dcm")
    check_places(found, path)
    pictures = {}
    for file in folder.iterdir():
        source = pydicom.dcmread(file)
        pictures[source.SOPInstanceUID, 1] = source.pixel_array
    for key, picture in drawn(path)["Calcium"].items():
        # what is drawn on a slice lies on that very slice's bright pixels
        assert (pictures[key][picture] >= 1024 + 130).all()
    again = score_mask(folder, path)
    assert again.agatston == found.agatston
    np.testing.assert_array_equal(again.mask > 0, found.masks.calcium)


def test_masks_lie_on_the_frames_of_an_enhanced_object(chest, models, tmp_path):
    stored, _, origin = place(chest.ct, POSES["supine, head first"][0])
    order = np.random.default_rng(1).permutation(len(stored))
    depths = [float(origin[2] + 4.0 * index) for index in order]
    source = enhanced(stored[order], depths=depths, intercepts=[-1024] * len(stored))
    shared = source.SharedFunctionalGroupsSequence[0]
    shared.PixelMeasuresSequence[0].PixelSpacing = [3.0, 3.0]
    for frame, depth in zip(source.PerFrameFunctionalGroupsSequence, depths, strict=True):
        frame.PlanePositionSequence[0].ImagePositionPatient = [*map(float, origin[:2]), depth]
    (tmp_path / "ct").mkdir()
    pydicom.dcmwrite(tmp_path / "ct" / "one.dcm", source, enforce_file_format=True)
    found = score_scan(read_scan(tmp_path / "ct"), **models)
    path = found.save_dicom(tmp_path / "out").with_name("segmentation.dcm")
    check_places(found, path)
    for (uid, number), picture in drawn(path)["Calcium"].items():
        assert uid == source.SOPInstanceUID
        assert (stored[order][number - 1][picture] >= 1024 + 130).all()
    assert score_mask(tmp_path / "ct", path).agatston == found.agatston


def command(folder: Path, fits, out: Path, *more: str):
    models = f"heart={fits['heart']},calcium={fits['calcium']}"
    return CliRunner().invoke(app, ["score", str(folder), "--models", models, "--dicom", str(out), *more])


def test_the_command_writes_both_and_keeps_the_study(chest, fits, tmp_path):
    folder = write_chest(tmp_path / "ct", chest.ct)
    done = command(folder, fits, tmp_path / "out", "--calibration", "0.8")
    assert done.exit_code == 0, done.output
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"segmentation.dcm", "report.dcm"}
    source = pydicom.dcmread(next(folder.iterdir()))
    uids = {pydicom.dcmread(file).SOPInstanceUID for file in folder.iterdir()}
    written = [pydicom.dcmread(tmp_path / "out" / name) for name in ("segmentation.dcm", "report.dcm")]
    for item in written:
        assert all(item.get(keyword) == source.get(keyword) for keyword in KEEPERS)
        assert item.SeriesInstanceUID != source.SeriesInstanceUID
        assert "no medical device; phantom-trained" in item.SeriesDescription
    seg, report = written
    referred = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert {item.ReferencedSOPInstanceUID for item in referred} == uids
    assert seg.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert seg.SeriesInstanceUID != report.SeriesInstanceUID
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    named = {item.ReferencedSOPInstanceUID for series in evidence for item in series.ReferencedSOPSequence}
    assert named == uids | {seg.SOPInstanceUID}
    first = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert load_model(fits["heart"]).sha256 in first.AlgorithmParameters


def test_the_report_holds_score_interval_groups_and_vessels(chest, models, tmp_path):
    folder = write_chest(tmp_path / "ct", chest.ct)
    found = score_scan(read_scan(folder), calibration_factor=0.8, **models)
    path = found.save_dicom(tmp_path / "out")
    content = highdicom.sr.srread(path).content
    groups = {group.tracking_identifier: group for group in content.get_volumetric_roi_measurement_groups()}
    assert set(groups) == {"Coronary calcium", "Calcium LAD", "Calcium RCA"}
    others = {group.tracking_identifier for group in content.get_image_measurement_groups()}
    assert others == {"Calcium LM", "Calcium LCX"}

    def numbers(label):
        return [
            (item.name.value, item.method.value if item.method else "", item.value)
            for item in groups[label].get_measurements()
        ]

    total = dict(((name, method), value) for name, method, value in numbers("Coronary calcium"))
    scores = found.result.scores
    assert total["112058", "112055"] == pytest.approx(found.agatston)
    assert total["122660", "112056"] == pytest.approx(scores.volume_mm3)
    assert total["122661", "112057"] == pytest.approx(scores.mass_mg)
    assert total["122657", ""] == 130
    assert found.uncertainty is not None
    assert total["lower-bound", "112055"] == pytest.approx(found.uncertainty.low, abs=1e-5)
    assert total["upper-bound", "112055"] == pytest.approx(found.uncertainty.high, abs=1e-5)
    chances = [total[f"p-paper-{index}", ""] for index in range(4)]
    assert chances == pytest.approx([100 * value for value in found.uncertainty.groups["paper"].values()])
    parts = [dict(((n, m), v) for n, m, v in numbers(f"Calcium {name}")) for name in ("LAD", "RCA")]
    for key in (("112058", "112055"), ("122660", "112056"), ("122661", "112057")):
        assert sum(part[key] for part in parts) == pytest.approx(total[key], rel=1e-5)
    answers = {
        item.name.value: item.value.meaning
        for item in groups["Coronary calcium"].get_qualitative_evaluations()
    }
    assert answers["group-paper"] == found.result.groups["paper"]
    text = " ".join(
        item.TextValue for item in pydicom.dcmread(path).ContentSequence if item.ValueType == "TEXT"
    )
    assert "Research use only, no medical device." in text and "must not be believed on patients" in text


def test_a_scan_without_calcium_has_an_empty_segment_and_scores_zero_again(make_chest, models, tmp_path):
    folder = write_chest(tmp_path / "ct", make_chest().ct)
    found = score_scan(read_scan(folder), **models)
    path = found.save_dicom(tmp_path / "out").with_name("segmentation.dcm")
    assert found.agatston == 0 and drawn(path)["Calcium"] == {}
    assert score_mask(folder, path).agatston == 0
    with pytest.raises(InputError, match="no vessels by number"):
        score_mask(folder, path, vessels={1: "LM", 2: "LAD"})


def test_what_is_no_dicom_is_refused_before_any_network_runs(chest, tmp_path):
    write_nifti(tmp_path / "ct.nii.gz", chest.ct)
    absent = {"heart": tmp_path / "absent", "calcium": tmp_path / "absent"}
    done = command(tmp_path / "ct.nii.gz", absent, tmp_path / "out")
    assert done.exit_code != 0 and "no DICOM series" in str(done.output) + str(done.exception)
    assert not (tmp_path / "out").exists()


def test_files_without_identity_cannot_be_referred_to(chest, fits, tmp_path):
    def change(dataset, index):
        if index == 3:
            del dataset.StudyInstanceUID

    done = command(write_chest(tmp_path / "ct", chest.ct, change=change), fits, tmp_path / "out")
    assert done.exit_code != 0 and "no StudyInstanceUID" in str(done.output) + str(done.exception)
    assert not (tmp_path / "out").exists()


def test_a_refused_scan_writes_nothing_and_a_forced_one_says_so(chest, fits, tmp_path):
    def change(dataset, index):
        dataset.ContrastBolusAgent = "Ultravist 370 IV"

    folder = write_chest(tmp_path / "ct", chest.ct, change=change)
    done = command(folder, fits, tmp_path / "out")
    assert done.exit_code != 0 and not (tmp_path / "out").exists()
    done = command(folder, fits, tmp_path / "out", "--force")
    assert done.exit_code == 0, done.output
    texts = [
        item.TextValue
        for item in pydicom.dcmread(tmp_path / "out" / "report.dcm").ContentSequence
        if item.ValueType == "TEXT"
    ]
    assert any(text.startswith("Scored by --force although") for text in texts)


def canary(dataset, index):
    for keyword in ("PatientID", "PatientName", "AccessionNumber", "StudyID", "StudyDescription"):
        setattr(dataset, keyword, CANARY)
    for keyword in (
        "InstitutionName",
        "StationName",
        "OperatorsName",
        "Manufacturer",
        "ReferringPhysicianName",
    ):
        setattr(dataset, keyword, CANARY)
    dataset.PatientComments, dataset.OtherPatientNames, dataset.EthnicGroup = CANARY, CANARY, CANARY


def test_anonymous_results_hold_no_identifier(chest, fits, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    folder = write_chest(tmp_path / "ct", chest.ct, change=canary)
    done = command(folder, fits, tmp_path / "out", "--anonymous")
    assert done.exit_code == 0, done.output
    assert CANARY not in done.output + caplog.text
    for file in (tmp_path / "out").iterdir():
        content = file.read_bytes()
        assert CANARY.encode() not in content and b"19500203" not in content and b"20200102" not in content
        written = pydicom.dcmread(file)
        assert written.PatientName == "" and written.PatientID == "" and written.StudyDate == ""
        assert written.PatientIdentityRemoved == "YES" and written.DeidentificationMethod
        assert written.StudyInstanceUID == pydicom.dcmread(next(folder.iterdir())).StudyInstanceUID
    # the identity is known to the scan alone, so nothing contradicts
    assert score_mask(folder, tmp_path / "out" / "segmentation.dcm").agatston > 100


def test_named_results_repeat_the_patient_and_study_alone(chest, fits, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    done = command(write_chest(tmp_path / "ct", chest.ct, change=canary), fits, tmp_path / "out")
    assert done.exit_code == 0 and CANARY not in done.output + caplog.text
    written = pydicom.dcmread(tmp_path / "out" / "report.dcm")
    assert written.PatientID == CANARY
    held = {item.keyword for item in written.iterall() if CANARY in str(item.value) and item.VR != "SQ"}
    assert not held & {"InstitutionName", "StationName", "OperatorsName", "Manufacturer"}


def test_a_deidentified_source_stays_so(chest, fits, tmp_path):
    def change(dataset, index):
        dataset.PatientIdentityRemoved, dataset.DeidentificationMethod = "YES", "by the archive"

    done = command(write_chest(tmp_path / "ct", chest.ct, change=change), fits, tmp_path / "out")
    assert done.exit_code == 0, done.output
    for file in (tmp_path / "out").iterdir():
        written = pydicom.dcmread(file)
        assert written.PatientIdentityRemoved == "YES"
        assert written.DeidentificationMethod == "by the archive"


def test_names_in_other_character_sets_stay_legible(chest, fits, tmp_path):
    def change(dataset, index):
        dataset.SpecificCharacterSet, dataset.PatientName = "ISO_IR 100", "Müller^Zoë"
        dataset.OtherPatientNames, dataset.StudyDescription = "Zoë^Müller", "Thorax nüchtern"

    done = command(write_chest(tmp_path / "ct", chest.ct, change=change), fits, tmp_path / "out")
    assert done.exit_code == 0, done.output
    for file in (tmp_path / "out").iterdir():
        written = pydicom.dcmread(file)
        assert written.SpecificCharacterSet == "ISO_IR 192"
        assert written.PatientName == "Müller^Zoë" and written.StudyDescription == "Thorax nüchtern"
        assert written.OtherPatientNames == "Zoë^Müller"


def test_a_source_that_states_no_method_of_its_deidentification(chest, fits, tmp_path):
    def change(dataset, index):
        dataset.PatientIdentityRemoved = "YES"

    done = command(write_chest(tmp_path / "ct", chest.ct, change=change), fits, tmp_path / "out")
    assert done.exit_code == 0, done.output
    for file in (tmp_path / "out").iterdir():
        assert pydicom.dcmread(file).DeidentificationMethod == "not stated by the scan"


def test_a_header_against_the_standard_is_not_repeated(chest, fits, tmp_path):
    def change(dataset, index):
        dataset.add(pydicom.DataElement("PatientBirthDate", "DA", CANARY, validation_mode=0))

    done = command(write_chest(tmp_path / "ct", chest.ct, change=change), fits, tmp_path / "out")
    assert CANARY not in done.output + str(done.exception)
    assert done.exit_code == 0 or not (tmp_path / "out").exists()


def test_files_that_changed_meanwhile_are_not_referred_to(chest, models, tmp_path):
    folder = write_chest(tmp_path / "ct", chest.ct)
    found = score_scan(read_scan(folder), **models)
    shutil.rmtree(folder)
    write_chest(folder, chest.ct)
    with pytest.raises(InputError, match="changed after it was read"):
        found.save_dicom(tmp_path / "out")
    with pytest.raises(InputError, match="no DICOM series"):
        dataclasses.replace(found, slices=None).save_dicom(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("more", [[], ["--anonymous"]])
def test_other_programs_accept_both(chest, fits, tmp_path, more):
    if shutil.which("dciodvfy") is None or shutil.which("dsrdump") is None:
        pytest.skip("dciodvfy (dicom3tools) or dsrdump (dcmtk) is not installed")
    done = command(write_chest(tmp_path / "ct", chest.ct), fits, tmp_path / "out", *more)
    assert done.exit_code == 0, done.output
    for name in ("segmentation.dcm", "report.dcm"):
        verdict = subprocess.run(
            ["dciodvfy", tmp_path / "out" / name], check=False, capture_output=True, text=True
        )
        assert "Error" not in verdict.stdout + verdict.stderr
    read = subprocess.run(
        ["dsrdump", tmp_path / "out" / "report.dcm"], check=False, capture_output=True, text=True
    )
    assert read.returncode == 0 and '"Calcium score")=' in read.stdout
    assert "Agatston scoring method" in read.stdout


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["B40f", "B70f"])
def test_a_real_series_comes_back_voxel_by_voxel(real_data, fits, kernel, tmp_path):
    folder = real_data / "lung_dx_a0002" / kernel
    scan = read_scan(folder)
    found = score_scan(scan, **{f"{name}_model": load_model(path) for name, path in fits.items()}, force=True)
    path = found.save_dicom(tmp_path).with_name("segmentation.dcm")
    again = score_mask(folder, path)
    assert again.agatston == found.agatston
    np.testing.assert_array_equal(again.mask > 0, found.masks.calcium)
