"""No value of a header reaches a log, a warning, an error or the terminal, whatever its VR."""

from __future__ import annotations

import logging
import logging.config
import os
import struct
import subprocess
import sys
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element

from coronet.dataset.import_scans import import_scans
from coronet.dataset.scan_folder import find_entries, find_sources
from coronet.errors import CoronetError, UnsuitableScan
from coronet.io.dicom.headers import TAGS
from coronet.io.log_redaction import silence_libraries
from coronet.io.masks import read_mask
from coronet.io.reader import read_scan
from coronet.scoring.batch import score_folder

CANARY = "Kanarienvogel"
UNREAD = {
    "AE": "RetrieveAETitle",
    "AS": "PatientAge",
    "AT": "FrameIncrementPointer",
    "CS": "SpecificCharacterSet",
    "DA": "StudyDate",
    "DS": "PatientWeight",
    "DT": "AcquisitionDateTime",
    "FD": "CTDIvol",
    "FL": "RecommendedDisplayFrameRateInFloat",
    "IS": "ExposureTime",
    "LO": "PatientAddress",
    "LT": "AdditionalPatientHistory",
    "OB": "ICCProfile",
    "OW": "RedPaletteColorLookupTableData",
    "PN": "ReferringPhysicianName",
    "SH": "AccessionNumber",
    "SL": "ReferencePixelX0",
    "SS": "SmallestImagePixelValue",
    "ST": "InstitutionAddress",
    "TM": "StudyTime",
    "UC": "LongCodeValue",
    "UI": "InstanceCreatorUID",
    "UL": "RegionFlags",
    "UN": "PixelComponentRangeStart",
    "UR": "RetrieveURL",
    "US": "LargestImagePixelValue",
    "UT": "TextValue",
}
"""A tag that is not read, for each VR."""

READ = [keyword for keyword in TAGS if dictionary_VR(keyword) != "SQ"]


@pytest.fixture
def everything(caplog, capfd, recwarn):
    """All that was logged at any level, warned of and printed, as one function."""
    loggers = [logging.getLogger(name) for name in (None, "pydicom", "coronet")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    warnings.simplefilter("always")
    pydicom.config.debug(True)

    def read() -> str:
        printed = capfd.readouterr()
        shown = "".join(str(item.message) for item in recwarn.list)
        return caplog.text + printed.out + printed.err + shown

    yield read
    pydicom.config.debug(False)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def plant(folder, keyword):
    """Put the canary into a tag of each file, as it would be stored, whatever the VR allows."""
    vr = dictionary_VR(keyword).split(" or ")[0]
    text = CANARY.encode() + b" "
    long = vr in ("OB", "OW", "UC", "UN", "UR", "UT")
    length = b"\0\0" + struct.pack("<I", len(text)) if long else struct.pack("<H", len(text))
    tag = tag_for_keyword(keyword)
    element = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode() + length + text
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        parts = {int(item.tag): encoded(item) for item in dataset} | {tag: element}
        start = 132 + 12 + dataset.file_meta.FileMetaInformationGroupLength
        path.write_bytes(path.read_bytes()[:start] + b"".join(parts[key] for key in sorted(parts)))


def encoded(item):
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, False
    write_data_element(stream, item)
    return stream.getvalue()


def errors_of(*calls):
    """The texts of all that the calls raise, with what a log would print of it."""
    found = []
    for call in calls:
        try:
            found.append(repr(call()))
        except CoronetError as error:
            found.append("".join(traceback.format_exception(error)))
    return "".join(found)


@pytest.mark.parametrize("keyword", [*READ, *UNREAD.values()])
def test_a_canary_in_a_tag_is_never_heard(tmp_path, write_dicom, picture, everything, keyword):
    folder = tmp_path / "in" / "ct"
    write_dicom(folder, picture((3, 8, 8)))
    plant(folder, keyword)
    everything()
    (entry,) = find_entries(tmp_path / "in")
    raised = errors_of(
        lambda: read_scan(folder),
        lambda: read_scan(next(folder.iterdir())),
        lambda: import_scans([folder], data=tmp_path / "data"),
        lambda: [source.read() for source in find_sources(entry)],
        lambda: read_mask(folder, None),
    )
    assert CANARY not in raised + everything()


HEADERS = {
    "nhdr": [
        *("type: short", "dimension: 3", "space: left-posterior-superior", "sizes: 4 4 4", "encoding: raw"),
        "data file: ct.raw",
    ],
    "mhd": [
        *("NDims = 3", "DimSize = 4 4 4", "ElementSpacing = 1 1 1", "ElementType = MET_SHORT"),
        *("Offset = 0 0 0", "ElementDataFile = ct.raw"),
    ],
}
NIFTI_FIELDS = (40, 70, 76, 108, 254, 344)
"""Where dimensions, type, spacing, offset, orientation and magic begin."""


@pytest.mark.parametrize("kind", ["nii", "nhdr", "mhd"])
@pytest.mark.parametrize("field", range(6))
def test_a_canary_in_a_volume_header_is_never_heard(tmp_path, everything, kind, field):
    path = tmp_path / "in" / f"ct.{kind}"
    path.parent.mkdir()
    if kind == "nii":
        image = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4))
        nibabel.save(image, path)
        content = bytearray(path.read_bytes())
        start = NIFTI_FIELDS[field]
        content[start : start + len(CANARY)] = CANARY.encode()
        path.write_bytes(content)
    else:
        separator = ": " if kind == "nhdr" else " = "
        chosen = list(HEADERS[kind])
        chosen[field] = chosen[field].split(separator)[0] + separator + CANARY
        path.write_text("NRRD0005\n" * (kind == "nhdr") + "\n".join(chosen) + "\n\n")
    everything()
    (entry,) = [item for item in find_entries(tmp_path / "in") if item.name != "."]
    raised = errors_of(
        lambda: read_scan(path),
        lambda: import_scans([path], data=tmp_path / "data"),
        lambda: [source.read() for source in find_sources(entry)],
    )
    assert CANARY not in raised + everything()


def test_threads_that_read_at_once_are_silent(tmp_path, write_dicom, picture, everything):
    """Filters that one thread sets for a while are undone while another one reads."""
    folders = [tmp_path / str(number) for number in range(12)]
    for folder in folders:
        write_dicom(folder, picture((6, 8, 8)))
        plant(folder, "StudyInstanceUID")
    everything()
    with ThreadPoolExecutor(6) as pool:
        assert len({scan.volume.shape for scan in pool.map(read_scan, folders)}) == 1
    assert CANARY not in everything()


class Refusing:
    """A scorer that refuses every scan."""

    settings: ClassVar[dict[str, str]] = {}
    statement = None

    def __call__(self, scan):
        raise UnsuitableScan("not scored in this test")


def test_a_batch_is_silent(tmp_path, write_dicom, picture, everything):
    for number, keyword in enumerate(
        ("StudyInstanceUID", "Modality", "PatientName", "KVP", "SpecificCharacterSet")
    ):
        folder = tmp_path / "in" / str(number)
        write_dicom(folder, picture((6, 8, 8), seed=number))
        plant(folder, keyword)
    everything()
    found = score_folder(tmp_path / "in", tmp_path / "out", scorer=Refusing())
    assert len(found.refused) == 5
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert CANARY not in repr(found) + everything()
    assert CANARY.encode() not in written


def test_what_sets_up_logging_anew_does_not_undo_the_silence(everything):
    loggers = [
        logging.getLogger(name)
        for name in (
            "pydicom",
            "pydicom.pixels.utils",
            "highdicom.seg.sop",
            "nibabel.global",
            "PIL.ImageFile",
        )
    ]
    silence_libraries()
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False, "root": {"level": "DEBUG"}})
    warnings.simplefilter("always")
    silence_libraries()
    for module in ("pydicom.valuerep", "coronet.io.nifti", "coronet.dataset.nlst.download"):
        warnings.warn_explicit(CANARY, UserWarning, "module.py", 1, module=module)
    for logger in loggers:
        logger.critical(CANARY)
    assert CANARY not in everything()


def test_the_command_is_silent_whatever_the_environment_asks_for(tmp_path, write_dicom, picture):
    write_dicom(tmp_path / "ct", picture((4, 8, 8)))
    plant(tmp_path / "ct", "StudyInstanceUID")
    command = [sys.executable, "-W", "always", "-m", "coronet.cli"]
    for arguments in (("data", "import", "ct", "--data", "data"), ("score", "ct", "--mask", "ct")):
        done = subprocess.run(
            [*command, *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONWARNINGS": "always"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert CANARY not in done.stdout + done.stderr
