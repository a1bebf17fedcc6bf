"""Masks brought onto the grid of their scan, exactly or not at all."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from coronet.cohort.formats import metaimage, nifti, nrrd
from coronet.cohort.formats.listing import files_under
from coronet.cohort.formats.loaded import LPS_TO_RAS, Loaded, check_grid
from coronet.cohort.formats.pictures import SEGMENTATION, Damaged, NotUsable, parse
from coronet.cohort.formats.silence import silence_libraries
from coronet.cohort.reader import suffix_of
from coronet.cohort.volume import Volume, to_ras
from coronet.errors import InputError, UnreadableScan

OFF_GRID = 0.05
"""Fraction of a voxel by which a mask's grid may miss the scan's, at the scan's far corner."""

MOST_OUTSIDE = 0.5
"""A mask with more of its voxels than this outside the scan belongs to another one."""

Labels = Sequence[int | str] | None


@dataclasses.dataclass(frozen=True)
class Layer:
    """One label map of a mask file; files with overlapping segments have several.

    Attributes:
        volume: labels in RAS+.
        names: label value and name, where the file names them.
    """

    volume: Volume
    names: Mapping[int, str]


def read_mask(
    path: Path,
    grid: Volume,
    *,
    labels: Labels = None,
    absent_allowed: bool = False,
    resample: bool = False,
) -> np.ndarray:
    """Read a mask onto the grid of a scan.

    Args:
        path: NIfTI, NRRD, ``.seg.nrrd``, MetaImage, or a DICOM segmentation (file, or folder with one).
        grid: the scan.
        labels: values or names of the labels that are meant; the result is 1 where any of them is, else 0. By
            default all labels are kept as they are.
        absent_allowed: take numbers that no voxel has for labels that happen to be empty.
        resample: allow a mask on another grid, by nearest neighbour. A mask on the scan's own voxels, be it
            cropped, flipped or turned, is placed exactly and needs no leave.

    Returns:
        uint8, the shape of ``grid``.

    Raises:
        InputError: the mask does not fit the scan, its values are no labels, or labels asked for are absent.
        UnreadableScan: the file cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise UnreadableScan(f"{path}: there is no such file or folder.")
    placed = [
        (_place(layer.volume, grid, path, resample=resample), layer.names) for layer in _read_layers(path)
    ]
    if labels is not None:
        return _pick(placed, labels, path, absent_allowed=absent_allowed)
    if len(placed) == 1:
        return placed[0][0]
    overlap = sum((layer > 0).astype(np.uint8) for layer, _ in placed)
    if overlap.max() > 1:
        names = ", ".join(f"«{name}»" for _, known in placed for name in known.values())
        raise InputError(f"{path}: its segments overlap; name those that are meant, out of {names}.")
    return np.maximum.reduce([layer for layer, _ in placed])


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
    if not path.exists():
        raise UnreadableScan(f"{path}: there is no such file or folder.")
    return tuple(
        (_place(layer.volume, grid, path, resample=False), layer.names) for layer in _read_layers(path)
    )


def _pick(
    placed: list[tuple[np.ndarray, Mapping[int, str]]],
    labels: Sequence[int | str],
    path: Path,
    *,
    absent_allowed: bool,
) -> np.ndarray:
    wanted = {str(label).strip().lower() for label in labels}
    chosen = np.zeros(placed[0][0].shape, np.uint8)
    found = set()
    for layer, names in placed:
        values = set(np.unique(layer).tolist()) - {0} | set(names)
        for value in values:
            keys = {str(value), names.get(value, "").lower()} & wanted
            if keys:
                chosen[layer == value] = 1
                found |= keys
    absent = {label for label in wanted - found if not (absent_allowed and label.isdigit())}
    if absent:
        known = sorted({str(value) for layer, _ in placed for value in np.unique(layer).tolist() if value})
        named = sorted({name for _, names in placed for name in names.values() if name})
        raise InputError(
            f"{path}: no label {', '.join(sorted(absent))} in it; "
            f"there are {', '.join(known + named) or 'none'}."
        )
    return chosen


def _read_layers(path: Path) -> list[Layer]:
    suffix = suffix_of(path)
    if path.is_file() and suffix in (".nrrd", ".nhdr"):
        return _nrrd_layers(path)
    if path.is_file() and suffix in (".nii", ".nii.gz"):
        return [_layer(nifti.load(path), {}, path)]
    if path.is_file() and suffix in (".mha", ".mhd"):
        return [_layer(metaimage.load(path), {}, path)]
    return _dicom_layers(path)


def _layer(loaded: Loaded, names: Mapping[int, str], path: Path) -> Layer:
    array = loaded.array
    if array.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            whole = np.isfinite(array) & (np.rint(array) == array)
        if not whole.all():
            raise InputError(
                f"{path}: its values are no whole numbers; a mask holds labels, no probabilities."
            )
    low, high = array.min(), array.max()
    if low < 0 or high > 255:
        raise InputError(f"{path}: its values run from {low} to {high}; labels run from 0 to 255.")
    return Layer(to_ras(array.astype(np.uint8), loaded.affine), names)


def _nrrd_layers(path: Path) -> list[Layer]:
    loaded, segments = nrrd.load_layers(path)
    layers = []
    for index, array in enumerate(loaded.array):
        names = {value: name for name, layer, value in segments if layer == index}
        layers.append(_layer(Loaded(array, loaded.affine), names, path))
    return layers


def _dicom_layers(path: Path) -> list[Layer]:
    found = []
    for file in files_under(path):
        try:
            if str(parse(file).get("SOPClassUID", "")) == SEGMENTATION:
                found.append(file)
        except (NotUsable, Damaged, OSError):
            continue
    if len(found) != 1:
        raise UnreadableScan(
            f"{path}: {len(found)} DICOM segmentations in it; a mask is one, or NIfTI, NRRD or MetaImage."
        )
    import highdicom

    silence_libraries()
    try:
        segmentation = highdicom.seg.segread(found[0])
        numbers = list(segmentation.segment_numbers)
        volumes = [
            segmentation.get_volume(segment_numbers=[number], combine_segments=True, relabel=False)
            for number in numbers
        ]
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, OSError) as error:
        raise UnreadableScan(
            f"{path}: the DICOM segmentation makes no volume ({type(error).__name__})."
        ) from None
    layers = []
    for number, volume in zip(numbers, volumes, strict=True):
        affine = check_grid(LPS_TO_RAS @ volume.affine, path)
        name = str(segmentation.get_segment_description(number).segment_label)
        layers.append(_layer(Loaded(np.asarray(volume.array), affine), {number: name}, path))
    return layers


def _place(mask: Volume, grid: Volume, path: Path, *, resample: bool) -> np.ndarray:
    to_mask = np.linalg.inv(mask.affine) @ grid.affine
    far = np.asarray(grid.shape) - 1
    offset = np.rint(to_mask[:3, 3]).astype(int)
    corners = np.array(np.meshgrid(*zip((0, 0, 0), far, strict=True), indexing="ij")).reshape(3, -1)
    missed = np.abs(to_mask[:3, :3] @ corners + to_mask[:3, 3:] - (corners + offset[:, None])).max()
    if missed <= OFF_GRID:
        placed = _paste(mask.array, grid.shape, offset)
    elif resample:
        from scipy.ndimage import affine_transform

        placed = affine_transform(
            mask.array, to_mask[:3, :3], to_mask[:3, 3], output_shape=grid.shape, order=0, mode="constant"
        )
    else:
        raise InputError(
            f"{path}: the mask lies on another grid than the scan (spacing {_mm(mask)} against {_mm(grid)} "
            f"mm, off by up to {missed:.1f} voxels). Give the scan's own mask, or allow resampling "
            "(--resample-masks)."
        )
    before = int((mask.array > 0).sum()) * mask.voxel_mm3
    after = int((placed > 0).sum()) * grid.voxel_mm3
    if before > 0 and after < (1 - MOST_OUTSIDE) * before:
        raise InputError(
            f"{path}: {100 * (1 - after / before):.0f} % of the mask lies outside the scan; "
            "it belongs to another one."
        )
    return placed


def _paste(array: np.ndarray, shape: tuple[int, ...], offset: np.ndarray) -> np.ndarray:
    """Copy what both grids share; voxel i of the result is voxel i + offset of ``array``."""
    placed = np.zeros(shape, np.uint8)
    low = np.maximum(0, -offset)
    high = np.minimum(shape, np.asarray(array.shape) - offset)
    if (high > low).all():
        here = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        there = tuple(slice(a + o, b + o) for a, b, o in zip(low, high, offset, strict=True))
        placed[here] = array[there]
    return placed


def _mm(volume: Volume) -> str:
    return " × ".join(f"{value:.3g}" for value in volume.spacing_mm)
