"""The one transform from HU to what a network reads."""

from __future__ import annotations

from typing import Any

from coronet.errors import InputError


def scale_intensity(hu: Any, window_hu: tuple[float, float]) -> Any:
    """Map a window of HU linearly to −1 … 1 and clip what lies outside.

    Args:
        hu: numpy array or torch tensor of any shape, in HU.
        window_hu: (low, high); low becomes −1, high becomes 1.
    """
    low, high = window_hu
    return ((hu - low) * (2.0 / (high - low)) - 1.0).clip(-1.0, 1.0)


def check_contrast(values: Any, case: str) -> None:
    """Refuse an input that carries nothing.

    Raises:
        InputError: every voxel has the same value after windowing, as a destroyed or non-HU scan has.
    """
    if float(values.std()) < 1e-4:
        raise InputError(
            f"{case}: after windowing every voxel has the same value, so there is nothing to learn or "
            f"segment; check that the scan is in HU and that `input.window_hu` meets its tissue."
        )
