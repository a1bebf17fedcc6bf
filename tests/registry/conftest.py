"""A small project: balls for hearts, networks that train in seconds, a real ledger beside them."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import filelock
import numpy as np
import pytest
import yaml

from balls import Ball, write_ball
from coronet import config
from coronet.dataset.cases import find_cases
from coronet.dataset.split import Member, Split, write_split
from coronet.files import write_json, write_text
from coronet.fingerprint import dvc_md5
from repositories import commit, git
from worker_threads import worker_threads

ROOT = Path(__file__).resolve().parents[2]
BALL = Ball(
    shape=(48, 48, 32),
    spacing=(4.0, 4.0, 5.0),
    shift=3.0,
    radius=(38.0, 46.0),
    body=(85.0, 75.0),
    depth=34.0,
    spot=8.0,
)
PARTS = {"train": 4, "tune": 2, "test": 8}
CALCIUM_FREE = ("ball-07", "ball-08")


@dataclasses.dataclass(frozen=True)
class Small:
    """The project and what is done with it; every method changes files as a user's command would."""

    folder: Path

    @property
    def params(self) -> config.Params:
        """Of the project."""
        return config.load_params(self.folder / "params.yaml")

    def change(self, **gate: object) -> None:
        """Write keys of ``gate`` into ``params.yaml`` and commit."""
        raw = yaml.safe_load((self.folder / "params.yaml").read_text())
        raw["gate"] |= gate
        (self.folder / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
        self.commit("change the gate")

    def commit(self, message: str) -> None:
        """Commit everything that is not ignored."""
        commit(self.folder, message)

    def git(self, *arguments: str) -> str:
        """Output of a git command."""
        return git(self.folder, *arguments)

    def train(self, model: str, **optimiser: object) -> None:
        """Train with other settings of the optimiser, as `dvc repro` would, and commit."""
        from coronet.fingerprint import fingerprint, hash_tree
        from coronet.preprocessing.prepared_store import prepared_cases
        from coronet.training.fit import fit_model

        raw = yaml.safe_load((self.folder / "params.yaml").read_text())
        raw["profiles"]["demo"][model]["optimiser"] |= optimiser
        (self.folder / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
        chosen = self.params.model(model)
        prepared = self.folder / "build" / model / "prepared"
        key = fingerprint(f"train@{model}", params=chosen, inputs={"data": hash_tree(prepared)})
        fit_model(
            model,
            prepared,
            chosen,
            train_cases=prepared_cases(prepared, "train"),
            tune_cases=prepared_cases(prepared, "tune"),
            seed=1,
            out=self.folder / "build" / model / "fit",
            work=self.folder / "mlruns" / "work" / key,
            fingerprint=key,
        )
        self.lock()
        self.commit(f"train {model}")

    def lock(self) -> None:
        """Write ``dvc.lock`` for what is there, as `dvc repro` would."""
        data, split = ("data/ct", "data/masks"), "build/split.json"
        stages = {
            "describe": (data, ("build/cases.csv",)),
            "validate": (("build/cases.csv",), ("build/validation",)),
            "split": (("build/cases.csv", "build/validation"), (split,)),
        }
        for model in config.MODELS:
            prepared, fitted = f"build/{model}/prepared", f"build/{model}/fit"
            stages[f"prepare@{model}"] = ((*data, split), (prepared,))
            if (self.folder / fitted).exists():
                stages[f"train@{model}"] = ((prepared, split), (fitted,))
        content = {
            "schema": "2.0",
            "stages": {
                name: {
                    "cmd": f"coronet stage {name}",
                    "deps": [{"path": path, "md5": dvc_md5(self.folder / path)} for path in deps],
                    "outs": [{"path": path, "md5": dvc_md5(self.folder / path)} for path in outs],
                }
                for name, (deps, outs) in stages.items()
            },
        }
        write_text(self.folder / "dvc.lock", yaml.safe_dump(content))


def build_small(folder: Path) -> None:
    """Write the project, train both networks and register them."""
    from coronet.preprocessing.prepared_store import prepare_model
    from coronet.registry import registration

    small = Small(folder)
    rng = np.random.default_rng(3)
    members = []
    names = iter(f"ball-{number:02d}" for number in range(1, 100))
    for part, count in PARTS.items():
        for _ in range(count):
            name = next(names)
            spots, patient = 0 if name in CALCIUM_FREE else 4, f"{name}-p"
            write_ball(folder / "data", name, rng, spots=spots, ball=BALL, patient=patient)
            members.append(Member(name, patient, part, "none" if name in CALCIUM_FREE else "high"))
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    raw["profile"] = "demo"
    for model, spacing, shape in (("heart", 8.0, (24, 24, 20)), ("calcium", 4.0, (16, 16, 16))):
        chosen = raw["profiles"]["demo"][model]
        chosen["input"] |= {"spacing_mm": [spacing, spacing, 8.0 if model == "heart" else 5.0]}
        chosen["input"] |= {"shape": list(shape), "overlap": 0.25}
        chosen["network"] |= {"encoder": "plain", "channels": [4, 8, 16]}
        chosen["optimiser"] |= {"patches_per_epoch": 32, "batch_size": 4, "learning_rate": 0.01}
        chosen["optimiser"] |= {"epochs": 6, "averaging": 0.5}
    raw["gate"] |= {"score_error": None, "kappa": None, "resamples": 500}
    raw["gate"]["heart"] |= {"dice": 0.05}
    raw["gate"]["calcium"] |= {"f1": 0.05, "lesion_sensitivity": 0.05, "false_mm3": None}
    write_text(folder / "params.yaml", yaml.safe_dump(raw, sort_keys=False))
    write_text(folder / ".gitignore", "/data/\n/build/\n/mlruns/\n")
    write_text(folder / "build" / "cases.csv", "case\n" + "".join(f"{item.case}\n" for item in members))
    write_json(
        folder / "build" / "validation" / "report.json", {"ok": True, "faults": [], "cases": len(members)}
    )
    split = Split(1, tuple(members))
    write_split(folder / "build" / "split.json", split)
    small.git("init", "-q")
    for model in config.MODELS:
        prepared = folder / "build" / model / "prepared"
        with worker_threads():
            prepare_model(model, find_cases(folder / "data"), split, small.params, prepared)
    for model, epochs in (("heart", 1), ("calcium", 6)):
        small.train(model, epochs=epochs)
        registration.register_version(model, folder)
    small.commit("register")


def grow_small(folder: Path) -> None:
    """Make both first champions, and a better heart the challenger."""
    from coronet.registry import promotion, registration

    for model in config.MODELS:
        assert promotion.promote(model, folder, first=True).moved
    Small(folder).train("heart", epochs=6)
    registration.register_version("heart", folder)
    Small(folder).commit("register")


@pytest.fixture(scope="session")
def small_project(shared_folder: Path, templates: Path) -> Path:
    """Built once, to be copied and not changed: ``heart/1`` and ``calcium/1`` are challengers."""
    folder = shared_folder / "small" / "project"
    with filelock.FileLock(f"{folder.parent}.lock", timeout=900):
        if not (folder.parent / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(templates / "bare" / "mlruns", folder / "mlruns")
            build_small(folder)
            (folder.parent / "done").touch()
    return folder


@pytest.fixture(scope="session")
def grown_project(small_project: Path, shared_folder: Path) -> Path:
    """The same later: ``heart/1`` and ``calcium/1`` are champions, ``heart/2`` is a better challenger."""
    folder = shared_folder / "grown" / "project"
    with filelock.FileLock(f"{folder.parent}.lock", timeout=900):
        if not (folder.parent / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            grow_small(copy_small(small_project, folder).folder)
            (folder.parent / "done").touch()
    return folder


@pytest.fixture(scope="session")
def copied() -> Callable[[Path, Path], Small]:
    """`copy_small`, for fixtures of other modules."""
    return copy_small


@pytest.fixture
def small(small_project: Path, tmp_path: Path) -> Small:
    """The test's own copy."""
    return copy_small(small_project, tmp_path / "project")


@pytest.fixture
def grown(grown_project: Path, tmp_path: Path) -> Small:
    """The test's own copy."""
    return copy_small(grown_project, tmp_path / "project")


def copy_small(source: Path, target: Path) -> Small:
    """Copy a project; its ledger follows it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)
    return Small(target)
