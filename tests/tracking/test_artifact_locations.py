"""A project that is moved or copied keeps its champions, and has no part in the folder it came from."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from copies import FORK, start_copy
from coronet.config import MODELS
from coronet.errors import CoronetError
from coronet.files import sha256_file
from coronet.registry import promotion_log, registration, versions
from coronet.tracking import mlflow_client, runs


@pytest.fixture(scope="module")
def champions(templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two champions, to be copied or moved; its folder's name has a space in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        folder = tmp_path_factory.mktemp("moved") / "a project"
        shutil.copytree(templates / "tiny", folder, symlinks=True)
        for model in MODELS:
            registration.register_version(model, folder)
        with mlflow_client.open_client(folder / "mlruns") as client:
            for model in MODELS:
                client.set_registered_model_alias(model, "champion", "1")
                client.delete_registered_model_alias(model, "challenger")
                promotion_log.append(folder, promotion_log.Event(promotion_log.PROMOTED, model, 1))
        runs.sync(folder)
    shutil.rmtree(folder / "mlruns" / "work", ignore_errors=True)
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def resolve(project: Path, **environment: str) -> list[str]:
    """What `coronet score --models champion` does before it reads a scan: places of the champions.

    In a process of its own, since MLflow keeps open what it has opened once.
    """
    answers = FORK.Queue()

    def run() -> None:
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        os.environ.update(environment)
        os.chdir(project)
        try:
            answers.put([str(versions.resolve(f"models:/{model}@champion")) for model in MODELS])
        except CoronetError as error:
            answers.put(error)

    start_copy(run)
    found = answers.get(timeout=120)
    if isinstance(found, CoronetError):
        raise found
    return found


def check_champions(project: Path, **environment: str) -> None:
    for model, place in zip(MODELS, resolve(project, **environment), strict=True):
        weights = sha256_file(project / place / "weights.safetensors")
        assert weights == sha256_file(project / f"build/{model}/fit/weights.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["copy", "d ü/a project", "a project.2"])
def test_a_copy_uses_its_own_artifacts_and_leaves_the_original_alone(
    champions, forked_coronet, name, tmp_path
):
    copy = tmp_path / name
    copy.parent.mkdir(exist_ok=True)
    subprocess.run(["cp", "-a", str(champions), str(copy)], check=True)
    before = contents(champions)
    hidden = champions.with_name("hidden")
    champions.rename(hidden)
    try:
        check_champions(copy)
    finally:
        hidden.rename(champions)
    shutil.rmtree(copy / "mlruns" / "work")
    check_champions(copy)
    assert forked_coronet(copy, "tracking", "sync").returncode == 0
    with mlflow_client.open_client(copy / "mlruns") as client:
        run = versions.find(client, "heart", "champion").run_id
        client.log_text(run, "of the copy", "note.txt")
    assert contents(champions) == before
    assert [path.name for path in (copy / "mlruns").rglob("note.txt")] == ["note.txt"]


@pytest.mark.slow
def test_a_moved_project_keeps_its_champions(champions, forked_coronet, tmp_path):
    first = tmp_path / "first"
    subprocess.run(["cp", "-a", str(champions), str(first)], check=True)
    check_champions(first)
    second = tmp_path / "below" / "second"
    second.parent.mkdir()
    first.rename(second)
    shutil.rmtree(second / "mlruns" / "work")
    check_champions(second)
    assert forked_coronet(second, "models", "why", "heart@champion").returncode == 0
    assert not first.exists()


@pytest.mark.slow
def test_artifacts_of_runs_that_are_gone_are_written_again(champions, forked_coronet, tmp_path):
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", str(champions), str(copy)], check=True)
    shutil.rmtree(copy / "mlruns" / "artifacts")
    with pytest.raises(CoronetError, match="mlruns/artifacts from its backup"):
        resolve(copy)
    assert forked_coronet(copy, "tracking", "sync").returncode == 0
    pictures = {path.name for path in (copy / "mlruns" / "artifacts" / "heart").rglob("*.png")}
    assert pictures == {path.name for path in (champions / "mlruns" / "artifacts" / "heart").rglob("*.png")}


@pytest.mark.slow
def test_a_database_of_its_own_place_says_what_to_do_after_a_move(champions, forked_coronet, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    subprocess.run(["cp", "-a", str(champions), str(first)], check=True)
    check_champions(first)
    shared = tmp_path / "ledger.db"
    (first / "mlruns" / "mlflow.db").rename(shared)
    environment = {"MLFLOW_TRACKING_URI": f"sqlite:///{shared}"}
    first.rename(second)
    shutil.rmtree(second / "mlruns" / "work")
    with pytest.raises(CoronetError, match=f"{re.escape(str(first))}.*`coronet tracking relocate`"):
        resolve(second, **environment)
    moved = forked_coronet(second, "tracking", "relocate", **environment)
    assert moved.returncode == 0 and str(first) in moved.stdout
    check_champions(second, **environment)
    assert not first.exists()
    assert "there" in forked_coronet(second, "tracking", "relocate", **environment).stdout
