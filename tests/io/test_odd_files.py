"""Pipes, devices, broken links and files of other kinds beside a series or volume."""

from __future__ import annotations

import os
import shutil
import socket

import nrrd
import numpy as np
import pytest

from coronet.dataset.import_scans import import_scans
from coronet.dataset.scan_folder import find_entries, find_sources
from coronet.errors import UnreadableScan
from coronet.io.masks import read_mask
from coronet.io.reader import read_scan


def pipe(path):
    os.mkfifo(path)


def device(path):
    try:
        os.mknod(path, 0o20666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root makes devices")


def link_to_device(path):
    path.symlink_to("/dev/zero")


def open_socket(path):
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(path.parent)  # the name of a socket may have 108 bytes
        listener.bind(path.name)


def broken_link(path):
    path.symlink_to("/nowhere/annex/objects/ab")


def link_to_itself(path):
    path.symlink_to(path.name)


def raw(values, dtype):
    return lambda path: np.asarray(values, dtype).tofile(path)


def content(text):
    return lambda path: path.write_bytes(text)


LABELS = np.full(4000, 8)
LABELS[2000:] = 9
PASSED_OVER = [
    ("queue", pipe),
    ("IM00007.dcm", pipe),
    ("zero", device),
    ("zero.dcm", link_to_device),
    ("talk", open_socket),
    ("notes.txt", broken_link),
    ("loop", link_to_itself),
    ("labels.raw", raw(np.arange(8, 5000), "<u2")),
    ("labels.raw", raw(LABELS, "<u2")),
    ("zeros.raw", raw([8, *[0] * 4000], "<u2")),
    ("small.raw", raw([2, 0, 2, 0, 8, 0, 8, 0, *range(4000)], "<u2")),
    ("group.raw", raw([8, 5, 4, 0, 7, 7, 8, 6, 2, 0, 9, *range(4000)], "<u2")),
    ("hu.raw", raw(np.random.default_rng(0).integers(0, 60, 40_000), "<i2")),
    ("readme", content(b"text")),
    ("empty.txt", content(b"")),
]


@pytest.mark.parametrize(("name", "make"), PASSED_OVER, ids=lambda item: getattr(item, "__name__", item))
def test_what_is_no_slice_is_passed_over(tmp_path, write_dicom, picture, monkeypatch, *, name, make):
    monkeypatch.chdir(tmp_path)
    write_dicom(tmp_path / "in" / "ct", picture((4, 8, 8)))
    make(tmp_path / "in" / "ct" / name)
    assert read_scan(tmp_path / "in" / "ct").volume.shape == (8, 8, 4)
    outcome = import_scans([tmp_path / "in"], data=tmp_path / "data")
    assert (len(outcome.added), outcome.refused) == (1, ())
    (entry,) = find_entries(tmp_path / "in")
    assert [source.read().volume.shape for source in find_sources(entry)] == [(8, 8, 4)]


def lost_download(path):
    path.write_text("<html>404</html>")


MAY_BE_SLICE = [
    ("IM9999.dcm", lost_download, "no DICOM in it"),
    ("IM9999.dcm", content(b""), "no DICOM in it"),
    ("IM9999.dcm", broken_link, "a link to a file that is absent"),
    ("00099.dcm", link_to_itself, "not readable, OSError"),
    ("other", content(bytes(128) + b"DICM" + bytes(40)), "header"),
]


@pytest.mark.parametrize(("name", "make", "reason"), MAY_BE_SLICE)
def test_what_may_be_a_slice_condemns_the_series_and_is_named(
    tmp_path, write_dicom, picture, *, name, make, reason
):
    folder = tmp_path / "in" / "ct"
    write_dicom(folder, picture((4, 8, 8)))
    make(folder / name)
    with pytest.raises(UnreadableScan, match=f"damaged .*{reason}.* Damaged: {name}"):
        read_scan(folder)
    (refused,) = import_scans([folder], data=tmp_path / "data").refused
    assert name in refused
    (entry,) = find_entries(tmp_path / "in")
    with pytest.raises(UnreadableScan, match=reason) as caught:
        find_sources(entry)[0].read()
    assert name not in str(caught.value), "a batch names no file"


@pytest.mark.parametrize("make", [pipe, device, link_to_device, open_socket])
@pytest.mark.parametrize("name", ["scan", "scan.dcm", "scan.nii.gz"])
def test_a_pipe_or_device_is_named_as_such(tmp_path, write_dicom, picture, monkeypatch, *, name, make):
    monkeypatch.chdir(tmp_path)
    write_dicom(tmp_path / "ct", picture((4, 8, 8)))
    odd = tmp_path / name
    make(odd)
    grid = read_scan(tmp_path / "ct").volume
    for read in (read_scan, lambda path: read_mask(path, grid)):
        with pytest.raises(UnreadableScan, match="named pipe, device or socket"):
            read(odd)
    assert "named pipe" in import_scans([odd], data=tmp_path / "data").refused[0]


def test_slices_without_a_suffix_are_known_by_their_names(tmp_path, write_dicom, picture):
    for index, path in enumerate(write_dicom(tmp_path, picture((4, 8, 8)))):
        path.rename(tmp_path / f"IM{index:03d}")
    (tmp_path / "README").write_text("text")
    (tmp_path / "VERSION").symlink_to("/nowhere")
    assert read_scan(tmp_path).volume.shape == (8, 8, 4)
    (tmp_path / "IM004").write_text("<html>404</html>")
    with pytest.raises(UnreadableScan, match="Damaged: IM004"):
        read_scan(tmp_path)


def test_a_broken_link_to_a_volume_is_not_passed_over(tmp_path, write_dicom, picture):
    write_dicom(tmp_path / "in" / "ct", picture((4, 8, 8)))
    broken_link(tmp_path / "in" / "scan.nii.gz")
    pipe(tmp_path / "in" / "pipe.nii.gz")
    outcome = import_scans([tmp_path / "in"], data=tmp_path / "data")
    assert len(outcome.added) == 1
    assert [reason.split("in/")[1] for reason in outcome.refused] == [
        "scan.nii.gz: the link leads to no file."
    ]
    entries = {entry.name: find_sources(entry) for entry in find_entries(tmp_path / "in")}
    assert set(entries) == {"ct", "scan.nii.gz"}
    with pytest.raises(UnreadableScan, match="the link leads to no file"):
        entries["scan.nii.gz"][0].read()


@pytest.mark.parametrize("written", ["ct.raw", "./ct.raw", ".//ct.raw", ".\\ct.raw"])
@pytest.mark.parametrize("kind", ["nhdr", "mhd"])
def test_a_detached_header_may_name_its_data_from_its_own_folder(tmp_path, kind, written):
    values = np.random.default_rng(0).integers(-1000, 1000, (8, 9, 10)).astype(np.int16)
    plain = header(tmp_path / "plain", kind, values, "ct.raw")
    other = header(tmp_path / "other", kind, values, written)
    assert np.array_equal(read_scan(plain).volume.array, read_scan(other).volume.array)
    (tmp_path / "other" / "ct.raw").unlink()
    pipe(tmp_path / "other" / "ct.raw")
    with pytest.raises(UnreadableScan, match="data file that it names is absent"):
        read_scan(other)


@pytest.mark.parametrize(
    "written", ["../ct.raw", "sub/ct.raw", "/tmp/ct.raw", "\\ct.raw", "..", "ct%03d.raw 1 9 1"]
)
@pytest.mark.parametrize("kind", ["nhdr", "mhd"])
def test_a_detached_header_leads_to_no_other_folder(tmp_path, kind, written):
    values = np.random.default_rng(0).integers(-1000, 1000, (8, 9, 10)).astype(np.int16)
    path = header(tmp_path / "in", kind, values, written)
    shutil.copy(tmp_path / "in" / "ct.raw", tmp_path)
    with pytest.raises(UnreadableScan, match="one file in the same folder|is absent") as caught:
        read_scan(path)
    assert written not in str(caught.value)


def header(folder, kind, values, data_file):
    """A detached header whose data lie in ``ct.raw`` and which names them as ``data_file``."""
    folder.mkdir()
    values.ravel(order="F").tofile(folder / "ct.raw")
    path = folder / f"ct.{kind}"
    if kind == "mhd":
        path.write_text(
            "ObjectType = Image\nNDims = 3\nDimSize = 8 9 10\nElementSpacing = 1 1 2\n"
            f"ElementType = MET_SHORT\nElementDataFile = {data_file}\n"
        )
        return path
    facts = {
        "space": "left-posterior-superior",
        "space directions": np.diag([1.0, 1, 2]),
        "space origin": [0, 0, 0],
    }
    nrrd.write(str(folder / "attached.nrrd"), values, {**facts, "encoding": "raw"})
    with (folder / "attached.nrrd").open("rb") as stream:
        text = stream.read().split(b"\n\n")[0].decode()
    (folder / "attached.nrrd").unlink()
    path.write_text(f"{text}\ndata file: {data_file}\n\n")
    return path
