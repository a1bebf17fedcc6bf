"""Stored values of DICOM pictures, decoded once and put into HU."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from coronet.errors import UnreadableScan
from coronet.io.dicom.headers import SliceHeader, parse_header
from coronet.io.header_numbers import name_tag
from coronet.io.log_redaction import silence_libraries
from coronet.io.volume import AIR_HU, HIGHEST_HU

if TYPE_CHECKING:
    from pydicom import Dataset

_LOWEST_TISSUE_HU = -900
"""A padding value from here up to `HIGHEST_HU` may be tissue or metal as well, so it counts only where it
touches the picture's edge."""

_DECODERS = {
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pillow",
    "1.2.840.10008.1.2.4.91": "pillow",
    "1.2.840.10008.1.2.5": "pydicom",
}
"""Which decoder reads a compressed transfer syntax. GDCM reads the others, in a process of its own: on some
damaged files it ends the process that it runs in."""

_CELLS_KEPT = ("1.2.840.10008.1.2.5",)
"""Compressed transfer syntaxes that keep each pixel's cell with all its bits; the others keep its value."""


class ContradictoryHeader(Exception):
    """Tags that describe the pixels contradict them; the message names the tags."""


class SliceDecoder:
    """Pixels of the file asked for last, since frames of one file come one after the other.

    Args:
        where: the scan to name in errors.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._dataset: Dataset | None = None
        self._frames = np.empty(0)
        self._apart: ProcessPoolExecutor | None = None

    def __enter__(self) -> SliceDecoder:
        return self

    def __exit__(self, *_: object) -> None:
        if self._apart is not None:
            self._apart.shutdown(cancel_futures=True)

    def hu(self, picture: SliceHeader) -> np.ndarray:
        """HU of one picture, shape (rows, columns); padding is air.

        Raises:
            UnreadableScan: the file cannot be decoded.
        """
        if picture.dataset is not self._dataset:
            self._frames = self._decode(picture)
            self._dataset = picture.dataset
        cells = self._frames[picture.frame]
        try:
            stored = _stored_values(cells, picture.dataset)
            outside = _padding(picture, cells, stored)
        except ContradictoryHeader as error:
            raise UnreadableScan(
                f"{self._where}: the slice at {picture.depth_mm:.1f} mm: {error}. Export the series again."
            ) from error
        hu: np.ndarray
        if picture.whole:
            hu = stored.astype(np.int64 if stored.itemsize > 2 else np.int32)
            hu = hu * int(picture.slope) + int(picture.intercept)
        else:
            hu = stored.astype(np.float32) * np.float32(picture.slope) + np.float32(picture.intercept)
        if outside is not None:
            hu[outside] = AIR_HU
        impossible = hu > HIGHEST_HU
        if impossible.any() and _is_frame(impossible, hu):
            hu[impossible] = AIR_HU
        return hu

    def _decode(self, picture: SliceHeader) -> np.ndarray:
        dataset = picture.dataset
        try:
            _name_syntax(dataset)
            syntax = dataset.file_meta.TransferSyntaxUID
            if syntax.is_compressed and not syntax.is_deflated and syntax not in _DECODERS:
                frames = self._decode_apart(picture.path)
            else:
                frames = _decode(dataset, _DECODERS.get(syntax, ""))
            return frames.reshape(-1, int(dataset.Rows), int(dataset.Columns))
        except Exception:
            # Whatever a decoder raises on bytes that are not what they should be; its text may quote them.
            name = _syntax_name(dataset)
            raise UnreadableScan(
                f"{self._where}: the slice at {picture.depth_mm:.1f} mm cannot be decoded "
                f"({name}); the file is damaged or its compression is not read."
            ) from None

    def _decode_apart(self, path: Path) -> np.ndarray:
        if self._apart is None:
            from multiprocessing import get_context

            self._apart = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        return self._apart.submit(_decode_file, path).result()


def _decode_file(path: Path) -> np.ndarray:
    """Stored values of one file by GDCM; runs in a process of its own."""
    dataset = parse_header(path)
    _name_syntax(dataset)
    return _decode(dataset, "gdcm")


def _decode(dataset: Dataset, plugin: str) -> np.ndarray:
    from pydicom.pixels import pixel_array

    silence_libraries()
    return pixel_array(dataset, decoding_plugin=plugin, correct_unused_bits=False)


def _syntax_name(dataset: Dataset) -> str:
    """Name of a transfer syntax that the standard knows; other text in the tag is not repeated."""
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    return syntax.name if syntax is not None and syntax.name != syntax else "unknown transfer syntax"


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


def _stored_values(cells: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Values out of the bits from HighBit downwards, BitsStored of them."""
    # Old scanners draw overlays into the other bits. Programs write a HighBit or a BitsStored that is not
    # true; where that makes a difference to the pixels, nothing tells which of the two is right.
    allocated, count = int(dataset.BitsAllocated), int(dataset.BitsStored)
    high = dataset.get("HighBit")
    high = int(high) if isinstance(high, int) else count - 1
    if cells.dtype.kind not in "iu" or cells.dtype.itemsize * 8 != allocated:
        return cells
    lowest = _bits(cells, allocated, count - 1, count)
    if high == count - 1:
        return lowest
    tags = "HighBit (0028,0102) and BitsStored (0028,0101) contradict"
    if not 0 <= high < allocated:
        raise ContradictoryHeader(f"{tags} BitsAllocated (0028,0100)")
    named = _bits(cells, allocated, high, min(count, high + 1))
    if np.array_equal(named, lowest):
        return lowest
    syntax = dataset.file_meta.TransferSyntaxUID
    packed = syntax.is_compressed and not syntax.is_deflated and syntax not in _CELLS_KEPT
    # Values that need no bit above BitsStored, with bits below the named ones: then HighBit is not true.
    below = (1 << max(high - count + 1, 0)) - 1
    if high < count - 1 or packed or (np.array_equal(lowest, cells) and (cells & below).any()):
        raise ContradictoryHeader(f"{tags} the pixels")
    return named


def _bits(cells: np.ndarray, allocated: int, high: int, count: int) -> np.ndarray:
    """The number in ``count`` bits of each cell, the highest of them at ``high``; signed where cells are."""
    return (cells << (allocated - 1 - high)) >> (allocated - count)


def _padding(picture: SliceHeader, cells: np.ndarray, stored: np.ndarray) -> np.ndarray | None:
    """Pixels outside the scanner's field: those of the padding value, or of the range up to its limit."""
    dataset = picture.dataset
    value = _whole_number(dataset, "PixelPaddingValue")
    if value is None or cells.dtype.kind not in "iu":
        return None
    limit = _whole_number(dataset, "PixelPaddingRangeLimit")
    limit = value if limit is None else limit
    allocated, count = int(dataset.BitsAllocated), int(dataset.BitsStored)
    # The tag may be signed where pixels are not, and the reverse: the bits count.
    signed = cells.dtype.kind == "i"
    outside = _between(cells, value, limit, allocated)
    ends = [_as_cell(number, allocated, signed=signed) for number in (value, limit)]
    if all(end == _as_cell(end, count, signed=signed) for end in ends):
        outside |= _between(stored, value, limit, count)
    low, high = sorted(end * picture.slope + picture.intercept for end in ends)
    if high <= _LOWEST_TISSUE_HU or low > HIGHEST_HU or not outside.any():
        return outside
    return _touching_edge(outside)


def _touching_edge(mask: np.ndarray) -> np.ndarray:
    from scipy.ndimage import label

    parts, _ = label(mask)
    edge = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    return np.isin(parts, np.unique(edge[edge > 0]))


def _is_frame(impossible: np.ndarray, hu: np.ndarray) -> bool:
    """Whether pixels with no possible HU are padding that no tag declares: one value, at the edge."""
    values = hu[impossible]
    return bool((values == values[0]).all() and np.array_equal(_touching_edge(impossible), impossible))


def _between(values: np.ndarray, first: int, last: int, bits: int) -> np.ndarray:
    """Where ``values`` lie from ``first`` to ``last``, as numbers of so many bits, signed or not."""
    size = 1 << bits
    span = (last - first) % size
    if span > size // 2:
        first, last, span = last, first, size - span
    low, high = (_as_cell(end, bits, signed=values.dtype.kind == "i") for end in (first, last))
    if low <= high:
        return (values >= low) & (values <= high)
    # from the highest numbers over the end to the lowest ones
    return (values >= low) | (values <= high)


def _as_cell(number: int, bits: int, *, signed: bool) -> int:
    number %= 1 << bits
    return number - (1 << bits) if signed and number >= 1 << bits - 1 else number


def _whole_number(dataset: Dataset, keyword: str) -> int | None:
    """The value of a tag that is to have the pixels' own sort of number, whatever sort it is written as."""
    value = dataset.get(keyword)
    if isinstance(value, bytes):
        big = dataset.original_encoding[1] is False
        return int.from_bytes(value[:2], "big" if big else "little") if len(value) >= 2 else None
    if value is None or str(value).strip() == "":
        return None
    try:
        number = float(str(value))
    except ValueError:
        number = 0.5
    if not number.is_integer():
        raise ContradictoryHeader(f"{name_tag(keyword)} holds no number that can be read")
    return int(number)
