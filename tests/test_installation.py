"""The wheel installed without extras into an environment of its own."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

from coronet.io.volume import write_nifti

ROOT = Path(__file__).resolve().parents[1]
LESIONS = [((20.0, 10.0, 4.0), 350), ((-20.0, 20.0, -12.0), 500)]
BUILT = ("--models", "build")
LARGEST_WHEEL = 25e6
"""Bytes; the networks in it are most of them."""
ABSENT = ["mlflow", "optuna", "prefect", "great_expectations", "monai", "segmentation_models_pytorch_3d"]
ABSENT += ["sklearn", "duckdb", "dvc", "torchvision", "pytest"]


def base_distributions() -> set[str]:
    """Every distribution that the base requirements need, found among those installed here."""
    needed: set[str] = set()
    waiting = [(Requirement(text), "") for text in importlib.metadata.requires("coronet") or ()]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = requirement.name.lower().replace("_", "-")
        if name in needed or name == "coronet":
            continue
        needed.add(name)
        for text in importlib.metadata.requires(name) or ():
            waiting += [(Requirement(text), part) for part in ("", *requirement.extras)]
    return needed


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """Python of an environment that holds the wheel and what its base requirements need, nothing else."""
    folder = tmp_path_factory.mktemp("installation")
    source = folder / "source"
    listed = subprocess.run(
        ["git", "ls-files", "src", "pyproject.toml", "README.md", "LICENSE*"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = ["wheel", str(source), "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*pip, *build], check=True)
    [wheel] = folder.glob("coronet-*.whl")
    assert wheel.stat().st_size <= LARGEST_WHEEL
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    found = folder / "venv" / "bin" / "python"
    subprocess.run(
        [*pip, "--python", str(found), "install", "--no-deps", "--no-index", str(wheel)], check=True
    )
    [packages] = (folder / "venv" / "lib").glob("python*/site-packages")
    shared = Path(sysconfig.get_paths()["purelib"])
    for name in base_distributions():
        for top in {file.parts[0] for file in importlib.metadata.files(name) or ()} - {"..", "__pycache__"}:
            if (shared / top).exists() and not (packages / top).exists():
                (packages / top).symlink_to(shared / top)
    return found


@pytest.fixture(scope="module")
def project(make_chest, save_fit, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    chest = make_chest(LESIONS)
    write_nifti(folder / "scan.nii.gz", chest.ct)
    write_nifti(folder / "calcium.nii.gz", chest.ct.with_array(chest.calcium.astype(np.uint8)))
    for model in ("heart", "calcium"):
        save_fit(folder / "build" / model / "fit", model)
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    return folder


@pytest.fixture(scope="module")
def run(python, project):
    """Run something in the environment; the path of this checkout is not on its search path."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}

    def call(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(python.parent / command[0]), *command[1:]],
            cwd=project,
            env=environment,
            text=True,
            capture_output=True,
            check=False,
        )

    return call


def test_packages_of_the_extras_are_not_there(run):
    code = (
        "from importlib.util import find_spec\nimport coronet\n"
        f"print([name for name in {ABSENT} if find_spec(name)])\nprint(coronet.__file__)"
    )
    done = run("python", "-c", code)
    found, place = done.stdout.splitlines()
    assert found == "[]"
    assert "site-packages" in place and str(ROOT) not in place


def test_a_mask_and_a_scan_are_scored_from_the_command_line(run, project):
    by_mask = run("coronet", "score", "scan.nii.gz", "--mask", "calcium.nii.gz", "--json")
    assert by_mask.returncode == 0, by_mask.stderr
    by_networks = run("coronet", "score", "scan.nii.gz", *BUILT, "--out", "result", "--json")
    assert by_networks.returncode == 0, by_networks.stderr
    one, other = (json.loads(done.stdout)["scores"] for done in (by_mask, by_networks))
    assert one == other and one["agatston"] == pytest.approx(672)
    assert {path.name for path in (project / "result").iterdir()} == {
        "calcium.nii.gz",
        "heart.nii.gz",
        "index.html",
        "score.json",
    }


def test_a_folder_is_scored_and_readings_are_compared(run, project):
    (project / "inbox").mkdir()
    (project / "inbox" / "scan.nii.gz").write_bytes((project / "scan.nii.gz").read_bytes())
    done = run("coronet", "score", "inbox", *BUILT, "--batch", "--out", "scores")
    assert done.returncode == 0, done.stderr
    assert "672.0" in done.stdout
    (project / "table.csv").write_text("id,manual,ai\na,0,0\nb,10,12\nc,300,350\nd,500,410\n")
    done = run("coronet", "agreement", "table.csv", "--out", "agreement")
    assert done.returncode == 0, done.stderr


def test_a_mask_and_a_scan_are_scored_from_python(run):
    code = (
        "import coronet\n"
        "print(coronet.score_mask('scan.nii.gz', 'calcium.nii.gz').agatston)\n"
        "print(coronet.score('scan.nii.gz', 'build').agatston)"
    )
    done = run("python", "-c", code)
    assert done.returncode == 0, done.stderr
    assert [float(text) for text in done.stdout.split()] == pytest.approx([672, 672])


@pytest.mark.slow
def test_a_scan_is_scored_in_an_empty_folder_without_a_network(python, offline, tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    environment = offline(folder) | {"PYTHONPATH": str(tmp_path / "blocker")}

    def coronet(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(python.parent / "coronet"), *arguments]
        return subprocess.run(
            command, cwd=folder, env=environment, text=True, capture_output=True, check=False
        )

    drawn = coronet("data", "phantom", "--cases", "1", "--seed", "7", "--data", str(tmp_path / "data"))
    assert drawn.returncode == 0, drawn.stderr
    scan = str(tmp_path / "data" / "ct" / "phantom-0001.nii.gz")
    done = coronet("score", scan, "--out", "page")
    assert done.returncode == 0, done.stderr
    assert "As they come with Coronet" in done.stdout and "--models build" in done.stdout
    answer = json.loads((folder / "page" / "score.json").read_text())
    assert 250 < answer["input"]["heart_ml"] < 1600
    assert all(answer["models"][model]["release"] for model in ("heart", "calcium"))
    assert not (tmp_path / "network.log").exists()
    assert {path.name for path in folder.iterdir()} == {"page"}


MISSING = {
    "all": ("demo",),
    "track": ("tracking", "sync"),
    "track ": ("score", "scan.nii.gz", "--models", "champion"),
    "search": ("search", "calcium", "--trials", "1"),
    "nlst": ("data", "nlst", "--patients", "1"),
}


@pytest.mark.parametrize("extra", MISSING)
def test_a_command_names_the_extra_that_it_lacks(run, extra):
    done = run("coronet", *MISSING[extra])
    assert done.returncode == 2
    assert f'pip install "coronet[{extra.strip()}]"' in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_nothing_is_installed_through_a_link(tmp_path):
    """A linked environment is another folder's; the commands of that folder would run this one's code."""
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    (tmp_path / "theirs").mkdir()
    (tmp_path / ".venv").symlink_to("theirs")
    command = tmp_path / "requirements" / "install.sh"
    done = subprocess.run([command], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and ".venv is a link" in done.stderr
    assert not list((tmp_path / "theirs").iterdir())
