"""Git as a person without settings."""

from __future__ import annotations

import subprocess
from pathlib import Path

IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@example.org")


def git(project: Path, *arguments: str) -> str:
    """What git answers."""
    command = ["git", *IDENTITY, *arguments]
    done = subprocess.run(command, cwd=project, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(project: Path, message: str) -> None:
    """Commit everything that is not ignored, in a repository that is made where there is none."""
    git(project, "init", "-q")
    git(project, "add", "-A")
    git(project, "commit", "-qm", message, "--allow-empty")
