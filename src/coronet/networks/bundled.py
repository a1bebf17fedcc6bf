"""The networks that come with the package, in ``coronet/weights``."""

from __future__ import annotations

from pathlib import Path

BUNDLED = "bundled"
"""What ``--models`` calls them."""
FOLDER = "weights"
"""Their folder in the package: a folder a model, as `coronet.networks.factory.load_model` reads it."""


def bundled_folder(model: str) -> Path:
    """The folder of the ``heart`` or ``calcium`` network that comes with this installation."""
    return Path(__file__).resolve().parents[1] / FOLDER / model
