"""What git says: which commit the working tree is of, how it differs from it, what a file was at one."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

OWN_RECORDS = ("dvc.lock", "promotions.jsonl")
"""Written by the machinery itself, so a change in them is no change of the code."""
RUNNING = ("src", "flows", "params.yaml", "dvc.yaml", "data.dvc", "pyproject.toml")
"""Where a file that git does not know changes what runs."""


@dataclasses.dataclass(frozen=True)
class Code:
    """State of the working tree.

    Attributes:
        commit: of ``HEAD``; empty where nothing is committed or there is no git.
        changed: files that differ from it, relative to the project, sorted.
        patch: what ``git apply`` needs to make the working tree out of the commit.
    """

    commit: str
    changed: tuple[str, ...]
    patch: str = ""

    @property
    def dirty(self) -> bool:
        """Whether the tree differs from the commit, or there is no commit to compare with."""
        return bool(self.changed) or not self.commit


def read_code(project: Path, *, patch: bool = False) -> Code:
    """Ask git.

    Args:
        project: the project's folder.
        patch: whether to fill `Code.patch`.
    """
    commit = _git(project, "rev-parse", "HEAD").strip()
    if not commit:
        return Code("", ())
    prefix = _git(project, "rev-parse", "--show-prefix").strip()
    tracked = _listed(project, "diff", "--name-only", "--relative", "-z", "HEAD")
    new = _listed(project, "ls-files", "--others", "--exclude-standard", "-z", "--", *RUNNING)
    changed = tuple(sorted({*tracked, *new} - set(OWN_RECORDS)))
    return Code(commit, changed, _patch(project, changed, new, prefix) if patch else "")


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
    command = ["git", "-C", str(project), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    except FileNotFoundError:
        return b""
    return done.stdout if done.returncode in accept else b""
