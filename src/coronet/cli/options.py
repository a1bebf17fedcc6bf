"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object in place of text.")]
DataFolder = Annotated[Path, typer.Option("--data", help="The cohort's folder.")]
