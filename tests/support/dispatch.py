"""Programs run with and without the instruction sets that numpy and glibc choose for this processor."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest


def outputs_at_dispatch_levels(
    program: str, arguments: tuple[Sequence[str], Sequence[str]] = ((), ())
) -> list[str]:
    """What a program prints at this processor's level and at the baseline, each with its own arguments.

    Skips the test where the processor has nothing beyond numpy's baseline; numpy refuses to disable others.
    """
    features = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    if not features:
        pytest.skip("this processor has nothing beyond numpy's baseline")
    plain = {
        "NPY_DISABLE_CPU_FEATURES": " ".join(features),
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA",
    }
    return [
        subprocess.run(
            [sys.executable, "-c", program, *given],
            env=os.environ | settings | {"PYTHONPATH": os.pathsep.join(sys.path)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for settings, given in zip(({}, plain), arguments, strict=True)
    ]
