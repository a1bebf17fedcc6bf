"""Files that a killed process or a file manager left in a folder are no part of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from coronet.dataset.case_table import describe_cases
from coronet.dataset.cases import find_cases, mask_path, scan_path, write_facts
from coronet.dataset.import_masks import MaskSources
from coronet.dataset.import_scans import import_scans
from coronet.dataset.scan_folder import find_entries, find_sources
from coronet.errors import InputError
from coronet.files import ABANDONED_S
from coronet.io.reader import read_scan
from coronet.io.scan_facts import ScanFacts
from coronet.io.volume import Volume, grid_affine, write_nifti

LEFT = (
    ".part-a1b2c3.nii.gz",
    "._case.nii.gz",
    "._IM0001.dcm",
    ".DS_Store",
    "Thumbs.db",
    "desktop.ini",
    "__MACOSX/._case.nii.gz",
)
PLACES = ("ct", "masks", "masks/reference")


def leave(folder, names=LEFT):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\0\x05\x16\x07left behind")


def volume(seed=0):
    values = np.random.default_rng(seed).integers(-1000, 1000, (12, 10, 8)).astype(np.int16)
    return Volume(values, grid_affine((1.0, 1.0, 2.0), (0.0, 0.0, 0.0)))


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    write_nifti(scan_path(folder, "case"), volume())
    write_facts(folder, "case", ScanFacts(patient="p", source="nifti"))
    return folder


@pytest.mark.parametrize("name", LEFT)
@pytest.mark.parametrize("place", PLACES)
def test_a_cohort_is_what_it_is_without_them(data, place, name):
    before = describe_cases(data, workers=1)
    leave(data / place, [name])
    assert [case.id for case in find_cases(data)] == ["case"]
    assert describe_cases(data, workers=1).equals(before)


def test_scan_folders_are_what_they_are_without_them(tmp_path, write_dicom, picture):
    write_dicom(tmp_path / "in" / "series", picture((4, 8, 8)))
    write_nifti(tmp_path / "in" / "scan.nii.gz", volume())
    leave(tmp_path / "in")
    leave(tmp_path / "in" / "series")
    assert read_scan(tmp_path / "in" / "series").volume.shape == (8, 8, 4)
    entries = find_entries(tmp_path / "in")
    assert [entry.name for entry in entries] == ["scan.nii.gz", "series"]
    assert [len(find_sources(entry)) for entry in entries] == [1, 1]
    outcome = import_scans([tmp_path / "in"], data=tmp_path / "data")
    assert (len(outcome.added), outcome.refused) == (2, ())


def test_a_folder_with_nothing_else_is_empty(tmp_path):
    leave(tmp_path)
    with pytest.raises(InputError, match="empty"):
        find_entries(tmp_path)


def test_an_addition_removes_old_temporary_files_and_no_others(data, tmp_path):
    for place in ("ct", "masks"):
        leave(data / place, [".part-old.nii.gz", ".part-new.nii.gz", ".part-old.txt.keep"])
        for name in (".part-old.nii.gz", ".part-old.txt.keep"):
            os.utime(data / place / name, (time.time() - 2 * ABANDONED_S,) * 2)
    (data / "ct" / ".part-old.txt.keep").rename(data / "ct" / "keep.txt")
    write_nifti(tmp_path / "a.nii.gz", volume(1))
    import_scans([tmp_path / "a.nii.gz"], data=data)
    assert not (data / "ct" / ".part-old.nii.gz").exists()
    assert (data / "ct" / ".part-new.nii.gz").exists() and (data / "ct" / "keep.txt").exists()


@pytest.mark.parametrize("name", ["odd.nii.gz", "case.nii.gz"])
@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_what_is_no_file_under_the_name_of_a_scan_or_mask_is_named(data, kind, name):
    path = data / "ct" / name if name == "odd.nii.gz" else mask_path(data, "case", "heart")
    path.parent.mkdir(exist_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(data / "absent")
    with pytest.raises(InputError, match=f"{path.name}: this is (no regular file|a link to)"):
        find_cases(data)


def test_a_mask_without_its_scan_is_not_given_to_another(tmp_path):
    """An addition was killed after the masks, and its id is used for another scan."""
    data, scans = tmp_path / "data", []
    for seed in (1, 2):
        scans.append(tmp_path / f"{seed}.nii.gz")
        write_nifti(scans[-1], volume(seed))
    mask = tmp_path / "mask.nii.gz"
    write_nifti(mask, volume().with_array(np.ones((12, 10, 8), np.uint8)))
    write_nifti(mask_path(data, "mine", "heart"), volume().with_array(np.ones((12, 10, 8), np.uint8)))
    refused = import_scans([scans[1]], data=data, case="mine").refused
    assert len(refused) == 1 and "mine_heart.nii.gz belongs to no scan" in refused[0]
    assert import_scans([scans[0]], data=data, case="mine", masks=MaskSources(heart=mask)).added[0].new


@pytest.mark.slow
def test_a_killed_addition_leaves_a_cohort_that_can_be_described_and_gone_on_with(data, tmp_path):
    scan = tmp_path / "big.nii"
    values = np.random.default_rng(0).integers(-1000, 400, (400, 400, 160)).astype(np.int16)
    write_nifti(scan, Volume(values, grid_affine((0.8, 0.8, 1.5), (0.0, 0.0, 0.0))))
    command = [sys.executable, "-m", "coronet.cli", "data", "import", str(scan), "--data", str(data)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not [part for part in (data / "ct").glob(".part-*") if part.suffix == ".gz"]:
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list((data / "ct").glob(".part-*.nii.gz"))
    assert list(describe_cases(data, workers=1)["case"]) == ["case"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(describe_cases(data, workers=1)) == 2
