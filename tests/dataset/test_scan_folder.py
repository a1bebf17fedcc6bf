from __future__ import annotations

import json

import pytest

from coronet.dataset.scan_folder import LOOSE, OutcomeJournal, find_entries, find_sources
from coronet.errors import InputError, UnreadableScan
from coronet.io.volume import Volume, grid_affine, write_nifti


def test_every_series_and_volume_is_found_once(write_dicom, picture, tmp_path):
    for path in write_dicom(tmp_path, picture((4, 8, 6))):
        path.rename(path.with_name(f"first-{path.name}"))
    write_dicom(tmp_path, picture((4, 8, 6), seed=1))
    write_dicom(tmp_path / "study" / "deep", picture((5, 8, 6)))
    volume = Volume(picture((6, 8, 5)).astype("int16"), grid_affine((1.0, 1.0, 2.0), (0.0, 0.0, 0.0)))
    write_nifti(tmp_path / "other.nii.gz", volume)
    (tmp_path / "mask.seg.nrrd").write_bytes(b"a mask")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / ".hidden.nii.gz").write_text("hidden")
    entries = {entry.name: entry for entry in find_entries(tmp_path)}
    assert set(entries) == {"other.nii.gz", "study", LOOSE}
    assert [len(find_sources(entries[name])) for name in ("other.nii.gz", "study", LOOSE)] == [1, 1, 2]
    shapes = {source.read().volume.shape for source in find_sources(entries[LOOSE])}
    assert shapes == {(6, 8, 4)}


def test_a_damaged_file_and_a_folder_without_scans_are_told(write_dicom, picture, tmp_path):
    paths = write_dicom(tmp_path / "CANARY", picture((4, 8, 6)))
    for path in paths:
        path.write_bytes(path.read_bytes()[:200])
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "CANARY.txt").write_text("no scan")
    for entry in find_entries(tmp_path):
        (source,) = find_sources(entry)
        with pytest.raises(UnreadableScan, match=r"^the scan: ") as caught:
            source.read()
        assert "CANARY" not in str(caught.value)


def test_nothing_to_find_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        find_entries(tmp_path / "absent")
    with pytest.raises(InputError, match="empty"):
        find_entries(tmp_path)


def test_the_journal_outlives_a_cut_off_line_and_forgets_changed_files(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.nii").write_text("1")
    (entry,) = find_entries(tmp_path / "in")
    journal = OutcomeJournal(tmp_path / "journal")
    journal.begin(entry, "x")
    journal.end(entry, "x", "scan-1")
    journal.close(entry)
    journal.begin(entry, "y")
    with (tmp_path / "journal").open("a") as lines:
        lines.write(json.dumps({"entry": "a.nii"})[:7])
    again = OutcomeJournal(tmp_path / "journal")
    assert again.is_whole(entry)
    assert again.record(entry, "x").scan == "scan-1" and again.record(entry, "y").starts == 1
    again.end(entry, "y", "scan-2")
    assert OutcomeJournal(tmp_path / "journal").record(entry, "y").scan == "scan-2"
    (tmp_path / "in" / "a.nii").write_text("12")
    (changed,) = find_entries(tmp_path / "in")
    assert not again.is_whole(changed) and not again.records(changed)
