"""MetaImage files (``.mha``, and ``.mhd`` with its data beside it), as ITK writes them."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from coronet.errors import UnreadableScan
from coronet.io.header_numbers import Quantity, plain_numbers
from coronet.io.raw_volume import LPS_TO_RAS, RawVolume, check_grid, companion, three_axes

_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    # four bytes on every computer, by the format's own table of sizes
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_LONGEST_HEADER = 64 * 1024
_SPACING = ("ElementSpacing", "ElementSize")
_ORIGIN = ("Offset", "Position", "Origin")
_MATRIX = ("TransformMatrix", "Rotation", "Orientation")
_BYTE_ORDER = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
_SLOPE, _INTERCEPT = "ElementToIntensityFunctionSlope", "ElementToIntensityFunctionOffset"
_UNIT_TOLERANCE = 1e-2
_LENGTH_MM = Quantity(most=5000)
_HU = Quantity(most=100_000)  # what a header field can hold; see `coronet.io.header_numbers`

_RESCALING = re.compile(r"slope|intercept|rescale|intensity|scl_", re.IGNORECASE)
"""Names of fields that may change values; those that are not of the format have no defined meaning."""


def load_metaimage(path: Path) -> RawVolume:
    """Read a MetaImage volume; its physical space is LPS, as ITK defines it.

    Raises:
        UnreadableScan: damaged, in a form that is not read, or not three-dimensional.
    """
    try:
        header, start = _header(path)
        shape = tuple(int(value) for value in header["DimSize"].split())
        if int(header.get("NDims", len(shape))) != len(shape) or min(shape) < 1:
            raise UnreadableScan(f"{path}: NDims and DimSize contradict each other.")
        dtype = _dtype(header, path)
        flat = np.frombuffer(_content(path, header, start, math.prod(shape) * dtype.itemsize), dtype)
        affine = _affine(header, len(shape), path)
        slope, intercept = _rescaling(header, path)
    except KeyError as error:
        raise UnreadableScan(f"{path}: its header has no field {error.args[0]}.") from None
    except (OSError, ValueError, OverflowError, MemoryError, zlib.error) as error:
        raise UnreadableScan(
            f"{path}: the file is damaged or no MetaImage ({type(error).__name__})."
        ) from None
    array = flat.reshape(shape, order="F").astype(dtype.newbyteorder("="), copy=False)
    array = _rescaled(three_axes(array, path), slope, intercept)
    return RawVolume(array, check_grid(affine, path))


def _header(path: Path) -> tuple[Mapping[str, str], int]:
    with path.open("rb") as stream:
        head = stream.read(_LONGEST_HEADER)
    fields: dict[str, str] = {}
    start = 0
    while "ElementDataFile" not in fields:
        end = head.find(b"\n", start)
        if end < 0:
            raise ValueError("no ElementDataFile in its header")
        key, equals, value = (part.strip() for part in head[start:end].decode("latin-1").partition("="))
        if not equals:
            raise ValueError('a line of its header has no "="')
        if fields.get(key, value) != value:
            raise UnreadableScan(f"{path}: its header has two different fields {key}.")
        fields[key] = value
        start = end + 1
    return fields, start


def _true(header: Mapping[str, str], *keys: str) -> bool:
    return any(header.get(key, "").lower() in ("true", "1") for key in keys)


def _numbers(header: Mapping[str, str], path: Path, key: str, count: int, quantity: Quantity) -> np.ndarray:
    """The numbers of one field, which must be ``count``."""
    try:
        numbers = np.asarray(plain_numbers(header[key].split(), quantity), dtype=np.float64)
    except ValueError:
        numbers = np.empty(0)
    if numbers.size != count or not np.isfinite(numbers).all():
        raise UnreadableScan(f"{path}: the field {key} of its header does not hold {count} plain numbers.")
    return numbers


def _alike(
    header: Mapping[str, str], path: Path, keys: Sequence[str], count: int, quantity: Quantity
) -> np.ndarray | None:
    """The numbers of a field that has several names, which must agree; None where it is absent."""
    found = [_numbers(header, path, key, count, quantity) for key in keys if key in header]
    if any(not np.allclose(numbers, found[0]) for numbers in found):
        named = " and ".join(key for key in keys if key in header)
        raise UnreadableScan(f"{path}: {named} of its header contradict each other.")
    return found[0] if found else None


def _dtype(header: Mapping[str, str], path: Path) -> np.dtype:
    if header.get("ElementNumberOfChannels", "1") != "1" or header["ElementType"] not in _TYPES:
        raise UnreadableScan(f"{path}: values of this type or in several channels are no HU.")
    if len({_true(header, key) for key in _BYTE_ORDER if key in header}) > 1:
        raise UnreadableScan(f"{path}: {' and '.join(_BYTE_ORDER)} of its header contradict each other.")
    return np.dtype((">" if _true(header, *_BYTE_ORDER) else "<") + _TYPES[header["ElementType"]])


def _content(path: Path, header: Mapping[str, str], start: int, size: int) -> bytes:
    """The values as bytes, ``size`` of them; a file with more or fewer is not what its header says."""
    local = header["ElementDataFile"].upper() == "LOCAL"
    skip, packed = int(header.get("HeaderSize", 0)), _true(header, "CompressedData")
    if (
        header.get("BinaryData", "True").lower() in ("false", "0")
        or skip < -1
        or (skip == -1 and packed)
        or (skip > 0 and local)
    ):
        raise UnreadableScan(f"{path}: only binary data are read, behind the header or at the end of a file.")
    with (path if local else companion(path, header["ElementDataFile"])).open("rb") as stream:
        stream.seek(start if local else max(skip, 0))
        content = stream.read()
    if packed:
        stated = int(header.get("CompressedDataSize", 0))
        content = zlib.decompress(content[:stated] if stated > 0 else content)
    if skip == -1:
        content = content[max(0, len(content) - size) :]
    if len(content) < size:
        raise UnreadableScan(f"{path}: the data end early.")
    if len(content) > size:
        raise UnreadableScan(
            f"{path}: there are {len(content)} bytes of data where its header says {size} "
            "(DimSize, ElementType, HeaderSize); write the file again."
        )
    return content


def _rescaling(header: Mapping[str, str], path: Path) -> tuple[float, float]:
    """Slope and intercept of the line from stored values to HU."""
    strange = [key for key in header if _RESCALING.search(key) and key not in (_SLOPE, _INTERCEPT)]
    if strange:
        raise UnreadableScan(
            f"{path}: its header has a field {strange[0]}, which is not of the format and may change values; "
            "write HU as they are."
        )
    slope, intercept = (
        float(_numbers(header, path, key, 1, _HU)[0]) if key in header else default
        for key, default in ((_SLOPE, 1.0), (_INTERCEPT, 0.0))
    )
    if slope == 0:
        raise UnreadableScan(f"{path}: {_SLOPE} of its header is 0, so that all values would be equal.")
    return slope, intercept


def _rescaled(array: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    if (slope, intercept) == (1.0, 0.0):
        return array
    if array.dtype.kind in "iu" and slope.is_integer() and intercept.is_integer():
        return array.astype(np.int64) * int(slope) + int(intercept)
    return array * slope + intercept


def _affine(header: Mapping[str, str], axes: int, path: Path) -> np.ndarray:
    if header.get("DistanceUnits", "mm").lower() not in ("mm", "?", ""):
        raise UnreadableScan(f"{path}: it is not in millimetres (DistanceUnits).")
    present = [key for key in _SPACING if key in header]
    if not present:
        raise UnreadableScan(f"{path}: it does not say its spacing (ElementSpacing).")
    # ElementSize is the size of a voxel, which may differ from the distance to the next where both are there.
    spacing = _numbers(header, path, present[0], axes, _LENGTH_MM)
    if (spacing <= 0).any():
        raise UnreadableScan(f"{path}: the spacing in {present[0]} of its header cannot be right.")
    origin = _alike(header, path, _ORIGIN, axes, _LENGTH_MM)
    matrix = _alike(header, path, _MATRIX, axes * axes, Quantity(most=1))
    if matrix is None and header.get("AnatomicalOrientation", "RAI") not in ("RAI", "???", ""):
        raise UnreadableScan(
            f"{path}: its header gives AnatomicalOrientation but no TransformMatrix, which says how axes lie."
        )
    # The file lists the direction of the first axis, then of the second: the columns of the affine.
    matrix = np.eye(axes) if matrix is None else matrix.reshape(axes, axes).T
    if np.abs(np.linalg.norm(matrix, axis=0) - 1).max() > _UNIT_TOLERANCE:
        raise UnreadableScan(f"{path}: the directions in its header (TransformMatrix) are not of length 1.")
    affine = np.eye(4)
    affine[:3, :3] = matrix[:3, :3] * spacing[:3]
    affine[:3, 3] = 0 if origin is None else origin[:3]
    return LPS_TO_RAS @ affine
