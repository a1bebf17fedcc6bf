"""Fixtures that more than one test module uses."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of unpacked real CT, or a skip where there is none."""
    if not (SHARED / "unpack.sh").exists():
        pytest.skip("real CT is absent: no ../shared/data beside the project")
    shared_between_workers = tmp_path_factory.getbasetemp().parent / "coronet-data"
    import filelock

    with filelock.FileLock(f"{shared_between_workers}.lock"):
        done = subprocess.run(
            ["sh", str(SHARED / "unpack.sh"), str(shared_between_workers)],
            check=True,
            capture_output=True,
            text=True,
        )
    return Path(done.stdout.strip().splitlines()[-1])
