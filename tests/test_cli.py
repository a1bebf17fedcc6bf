"""The command as a shell sees it."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

import coronet
from coronet.cli import app

HEAVY = ("torch", "numpy", "mlflow", "optuna", "prefect", "nibabel", "rich.markdown", "coronet.api")


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


@pytest.mark.parametrize(
    "command",
    [
        "models history heart",
        "models check",
        "tracking sync",
        "score scan.nii.gz --models champion",
        "data import absent.nii.gz",
    ],
)
def test_outside_a_project_nothing_is_left_behind(command, tmp_path, forked_coronet):
    (scan := tmp_path.parent / f"{tmp_path.name}.nii.gz").touch()
    done = forked_coronet(tmp_path, *command.replace("scan.nii.gz", str(scan)).split())
    assert done.returncode == 2
    assert ("absent.nii.gz" if "import" in command else "run from the project's folder") in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_version_is_printed():
    assert CliRunner().invoke(app, ["--version"]).stdout == f"coronet {coronet.__version__}\n"


GROUPS = ([], ["score"], ["agreement"], ["data"], ["annotate"], ["search"], ["models"], ["tracking"])


@pytest.mark.parametrize("group", GROUPS)
def test_help_begins_with_examples_that_exist(group):
    output = CliRunner().invoke(app, [*group, "--help"]).stdout
    text = output.partition("\n\n")[2].partition("\n\n")[0]
    examples = [line.partition("#")[0].strip() for line in text.splitlines()]
    assert examples and all(line.startswith(" ".join(["coronet", *group])) for line in examples)
    for line in examples:
        command, (_, *words) = typer.main.get_command(app), shlex.split(line)
        if words[0] == "COMMAND":
            continue
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        options = {name for option in command.params for name in option.opts}
        assert {word for word in words if word.startswith("--")} <= options, line
