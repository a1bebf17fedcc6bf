"""Pictures become series, and scans patients; strangers stay apart, and contradictions are refused."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from pydicom.uid import generate_uid
from typer.testing import CliRunner

from coronet import cli
from coronet.dataset.import_scans import import_scans
from coronet.dataset.scan_folder import find_entries, find_sources
from coronet.errors import InputError, UnreadableScan
from coronet.io.patient_identity import UNKNOWN, given_patient
from coronet.io.reader import find_scans, read_scan

STUDY, OTHER_STUDY, SERIES, FRAME, OTHER_FRAME = (generate_uid() for _ in range(5))
BLANK = ("", "REMOVED", "0", "0.0.0")


def headers(**values):
    """Set tags of every slice; None removes one, and a function is called with the slice's index."""

    def change(dataset, index):
        for keyword, value in values.items():
            chosen = value(index) if callable(value) else value
            if chosen is not None:
                setattr(dataset, keyword, chosen)
            elif keyword in dataset:
                delattr(dataset, keyword)

    return change


def patient(name, study=STUDY, **more):
    return {"PatientID": name, "StudyInstanceUID": study, **more}


def write(write_dicom, picture, folder, first=(), second=(), *, adjacent=False):
    """Two folders of slices, one behind the other along z where ``adjacent``."""
    for number, values in enumerate((dict(first), dict(second))):
        write_dicom(
            folder / f"part{number}",
            picture((4, 8, 8), seed=number),
            change=headers(**values),
            origin_mm=(-100.0, -120.0, 10.0 * number if adjacent else 0.0),
        )
    return folder


# (headers of the first folder, of the second, why nothing but two scans may come of it)
APART = [
    (patient("A"), patient("B"), {"SeriesInstanceUID": None}),
    *((patient("A"), patient("B"), {"SeriesInstanceUID": uid}) for uid in BLANK),
    (patient("A"), patient("A", OTHER_STUDY), {"SeriesInstanceUID": ""}),
    (patient("A"), patient("A", FrameOfReferenceUID=FRAME), {"SeriesInstanceUID": ""}),
    (patient("", PatientName="Doe^A"), patient("", PatientName="Roe^B"), {"SeriesInstanceUID": ""}),
    (patient("A", SeriesNumber=1), patient("A", SeriesNumber=2), {"SeriesInstanceUID": None}),
    (
        patient("A"),
        patient("A", ConvolutionKernel="B70f"),
        {"SeriesInstanceUID": None, "FrameOfReferenceUID": FRAME},
    ),
]


@pytest.mark.parametrize("adjacent", [False, True])
@pytest.mark.parametrize(("first", "second", "both"), APART)
def test_slices_without_a_series_are_told_apart(
    tmp_path, write_dicom, picture, *, first, second, both, adjacent
):
    inbox = tmp_path / "inbox"
    folder = write(write_dicom, picture, inbox / "in", both | first, both | second, adjacent=adjacent)
    outcome = import_scans([folder], data=tmp_path / "data")
    assert [item.shape for item in outcome.added] == [(8, 8, 4)] * 2 and outcome.refused == ()
    people = {item.patient for item in outcome.added}
    assert len(people) == 2 or first["PatientID"] == second["PatientID"]
    with pytest.raises(UnreadableScan, match="2 series in it"):
        read_scan(folder)
    (entry,) = find_entries(inbox)
    labels = {source.label for source in find_sources(entry)}
    assert len(labels) == 2, "a batch tells them apart too"


ONE = {"SeriesInstanceUID": SERIES}
CONTRADICTIONS = [
    (ONE | patient("A"), ONE | patient("B"), r"2 patients \(PatientID\)"),
    (ONE | patient("A"), ONE | patient("A", OTHER_STUDY), r"2 studies \(StudyInstanceUID\)"),
    (ONE | patient("A"), ONE | patient("B", OTHER_STUDY), r"PatientID\) and 2 studies"),
    (
        ONE | patient("", PatientName="Doe^A"),
        ONE | patient("", PatientName="Roe^B"),
        r"2 patients \(PatientName\)",
    ),
    (
        ONE | patient("ANON", PatientBirthDate="19500203"),
        ONE | patient("ANON", PatientBirthDate="19510203"),
        r"2 patients \(PatientBirthDate\)",
    ),
    (
        ONE | patient("A", FrameOfReferenceUID=FRAME),
        ONE | patient("A", FrameOfReferenceUID=OTHER_FRAME),
        r"2 frames of reference",
    ),
    (
        patient("A", SeriesInstanceUID=""),
        patient("A", SeriesInstanceUID=""),
        "lie in 2 folders and carry neither",
    ),
    (
        patient("A", SeriesInstanceUID=lambda index: generate_uid()),
        {},
        "carries a SeriesInstanceUID of its own",
    ),
]


@pytest.mark.parametrize("adjacent", [False, True])
@pytest.mark.parametrize(("first", "second", "gist"), CONTRADICTIONS)
def test_contradictions_are_refused_in_words(
    tmp_path, write_dicom, picture, *, first, second, gist, adjacent
):
    folder = write(write_dicom, picture, tmp_path / "in", first, second or first, adjacent=adjacent)
    with pytest.raises(UnreadableScan, match=gist) as caught:
        read_scan(folder)
    outcome = import_scans([folder], data=tmp_path / "data")
    assert len(outcome.refused) == 1 and outcome.added == ()
    for text in (str(caught.value), *outcome.refused):
        assert not any(secret in text for secret in ("Doe", "Roe", "1950", STUDY, OTHER_STUDY, SERIES, FRAME))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"PatientID": lambda index: "A" if index else ""},
        {"PatientName": lambda index: "Doe^A" if index else "DOE^a^^"},
        {"FrameOfReferenceUID": lambda index: generate_uid()},
        {"SeriesInstanceUID": ""},
        {"SeriesInstanceUID": None, "StudyInstanceUID": None, "PatientID": None},
    ],
)
def test_one_series_stays_one(tmp_path, write_dicom, picture, values):
    write_dicom(tmp_path, picture((4, 8, 8)), change=headers(**values))
    assert read_scan(tmp_path).volume.shape == (8, 8, 4)


def test_slices_of_one_series_in_two_folders_are_one(tmp_path, write_dicom, picture):
    for same in ({"SeriesInstanceUID": SERIES}, {"SeriesInstanceUID": "", "FrameOfReferenceUID": FRAME}):
        values = patient("A") | same
        folder = write(write_dicom, picture, tmp_path / str(len(same)), values, values, adjacent=True)
        assert read_scan(folder).volume.shape == (8, 8, 8)


# Who was scanned

NAMELESS = [
    *(
        "REMOVED",
        "removed ",
        "[REDACTED]",
        "id removed",
        "Removed for privacy",
        "blank",
        "-",
        "?",
        "…",
        "***",
    ),
    *(
        "DEIDENTIFIED",
        "De-Identified",
        "ANON^",
        "ANONYMOUS",
        "Anonymous^Patient",
        "Anonymisé",
        "anonymisiert",
    ),
    *(
        "00000000",
        "0",
        "000-00-0000",
        "99999999",
        "-1",
        "0.0.0",
        "XXXX",
        "x",
        "XXX-XX-XXXX",
        "aaaa",
        "_",
        ".",
    ),
    *("N/A", "n.a.", "NONE", "NULL", "(null)", "Not available", "not known", "unknown^unknown", "no name"),
    *("no patient id", "private", "tba"),
    *("TEST?", "Test Patient", "ID", "PATIENT_ID", "ＡＮＯＮ", "匿名", "anonymisiert"),
]
NAMES = [
    *("1234", "1", "22", "01", "100", "A", "X1", "P-A", "MRN-7", "LIDC-IDRI-0078", "1.2.3", "Müller", "山田"),
    *("DE", "Without", "ANON0017", "PATIENT 3", "patient_000", "TEST12"),
]


def identity(folder, write_dicom, picture, name, study=STUDY):
    values = patient(name, study, SpecificCharacterSet="ISO_IR 192")
    write_dicom(folder, picture((2, 8, 8)), change=headers(**values))
    (source,) = find_scans(folder, refused=[])
    return source.identity


@pytest.mark.parametrize("name", NAMELESS)
def test_placeholders_name_no_patient(tmp_path, write_dicom, picture, name):
    found = identity(tmp_path / "ct", write_dicom, picture, name)
    assert (found.text, found.known) == (f"study {STUDY} Doe^Jane", False)
    assert identity(tmp_path / "none", write_dicom, picture, name, study="") == UNKNOWN
    with pytest.raises(InputError, match="--patient is blank or a placeholder"):
        given_patient(name)


@pytest.mark.parametrize("name", NAMES)
def test_numbers_and_names_are_known(tmp_path, write_dicom, picture, name):
    found = [identity(tmp_path / study, write_dicom, picture, name, study) for study in (STUDY, OTHER_STUDY)]
    assert found[0] == found[1] == given_patient(name) and found[0].known


@pytest.mark.parametrize("name", ["REMOVED", "00000000", "ＡＮＯＮ"])
def test_placeholders_make_no_patient_of_strangers(tmp_path, write_dicom, picture, name):
    for number, study in enumerate((STUDY, OTHER_STUDY, "1.2.3", "1.2.3", "")):
        values = patient(name, study, SpecificCharacterSet="ISO_IR 192")
        write_dicom(tmp_path / "in" / str(number), picture((4, 8, 8), seed=number), change=headers(**values))
    outcome = import_scans([tmp_path / "in"], data=tmp_path / "data")
    assert len({item.patient for item in outcome.added}) == 5
    assert not any(item.patient_known for item in outcome.added)
    with pytest.raises(InputError, match="--patient is blank or a placeholder"):
        import_scans([tmp_path / "in" / "0"], data=tmp_path / "data", patient=name)


@pytest.mark.parametrize("name", ["1", "Müller", "ANON0017"])
def test_numbers_and_names_are_patients(tmp_path, write_dicom, picture, name):
    for number in range(2):
        values = patient(name, generate_uid(), SpecificCharacterSet="ISO_IR 192")
        write_dicom(tmp_path / "in" / str(number), picture((4, 8, 8), seed=number), change=headers(**values))
    outcome = import_scans([tmp_path / "in"], data=tmp_path / "data")
    assert len({item.patient for item in outcome.added}) == 1
    assert all(item.patient_known for item in outcome.added) and outcome.warnings == ()


def test_series_of_one_study_share_an_unknown_patient(tmp_path, write_dicom, picture):
    for number in range(2):
        change = headers(**patient("REMOVED", SeriesNumber=number))
        write_dicom(tmp_path / "in" / str(number), picture((4, 8, 8), seed=number), change=change)
    named = headers(**patient("REMOVED", PatientName="Roe^B"))
    write_dicom(tmp_path / "in" / "other", picture((4, 8, 8), seed=9), change=named)
    first, second, other = import_scans(
        [tmp_path / "in" / name for name in ("0", "1", "other")], data=tmp_path
    ).added
    assert first.patient == second.patient != other.patient


@pytest.mark.parametrize(
    "written",
    ["Zoë  Müller", "Zoe\u0308 Mu\u0308ller", " Zoë\tMüller\n", "Zo\u200bë Müller"],
    ids=["composed", "decomposed", "spaces", "invisible"],
)
def test_one_name_written_differently_is_one_patient(tmp_path, write_dicom, picture, written):
    scan = nifti(tmp_path / "a.nii", 1)
    first = import_scans([scan], data=tmp_path / "data", patient="Zoë Müller").added[0]
    other = import_scans([nifti(tmp_path / "b.nii", 2)], data=tmp_path / "data", patient=written).added[0]
    values = patient(written.replace("\n", "").replace("\t", " "), SpecificCharacterSet="ISO_IR 192")
    write_dicom(tmp_path / "ct", picture((4, 8, 8)), change=headers(**values))
    third = import_scans([tmp_path / "ct"], data=tmp_path / "data").added[0]
    assert first.patient == other.patient == third.patient
    assert first.patient_known and other.patient_known and third.patient_known


def nifti(path, seed):
    values = np.random.default_rng(seed).integers(-1000, 1500, (8, 9, 10)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([-0.7, -0.8, 2.5, 1.0])), path)
    return path


def run(*arguments):
    return CliRunner().invoke(cli.app, [*map(str, arguments)])


def test_the_user_is_told_that_a_patient_is_not_known_and_can_name_them_later(tmp_path):
    scan, data = nifti(tmp_path / "a.nii", 1), ("--data", tmp_path / "data")
    result = run("data", "import", scan, *data)
    assert "Beware: the patient is not known of scan-" in result.stderr and "--patient" in result.stderr
    answer = json.loads(run("data", "import", scan, *data, "--json").stdout)
    assert not answer["added"][0]["patient_known"] and "--patient" in answer["warnings"][0]
    named = json.loads(run("data", "import", scan, *data, "--json", "--patient", "MRN-7").stdout)
    assert named["added"][0]["patient_known"] and named["warnings"] == []
    assert named["added"][0]["patient"] != answer["added"][0]["patient"]
    again = json.loads(run("data", "import", scan, *data, "--json").stdout)
    assert again["added"] == [named["added"][0]] and again["warnings"] == []
    other = run("data", "import", scan, *data, "--patient", "MRN-8")
    assert "as a scan of another patient" in other.output


def test_one_name_is_not_given_to_two_patients(tmp_path, write_dicom, picture):
    folder = write(write_dicom, picture, tmp_path / "in", patient("A"), patient("B", OTHER_STUDY))
    with pytest.raises(InputError, match="scans are of 2"):
        import_scans([folder], data=tmp_path / "data", patient="MRN-7")
    assert not (tmp_path / "data" / "ct").exists()


@pytest.mark.parametrize("name", ["", "  ", "\u200b", "REMOVED", "0000"])
@pytest.mark.parametrize("command", ["data import", "annotate draw"])
def test_a_blank_patient_is_refused(tmp_path, command, name):
    scan = nifti(tmp_path / "a.nii", 1)
    strokes = ("--strokes", tmp_path / "none.json") if command == "annotate draw" else ()
    done = run(*command.split(), scan, "--data", tmp_path / "data", "--patient", name, *strokes)
    assert isinstance(done.exception, InputError) and "blank or a placeholder" in str(done.exception)
    assert not (tmp_path / "data" / "ct").exists()
