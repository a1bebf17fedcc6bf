"""What git says: which commit the working tree is of, how it differs from it, what a file was at one."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
from pathlib import Path

_SECONDS = 60  # how long git may take to answer
_OWN_RECORDS = ("dvc.lock", "promotions.jsonl")
"""Written by the machinery itself, so a change in them is no change of the code."""
_RUNNING = ("src", "flows", "params.yaml", "dvc.yaml", "data.dvc", "pyproject.toml")
"""Where a file that git does not know changes what runs."""


@dataclasses.dataclass(frozen=True)
class GitState:
    """State of the working tree."""

    commit: str  # of `HEAD`; empty where git names none
    changed: tuple[str, ...]  # files that differ from it, relative to the project, sorted
    patch: str = ""  # what `git apply` needs to make the working tree out of the commit
    reason: str = ""  # why git names no commit, and what helps, as a sentence; empty where it names one

    @property
    def dirty(self) -> bool:
        """Whether the tree differs from the commit, or there is no commit to compare with."""
        return bool(self.changed) or not self.commit


def read_git_state(project: Path, *, patch: bool = False) -> GitState:
    """The state of a project's working tree; ``patch`` fills `GitState.patch`."""
    commit = _git(project, "rev-parse", "--verify", "--quiet", "HEAD").strip()
    if not commit:
        return GitState("", (), reason=missing_commit(project))
    prefix = _git(project, "rev-parse", "--show-prefix").strip()
    tracked = _listed(project, "diff", "--name-only", "--relative", "-z", "HEAD")
    new = _listed(project, "ls-files", "--others", "--exclude-standard", "-z", "--", *_RUNNING)
    changed = tuple(sorted({*tracked, *new} - set(_OWN_RECORDS)))
    return GitState(commit, changed, _patch(project, changed, new, prefix) if patch else "")


def missing_commit(project: Path) -> str:
    """Why git names no commit of a folder, and what helps; empty where it names one."""
    try:
        done = _run(project, "rev-parse", "HEAD")
    except FileNotFoundError:
        return "git is not installed, or not on the PATH; install it."
    except subprocess.TimeoutExpired:
        return f"git did not answer in {_SECONDS} s; see what `git status` says."
    message = done.stderr.decode("utf-8", "replace").strip()
    if done.returncode == 0:
        return ""
    if "dubious ownership" in message:
        advice = re.search(r"git config --global --add safe\.directory .*", message)
        command = f"`{advice[0].strip()}`" if advice else "`git status`, which says how to trust it"
        return f"The repository belongs to another user, so git does not read it; run {command}."
    if "not a git repository" in message:
        return "The project lies in no git repository; `git init`, then `git add` and `git commit`."
    if "ambiguous argument 'HEAD'" in message or "unknown revision" in message:
        return "The project has no commit; `git add` and `git commit`."
    return f"git fails ({' '.join(message.split())[:200]}); see what `git status` says."


def read_committed(project: Path, path: str, *, revision: str = "HEAD") -> bytes:
    """A file as git has it at a revision; empty where it, the revision or git is absent."""
    # git would take an empty revision for what is staged
    return _ask(project, "show", f"{revision}:./{path}") if revision else b""


def _patch(project: Path, changed: tuple[str, ...], new: list[str], prefix: str) -> str:
    """The difference of tracked files, then every new file as one that is added."""
    known = [name for name in changed if name not in new]
    parts = [_git(project, "diff", "--binary", "HEAD", "--", *known)] if known else []
    for name in sorted(set(new)):
        whole = f"{prefix}{name}"
        difference = _git(project, "diff", "--binary", "--no-index", "--", "/dev/null", name, accept=(0, 1))
        parts.append(difference.replace(f" b/{name}\n", f" b/{whole}\n") if prefix else difference)
    return "".join(parts)


def _listed(project: Path, *arguments: str) -> list[str]:
    return [name for name in _git(project, *arguments).split("\0") if name]


def _git(project: Path, *arguments: str, accept: tuple[int, ...] = (0,)) -> str:
    return _ask(project, *arguments, accept=accept).decode("utf-8", "surrogateescape")


def _ask(project: Path, *arguments: str, accept: tuple[int, ...] = (0,)) -> bytes:
    try:
        done = _run(project, *arguments)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return b""
    return done.stdout if done.returncode in accept else b""


def _run(project: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = ["git", "-C", str(project), *arguments]
    # its messages are recognised by their English text
    environment = os.environ | {"LC_ALL": "C", "LANGUAGE": ""}
    return subprocess.run(command, capture_output=True, check=False, timeout=_SECONDS, env=environment)
