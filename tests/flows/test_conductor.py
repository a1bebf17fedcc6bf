from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FLOWS = Path(__file__).resolve().parents[2] / "flows"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pipeline", "search", "promote", "batch", "deployments"])
def test_prefect_keeps_what_it_has_in_the_project(name, tmp_path, offline):
    environment = offline(tmp_path / "project") | {"HOME": str(tmp_path)}
    environment.pop("PREFECT_HOME", None)
    (tmp_path / "project").mkdir()
    done = subprocess.run(
        [sys.executable, str(FLOWS / f"{name}.py"), "--help"],
        cwd=tmp_path / "project",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "project" / "mlruns" / "prefect").is_dir()
    assert not (tmp_path / ".prefect").exists()
