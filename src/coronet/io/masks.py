"""Masks read from files and brought onto the grid of their scan, exactly or not at all."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from coronet.errors import InputError, UnreadableScan
from coronet.io import nrrd
from coronet.io.dicom import segmentation
from coronet.io.images import Image, is_path, raw_image
from coronet.io.mask_placement import PlacedLabels, place_labels, tissue_warnings
from coronet.io.patient_identity import Identifiers
from coronet.io.raw_volume import RawVolume
from coronet.io.reader import LOADERS, suffix_of
from coronet.io.volume import Volume, to_ras
from coronet.lists import check_list, folded

Labels = Sequence[int | str] | None

_HIGHEST_LABEL = 255
_IN_MEMORY = Path("the mask in memory")
ROUNDED = 1e-3
"""By this much programs that scale a mask miss the whole number that they mean."""


@dataclasses.dataclass(frozen=True)
class Layer:
    """One label map of a mask file; files with overlapping segments have several."""

    volume: Volume  # labels in RAS+
    names: Mapping[int, str]  # label value and name, where the file names them


@dataclasses.dataclass(frozen=True)
class PlacedMask:
    """A mask on the voxels of its scan.

    Attributes:
        labels: uint8, the shape of the scan.
        warnings: a short key, and a sentence without a full stop.
    """

    labels: np.ndarray
    warnings: Mapping[str, str]


def read_mask(
    source: Path | str | Image,
    grid: Volume,
    *,
    target: str | None = None,
    identifiers: Identifiers = Identifiers(),
    labels: Labels = None,
    absent_allowed: bool = False,
    resample: bool = False,
    vessels: bool = False,
) -> PlacedMask:
    """Read a mask onto the grid of a scan.

    Args:
        source: NIfTI, NRRD, ``.seg.nrrd``, MetaImage, or a DICOM segmentation (file, or folder with one); or
            an image in memory, see `coronet.io.images.raw_image`.
        grid: the scan, in HU.
        target: ``heart`` or ``calcium``, whose HU the mask is checked for; by default nothing is checked. Of
            a file with a segment of either name, the one of this name is meant.
        identifiers: of the scan, where they are known; a DICOM segmentation must agree with them.
        labels: values or names of the labels that are meant; the result is 1 where any of them is, else 0. By
            default all labels are kept as they are.
        absent_allowed: take numbers that no voxel has for labels that happen to be empty.
        resample: allow a mask on another grid, by nearest neighbour. A mask on the scan's own voxels, be it
            cropped, flipped or turned, is placed exactly and needs no leave.
        vessels: the labels must be vessels, not heart and calcium.

    Raises:
        InputError: the mask does not fit the scan, its values are no labels, or labels asked for are absent.
        UnreadableScan: the file cannot be read.
    """
    path, warnings = Path(source) if is_path(source) else _IN_MEMORY, dict[str, str]()
    if is_path(source):
        layers, warnings = _read_layers(path, grid, identifiers)
    else:
        layers = [_layer(raw_image(source, str(path)), path)]
    if labels is None and target is not None and _holds_both(layers):
        if vessels:
            raise InputError(f"{path}: its segments are the heart and calcium, no vessels by number.")
        labels = [target]
    if labels is not None:
        layers = _choose(layers, labels, path, absent_allowed=absent_allowed)
    placed = [place_labels(layer.volume, grid, path, resample=resample) for layer in layers]
    found = placed[0].labels
    if len(placed) > 1:
        if labels is None:
            _check_overlap(placed, layers, path)
        found = np.maximum.reduce([layer.labels for layer in placed])
    warnings |= _placement_warnings(placed, found, grid)
    return PlacedMask(found, warnings | tissue_warnings(found, grid, target, path))


def read_layers(path: Path, grid: Volume) -> tuple[tuple[np.ndarray, Mapping[int, str]], ...]:
    """All layers of a label file on the grid of a scan, each with the names of its labels.

    Args:
        path: as in `read_mask`; its voxels must be the scan's own, be the file cropped, flipped or turned.
        grid: the scan.

    Returns:
        For each layer uint8 labels, the shape of ``grid``, and label value to name where the file has names.

    Raises:
        InputError: the labels do not fit the scan, or their values are no labels.
        UnreadableScan: the file cannot be read.
    """
    path = Path(path)
    layers, _ = _read_layers(path, grid, Identifiers())
    return tuple(
        (place_labels(layer.volume, grid, path, resample=False).labels, layer.names) for layer in layers
    )


def _holds_both(layers: list[Layer]) -> bool:
    """Whether the segments are named heart and calcium, as those of our own results."""
    return {"heart", "calcium"} <= {folded(name) for layer in layers for name in layer.names.values()}


def _choose(
    layers: list[Layer], labels: Sequence[int | str], path: Path, *, absent_allowed: bool
) -> list[Layer]:
    """The layers with 1 where a label is that is meant, and 0 elsewhere."""
    wanted = check_list(map(str, labels), f"{path}: labels asked for")
    present = [set(np.unique(layer.volume.array).tolist()) - {0} | set(layer.names) for layer in layers]
    known = set().union(*present)
    chosen: list[set[int]] = [set() for _ in layers]
    for item in wanted:
        number = _number(item, path)
        named = [
            {value for value, name in layer.names.items() if name and folded(name) == folded(item)}
            for layer in layers
        ]
        if number is not None and any(values - {number} for values in named):
            raise InputError(f'{path}: "{item}" is the number of one label and the name of another.')
        found = [
            values | ({number} & here if number is not None else set())
            for values, here in zip(named, present, strict=True)
        ]
        tolerated = absent_allowed and number is not None and not any(layer.names for layer in layers)
        if not any(found) and not tolerated:
            names = sorted({name for layer in layers for name in layer.names.values() if name})
            listed = ", ".join([*map(str, sorted(known)), *names]) or "none"
            raise InputError(f"{path}: no label {item} in it; there are {listed}.")
        if any(before & values for before, values in zip(chosen, found, strict=True)):
            raise InputError(f'{path}: "{item}" is a label that is named already; name each label once.')
        chosen = [before | values for before, values in zip(chosen, found, strict=True)]
    return [
        Layer(
            layer.volume.with_array(np.isin(layer.volume.array, list(values)).astype(np.uint8)), layer.names
        )
        for layer, values in zip(layers, chosen, strict=True)
    ]


def _number(item: str, path: Path) -> int | None:
    """The label value that an item means; None where it is a name."""
    if not re.fullmatch(r"[+-]?\d+", item):
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,2}", item) or int(item) > _HIGHEST_LABEL:
        raise InputError(
            f"{path}: {item} is no label; labels are whole numbers from 1 to {_HIGHEST_LABEL}, and 0 is what "
            "lies outside the mask."
        )
    return int(item)


def _check_overlap(placed: list[PlacedLabels], layers: list[Layer], path: Path) -> None:
    overlap = np.sum([layer.labels > 0 for layer in placed], axis=0, dtype=np.uint8)
    if overlap.max() > 1:
        names = ", ".join(f'"{name}"' for layer in layers for name in layer.names.values())
        raise InputError(f"{path}: its segments overlap; name those that are meant, out of {names}.")


def _placement_warnings(placed: list[PlacedLabels], labels: np.ndarray, grid: Volume) -> dict[str, str]:
    before, outside = sum(item.before_mm3 for item in placed), sum(item.outside_mm3 for item in placed)
    pieces, lost = sum(item.pieces for item in placed), sum(item.lost for item in placed)
    warnings = {}
    if before and outside > 1e-6 * before:
        warnings["mask_outside_scan"] = (
            f"{100 * outside / before:.2g} % of the mask lies outside the scan and is left out"
        )
    if before and any(item.resampled for item in placed):
        after = np.count_nonzero(labels) * grid.voxel_mm3
        vanished = f"; {lost} of its {pieces} pieces vanished, as they hold no centre of a voxel of the scan"
        warnings["mask_resampled"] = (
            f"the mask lies on other voxels and was resampled: {_mm3(before - outside)} became "
            f"{_mm3(after)}{vanished if lost else ''}"
        )
    return warnings


def _mm3(volume: float) -> str:
    return f"{volume:.0f} mm³" if volume >= 1000 else f"{volume:.3g} mm³"


def _read_layers(path: Path, grid: Volume, identifiers: Identifiers) -> tuple[list[Layer], dict[str, str]]:
    if not path.exists():
        raise UnreadableScan(f"{path}: there is no such file or folder.")
    suffix = suffix_of(path)
    if path.is_file() and suffix in (".nrrd", ".nhdr"):
        return [_layer(loaded, path) for loaded in nrrd.load_nrrd_layers(path)], {}
    if path.is_file() and suffix in LOADERS:
        load, _ = LOADERS[suffix]
        return [_layer(load(path), path)], {}
    read = segmentation.load_segmentation(path, grid, identifiers)
    warnings = {}
    if read.other_series:
        warnings["mask_other_series"] = "the segmentation was drawn on another series than this scan"
    return [_layer(loaded, path) for loaded in read.layers], warnings


def _layer(loaded: RawVolume, path: Path) -> Layer:
    array = loaded.array
    if array.dtype.kind == "f":
        lost = array.size - int(np.isfinite(array).sum())
        if lost:
            raise InputError(f"{path}: {lost} of its values are NaN or infinite; a mask holds whole numbers.")
        whole = np.rint(array)
        if np.abs(whole - array).max() > ROUNDED:
            raise InputError(
                f"{path}: its values are no whole numbers; a mask holds labels, no probabilities."
            )
        array = whole
    low, high = array.min(), array.max()
    if low < 0 or high > _HIGHEST_LABEL:
        raise InputError(
            f"{path}: its values run from {low:g} to {high:g}; labels run from 0 to {_HIGHEST_LABEL}."
        )
    return Layer(to_ras(array.astype(np.uint8), loaded.affine), loaded.names)
