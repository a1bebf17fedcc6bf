"""The verb: real CT, served as the Commons serve it; and no network at all."""

from __future__ import annotations

import json
import time
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid
from typer.testing import CliRunner

from coronet import cli
from coronet.dataset.cases import find_cases
from coronet.errors import InputError
from coronet.io.reader import read_scan
from coronet.io.volume import read_nifti

SLICES = 134
CANARY = "Kanarienvogel"


def coronet(*arguments: str) -> str:
    """Standard output of the verb; its errors are raised."""
    done = CliRunner().invoke(cli.app, ["data", "nlst", *arguments], catch_exceptions=False)
    return done.stdout


def copies(source: Path, to: Path, uid: str) -> list[Path]:
    """Real slices, sorted by height, as a series of the Commons; what must not be kept is planted in them."""
    to.mkdir()
    slices = [pydicom.dcmread(path) for path in source.iterdir()]
    paths = []
    for index, dataset in enumerate(sorted(slices, key=lambda item: float(item.ImagePositionPatient[2]))):
        dataset.SeriesInstanceUID = uid
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.PatientID, dataset.PatientName = f"{CANARY}-1", f"{CANARY}^Jane"
        dataset.StudyDescription = dataset.InstitutionName = f"{CANARY} 2"
        block = dataset.private_block(0x0013, CANARY, create=True)
        block.add_new(0x10, "LO", f"{CANARY} 3")
        paths.append(to / f"{index:03d}.dcm")
        dataset.save_as(paths[-1])
    return paths


@pytest.mark.slow
def test_from_the_index_to_a_cohort(tmp_path, commons, real_data, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO")
    where = f"slices = {SLICES} and has_heart"
    planned = json.loads(coronet("--patients", "1", "--where", where, "--dry-run", "--json"))
    assert (planned["patients"], planned["hearts"], planned["to_download"]) == (1, 1, 1)
    assert commons.served == [] and sorted(path.name for path in tmp_path.iterdir()) == ["nlst.json", "store"]
    raw = json.loads(Path("nlst.json").read_text())
    (listed,) = raw["series"]
    ct = copies(real_data / "lung1_001" / "CT", tmp_path / "ct", listed["ct"]["uid"])
    drawn = np.zeros((SLICES, 512, 512), np.uint8)
    drawn[40:70, 180:330, 200:340] = 1 + np.arange(150)[:, None] // 30
    drawn[10:30, 100:200, 100:200] = 6
    heart = commons.segmentation(tmp_path / "seg.dcm", ct, drawn)
    commons.put(ct, listed["ct"]["uuid"])
    commons.put([heart], listed["heart"]["uuid"])
    # This segmentation is smaller than the one in the Commons, and the header of these slices is another one.
    listed["heart"]["size_mb"] = heart.stat().st_size / 1e6
    listed["heart"]["uid"] = str(pydicom.dcmread(heart, stop_before_pixels=True).SeriesInstanceUID)
    Path("nlst.json").write_text(json.dumps(raw))

    command = ("--patients", "1", "--where", where, "--endpoint", commons.endpoint)
    with pytest.raises(InputError, match="1 refused, 0 in the cohort"):
        coronet(*command)
    assert len(commons.served) == SLICES + 1 and not Path("data/ct").exists()
    commons.served.clear()
    # These slices lie 3 mm apart, which the rules refuse. A reviewer may allow it.
    Path("nlst.json").write_text(json.dumps(raw | {"spacing_mm": [1.0, 3.0]}))
    got = json.loads(coronet(*command, "--json").splitlines()[-1])
    assert commons.served == [] and len(got["added"]) == 1 and got["unmasked"] == []

    (case,) = find_cases(Path("data"))
    volume = read_nifti(case.ct)
    original = read_scan(real_data / "lung1_001" / "CT").volume
    assert np.array_equal(volume.array, original.array) and volume.same_grid(original)
    mask = read_nifti(case.heart)
    assert mask.same_grid(volume)
    assert np.array_equal(mask.array[::-1, ::-1].transpose(2, 1, 0), (drawn > 0) & (drawn < 6))
    assert list(Path("downloads").glob("[!.]*")) == []
    assert "1 were there" in coronet(*command) and commons.served == []

    for path in [path for path in (tmp_path / "data").rglob("*") if path.is_file()]:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = zlib.decompress(content, wbits=31)
        for secret in (CANARY, listed["ct"]["uid"], listed["heart"]["uid"], listed["ct"]["uuid"]):
            assert secret.encode() not in content and secret not in str(path)
    assert CANARY not in caplog.text and CANARY not in Path("nlst.json").read_text()


def test_without_a_network_it_says_so_and_keeps_the_manifest(tmp_path, coronet, monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    project = tmp_path / "project"
    project.mkdir()
    dry = coronet(project, "data", "nlst", "--patients", "3", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "3 scans of as many patients" in dry.stdout and "GB CT" in dry.stdout
    assert not (tmp_path / "network.log").exists()
    manifest = (project / "nlst.json").read_bytes()
    started = time.monotonic()
    done = coronet(project, "data", "nlst", "--patients", "3")
    assert time.monotonic() - started < 30
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "s3.amazonaws.com does not answer" in done.stderr and "the manifest stays" in done.stderr
    assert (tmp_path / "network.log").read_text().splitlines() == ["'s3.amazonaws.com'"]
    assert (project / "nlst.json").read_bytes() == manifest
    assert not (project / "data").exists()


def test_seed_and_condition_need_a_number(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="give --patients too"):
        coronet("--where", "slices > 1")
    with pytest.raises(InputError, match="nlst.json is absent"):
        coronet()
