"""The command as a shell sees it."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy", "mlflow", "optuna", "prefect", "nibabel", "rich.markdown")


def test_the_help_loads_nothing_that_takes_long():
    code = (
        "import sys\nfrom coronet.cli import main\nsys.argv = ['coronet', '--help']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print('loaded:', [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage: coronet" in done.stdout
    assert "loaded: []" in done.stdout


@pytest.mark.parametrize("arguments", [("scroe",), ("score",), ("score", "no.nii.gz", "--groups", "none")])
def test_what_cannot_be_understood_ends_with_2_and_a_reason(arguments, tmp_path):
    command = [sys.executable, "-m", "coronet.cli", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr
