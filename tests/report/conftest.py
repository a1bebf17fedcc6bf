"""The made chests and networks of the score's tests, for the pages too."""

from __future__ import annotations

import runpy
from pathlib import Path

_made = runpy.run_path(str(Path(__file__).parents[1] / "score" / "conftest.py"))
make_chest, make_cohort = _made["make_chest"], _made["make_cohort"]
params, save_fit = _made["params"], _made["save_fit"]
