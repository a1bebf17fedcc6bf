"""Heart masks of backgrounds, found by a network where none was drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from coronet.errors import InputError, UnsuitableScan
from coronet.inference.predict import largest_heart, predict_heart
from coronet.io.reader import read_scan
from coronet.io.volume import write_nifti
from coronet.networks.factory import load_model
from coronet.real_backgrounds.backgrounds import find_backgrounds


def find_missing_hearts(folders: Sequence[Path], model: Path) -> tuple[Path, ...]:
    """Write the heart masks that backgrounds name and that are absent.

    Args:
        folders: of backgrounds.
        model: folder of a trained heart network, such as ``build/heart/fit``.

    Returns:
        The masks written, to be looked at.

    Raises:
        InputError: the mask is to be no NIfTI file.
        UnsuitableScan: the network finds no heart.
        StageError: there is no network.
    """
    files = [file for folder in folders for file in find_backgrounds(Path(folder)) if not file.heart.exists()]
    if not files:
        return ()
    for file in files:
        if not file.heart.name.endswith((".nii", ".nii.gz")):
            raise InputError(
                f"{file.path}: a network's heart mask is a .nii.gz file, and heart names another."
            )
    network = load_model(Path(model))
    for file in files:
        ct = read_scan(file.scan).volume
        heart = largest_heart(predict_heart(ct, network), ct, network.params.threshold)
        if not heart.any():
            raise UnsuitableScan(f"{file.scan}: the network in {model} finds no heart in it.")
        write_nifti(file.heart, ct.with_array(heart))
    return tuple(file.heart for file in files)
