"""Where networks run: the one place that chooses."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch


def pick_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextlib.contextmanager
def precision(device: torch.device) -> Iterator[None]:
    """Mixed precision on a GPU that has bfloat16, else fp32.

    bfloat16 has the exponents of fp32, so no loss scaling with a state of its own is needed. On a CPU it is
    no option: weight gradients of small grids come out NaN there.
    """
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        with torch.autocast("cuda", dtype=torch.bfloat16):
            yield
    else:
        yield


@contextlib.contextmanager
def determinism(device: torch.device) -> Iterator[None]:
    """Only algorithms that repeat to the bit, on a CPU; a GPU has none for some layers."""
    before = torch.are_deterministic_algorithms_enabled()
    memory: Any = torch.utils.deterministic
    filling = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(device.type == "cpu")
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        memory.fill_uninitialized_memory = filling
