"""``data.dvc`` pins scans and masks apart, and both travel through a remote."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from coronet.dataset import cases
from coronet.io.volume import Volume, write_nifti

ROOT = Path(__file__).resolve().parents[1]


def dvc(folder: Path, *arguments: str) -> str:
    """Run real DVC; fail with what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"DVC_NO_ANALYTICS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    (folder / ".dvc").mkdir()
    for name in (".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore", "data.dvc"):
        shutil.copy(ROOT / name, folder / name)
    volume = Volume(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    write_nifti(cases.scan_path(folder / "data", "scan-0001"), volume)
    cases.write_facts(folder / "data", "scan-0001", cases.ScanFacts(patient="p", source="nifti"))
    write_nifti(cases.mask_path(folder / "data", "scan-0001", "heart"), volume)
    dvc(folder, "commit", "-f", "data.dvc")
    return folder


def hashes(folder: Path) -> dict[str, str]:
    return {out["path"]: out["md5"] for out in yaml.safe_load((folder / "data.dvc").read_text())["outs"]}


@pytest.mark.slow
def test_scans_and_masks_have_their_own_hash(project):
    before = hashes(project)
    write_nifti(
        cases.mask_path(project / "data", "scan-0001", "heart"),
        Volume(np.ones((3, 4, 5), np.uint8), np.eye(4)),
    )
    dvc(project, "commit", "-f", "data.dvc")
    after = hashes(project)
    assert set(after) == {"data/ct", "data/masks"}
    assert after["data/ct"] == before["data/ct"]
    assert after["data/masks"] != before["data/masks"]


@pytest.mark.slow
def test_push_and_pull_through_a_local_remote(project, tmp_path):
    remote = tmp_path / "remote"
    dvc(project, "remote", "add", "-d", "store", str(remote))
    dvc(project, "push")
    before = cases.scan_path(project / "data", "scan-0001").read_bytes()
    shutil.rmtree(project / "data")
    shutil.rmtree(project / ".dvc" / "cache")
    dvc(project, "pull")
    assert cases.scan_path(project / "data", "scan-0001").read_bytes() == before
    assert [case.id for case in cases.find_cases(project / "data")] == ["scan-0001"]
    assert "up to date" in dvc(project, "status")
