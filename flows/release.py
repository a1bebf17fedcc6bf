"""One command makes the networks of the package again. ``python flows/release.py --help``

The steps are the commands that every user has, in a clone of this repository's HEAD: draw phantoms and
calcium in real scans, `dvc repro`, register, ask the gate. A second call goes on where the first one ended.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from coronet.config import MODELS
from coronet.errors import InputError, StageError
from coronet.files import sha256_file, write_text
from coronet.networks.factory import WEIGHTS
from coronet.registry.version_quality import logged_verdict
from coronet.terminal import run_app
from guard import guarded
from release_recipe import Recipe, copy_backgrounds, read_recipe
from release_record import RUN_LOG, publish

ROOT = Path(__file__).resolve().parents[1]
_MARK = "release-base"
"""Tag in the workspace: the commit that it was cloned at."""
_IGNORED = f"/{RUN_LOG}"
_PROMOTE = "PROMOTE"


class Workspace:
    """A clone in which a release is trained; what its commands print is kept in ``run.log``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    def prepare(self, recipe: Recipe) -> None:
        """Clone HEAD with the recipe's parameters, unless that was done before.

        Raises:
            InputError: the folder is of another commit or other parameters.
            StageError: git fails.
        """
        head = _git(ROOT, "rev-parse", "HEAD")
        params = recipe.params_text(_git(ROOT, "show", "HEAD:params.yaml") + "\n")
        path = self.folder / "params.yaml"
        if self.folder.exists():
            marks = _git(self.folder, "tag", "--list", "--format=%(objectname)", _MARK)
            if marks != head or path.read_text("utf-8") != params:
                raise InputError(
                    f"{self.folder} is of another commit or recipe than are here now, or was not cloned to "
                    "the end; remove it to begin anew, or check out its commit to go on with it."
                )
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        _git(ROOT, "clone", "--quiet", "--no-hardlinks", str(ROOT), str(self.folder))
        _git(self.folder, "checkout", "--quiet", "--detach", head)
        write_text(path, params)
        with (self.folder / ".git" / "info" / "exclude").open("a", encoding="utf-8") as lines:
            lines.write(f"{_IGNORED}\n")
        # last, so that a clone that was cut short is refused
        _git(self.folder, "tag", _MARK)

    def coronet(self, *arguments: str) -> int:
        """Run a command of Coronet."""
        return self.run(sys.executable, "-m", "coronet.cli", *arguments)

    def run(self, *command: str) -> int:
        """Run a command with the workspace's own code, and give its exit code."""
        shown = " ".join(command[2:]).replace("coronet.cli", "coronet")
        environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "PYTHONPATH": str(self.folder / "src"),
            "DVC_NO_ANALYTICS": "1",
        }
        started = time.monotonic()
        with (self.folder / RUN_LOG).open("a", encoding="utf-8") as log:

            def say(line: str) -> None:
                line = line.replace(str(self.folder), ".")
                sys.stdout.write(line)
                sys.stdout.flush()
                log.write(line)
                log.flush()

            say(f"$ {shown}\n")
            options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
            with guarded(list(command), cwd=self.folder, env=environment, **options) as child:
                assert child.stdout is not None
                for line in child.stdout:
                    say(line)
                code = child.wait()
            say(f"# {(time.monotonic() - started) / 60:.1f} min, exit code {code}\n")
        return code

    def must(self, code: int, what: str) -> None:
        """Raise StageError where a step ended with an error."""
        if code:
            raise StageError(f"{what} ended with exit code {code}; {self.folder / RUN_LOG} says why.")


def make(recipe_path: Path, folder: Path, backgrounds: Path | None) -> Path:
    """Train a release and let the gate evaluate it, up to the last step.

    Returns:
        The workspace.

    Raises:
        InputError: the backgrounds are others than those of the recipe.
        StageError: a step failed, or the gate does not promote a network.
    """
    recipe, workspace = read_recipe(recipe_path), Workspace(folder)
    workspace.prepare(recipe)
    place = workspace.folder / "data" / "backgrounds"
    if backgrounds is not None:
        copy_backgrounds(recipe, backgrounds, place)
    else:
        sys.stdout.write(
            "Without --backgrounds this release learns from phantoms alone, unlike the recipe.\n"
        )
    for item in recipe.phantoms:
        options = {"cases": item.cases, "seed": item.seed, "ranges": item.ranges, "masks": item.masks}
        words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        workspace.must(workspace.coronet("data", "phantom", *words, "--mix"), "Drawing phantoms")
    if backgrounds is not None:
        workspace.must(workspace.coronet("data", "deposit", "data/backgrounds"), "Drawing calcium")
    dvc = (sys.executable, "-m", "dvc")
    workspace.must(workspace.run(*dvc, "add", "data/ct", "data/masks"), "dvc add")
    _commit(workspace.folder, recipe)
    workspace.must(workspace.run(*dvc, "repro"), "dvc repro")
    for model in MODELS:
        workspace.must(workspace.coronet("models", "register", model), f"Registering {model}")
    if refused := [reason for model in MODELS if (reason := _ask_gate(workspace, model))]:
        raise StageError(
            f"{' '.join(refused)} Nothing is put into the package; "
            f"`python flows/release.py --from {workspace.folder}` does so all the same."
        )
    return workspace.folder


def _commit(folder: Path, recipe: Recipe) -> None:
    """Commit parameters and data pin, so that versions are registered from committed code."""
    _git(folder, "add", "params.yaml", "data.dvc")
    if _git(folder, "diff", "--cached", "--name-only"):
        author = ("-c", "user.name=coronet", "-c", "user.email=coronet@localhost")
        message = f"params: networks of {recipe.version}"
        _git(folder, *author, "commit", "--quiet", "--no-verify", "-m", message)


def _ask_gate(workspace: Workspace, model: str) -> str:
    """Let the gate evaluate a network, once; why it does not promote it, or nothing."""
    weights = sha256_file(workspace.folder / "build" / model / "fit" / WEIGHTS)
    if logged_verdict(workspace.folder, model, weights) is None:
        workspace.coronet("models", "promote", model, "--first")
    verdict = logged_verdict(workspace.folder, model, weights)
    if verdict is None:
        return f"{model}: not evaluated; {workspace.folder / RUN_LOG} says why."
    return "" if verdict.answer == _PROMOTE else f"{model}: {verdict.answer}. {' '.join(verdict.reasons)}"


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StageError(f"git {arguments[0]} in {folder}: {done.stderr.strip()}")
    return done.stdout.strip()


def main() -> None:
    """Make a release; the exit code is 2 where a step failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backgrounds", type=Path, metavar="DIR", help="real scans of the recipe")
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="PROJECT", help="only the last step: take these trainings"
    )
    parser.add_argument("--recipe", type=Path, default=ROOT / "releases" / "recipe.yaml")
    parser.add_argument("--workspace", type=Path, default=ROOT / "build" / "release", metavar="DIR")
    parser.add_argument(
        "--out", type=Path, default=ROOT, metavar="DIR", help="checkout that gets the release"
    )
    parser.add_argument("--version", help="of Coronet that they come with; the recipe's by default")
    chosen = parser.parse_args()

    def release() -> None:
        version = chosen.version or read_recipe(chosen.recipe).version
        source = chosen.source or make(chosen.recipe, chosen.workspace, chosen.backgrounds)
        record = publish(source, chosen.out, version=version, recipe=chosen.recipe)
        sys.stdout.write(f"Networks of {version} lie in src/coronet/weights; {record} holds their record.\n")

    sys.exit(run_app(release))


if __name__ == "__main__":
    main()
