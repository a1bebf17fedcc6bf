"""Stored values of DICOM pictures, decoded once and put into HU."""

from __future__ import annotations

import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from coronet.cohort.formats.pictures import Picture, parse
from coronet.cohort.volume import AIR_HU
from coronet.errors import UnreadableScan

if TYPE_CHECKING:
    from pydicom import Dataset

TISSUE_HU = -900
"""A padding value above this may be tissue as well, so it counts only where it touches the picture's edge."""

DECODERS = {
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pillow",
    "1.2.840.10008.1.2.4.91": "pillow",
    "1.2.840.10008.1.2.5": "pydicom",
}
"""Which decoder reads a compressed transfer syntax. GDCM reads the others, in a process of its own: on some
damaged files it ends the process that it runs in."""


class Decoder:
    """Pixels of the file asked for last, since frames of one file come one after the other.

    Args:
        where: the scan to name in errors.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._dataset: Dataset | None = None
        self._frames = np.empty(0)
        self._apart: ProcessPoolExecutor | None = None

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        if self._apart is not None:
            self._apart.shutdown(cancel_futures=True)

    def hu(self, picture: Picture) -> np.ndarray:
        """HU of one picture, shape (rows, columns); padding is air.

        Raises:
            UnreadableScan: the file cannot be decoded.
        """
        if picture.dataset is not self._dataset:
            self._frames = self._decode(picture)
            self._dataset = picture.dataset
        stored = self._frames[picture.frame]
        if picture.whole:
            hu = stored.astype(np.int32) * int(picture.slope) + int(picture.intercept)
        else:
            hu = stored.astype(np.float32) * np.float32(picture.slope) + np.float32(picture.intercept)
        outside = _padding(picture, stored)
        if outside is not None:
            hu[outside] = AIR_HU
        return hu

    def _decode(self, picture: Picture) -> np.ndarray:
        dataset = picture.dataset
        try:
            _name_syntax(dataset)
            syntax = dataset.file_meta.TransferSyntaxUID
            if syntax.is_compressed and not syntax.is_deflated and syntax not in DECODERS:
                frames = self._decode_apart(picture.path)
            else:
                frames = _decode(dataset, DECODERS.get(syntax, ""))
            frames = frames.reshape(-1, int(dataset.Rows), int(dataset.Columns))
            return _without_overlay_bits(frames, dataset)
        except Exception as error:
            # Whatever a decoder raises on bytes that are not what they should be.
            name = getattr(getattr(dataset.file_meta, "TransferSyntaxUID", None), "name", "unnamed")
            raise UnreadableScan(
                f"{self._where}: the slice at {picture.depth_mm:.1f} mm cannot be decoded "
                f"({name}); the file is damaged or its compression is not read."
            ) from error

    def _decode_apart(self, path: Path) -> np.ndarray:
        if self._apart is None:
            from multiprocessing import get_context

            self._apart = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        return self._apart.submit(decode_file, path).result()


def decode_file(path: Path) -> np.ndarray:
    """Stored values of one file by GDCM; runs in a process of its own."""
    dataset = parse(path)
    _name_syntax(dataset)
    return _decode(dataset, "gdcm")


def _decode(dataset: Dataset, plugin: str) -> np.ndarray:
    from pydicom.pixels import pixel_array

    with warnings.catch_warnings():
        # The warnings quote header values, which may name the patient.
        warnings.simplefilter("ignore")
        return pixel_array(dataset, decoding_plugin=plugin)


def _name_syntax(dataset: Dataset) -> None:
    """Files without a preamble do not name their transfer syntax; it follows from how they were parsed."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if getattr(dataset, "file_meta", None) is None:
        dataset.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit


def _without_overlay_bits(frames: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Old scanners draw overlays into the bits above BitsStored; shifting up and down again drops them."""
    unused = int(dataset.BitsAllocated) - int(dataset.BitsStored)
    if unused <= 0 or frames.dtype.kind not in "iu":
        return frames
    if frames.dtype.itemsize * 8 != int(dataset.BitsAllocated):
        return frames
    return (frames << unused) >> unused


def _padding(picture: Picture, stored: np.ndarray) -> np.ndarray | None:
    value = picture.dataset.get("PixelPaddingValue")
    if not isinstance(value, int):
        return None
    limit = picture.dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((value, limit if isinstance(limit, int) else value))
    outside = (stored >= low) & (stored <= high)
    if high * picture.slope + picture.intercept <= TISSUE_HU or not outside.any():
        return outside
    from scipy.ndimage import label

    parts, _ = label(outside)
    edge = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    return np.isin(parts, np.unique(edge[edge > 0]))
