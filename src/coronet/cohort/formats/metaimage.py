"""MetaImage files (``.mha``, and ``.mhd`` with its data beside it), as ITK writes them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from coronet.cohort.formats.loaded import LPS_TO_RAS, Loaded, check_grid, companion, three_axes
from coronet.errors import UnreadableScan

TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
LONGEST_HEADER = 64 * 1024


def load(path: Path) -> Loaded:
    """Read a MetaImage volume; its physical space is LPS, as ITK defines it.

    Raises:
        UnreadableScan: damaged, in a form that is not read, or not three-dimensional.
    """
    try:
        header, start = _header(path)
        shape = tuple(int(value) for value in header["DimSize"].split())
        dtype = _dtype(header, path)
        content = _content(path, header, start)
        if len(content) < int(np.prod(shape)) * dtype.itemsize:
            raise UnreadableScan(f"{path}: the data end early.")
        flat = np.frombuffer(content, dtype, count=int(np.prod(shape)))
        affine = _affine(header, len(shape), path)
    except (OSError, ValueError, KeyError, OverflowError, MemoryError, zlib.error) as error:
        raise UnreadableScan(
            f"{path}: the file is damaged or no MetaImage ({type(error).__name__})."
        ) from None
    array = flat.reshape(shape, order="F").astype(dtype.newbyteorder("="), copy=False)
    return Loaded(three_axes(array, path), check_grid(affine, path))


def _header(path: Path) -> tuple[Mapping[str, str], int]:
    with path.open("rb") as stream:
        head = stream.read(LONGEST_HEADER)
    fields: dict[str, str] = {}
    start = 0
    while "ElementDataFile" not in fields:
        end = head.find(b"\n", start)
        if end < 0:
            raise ValueError("no ElementDataFile in its header")
        key, equals, value = head[start:end].decode("latin-1").partition("=")
        if not equals:
            raise ValueError("a line of its header has no «=»")
        fields[key.strip()] = value.strip()
        start = end + 1
    return fields, start


def _true(header: Mapping[str, str], *keys: str) -> bool:
    return any(header.get(key, "").lower() in ("true", "1") for key in keys)


def _dtype(header: Mapping[str, str], path: Path) -> np.dtype:
    if header.get("ElementNumberOfChannels", "1") != "1" or header["ElementType"] not in TYPES:
        raise UnreadableScan(f"{path}: values of this type or in several channels are no HU.")
    big = _true(header, "BinaryDataByteOrderMSB", "ElementByteOrderMSB")
    return np.dtype((">" if big else "<") + TYPES[header["ElementType"]])


def _content(path: Path, header: Mapping[str, str], start: int) -> bytes:
    if header.get("BinaryData", "True").lower() == "false" or header.get("HeaderSize", "0") != "0":
        raise UnreadableScan(f"{path}: only binary data that follow the header at once are read.")
    name = header["ElementDataFile"]
    with (path if name.upper() == "LOCAL" else companion(path, name)).open("rb") as stream:
        if name.upper() == "LOCAL":
            stream.seek(start)
        content = stream.read()
    return zlib.decompress(content) if _true(header, "CompressedData") else content


def _affine(header: Mapping[str, str], axes: int, path: Path) -> np.ndarray:
    def numbers(default: str | None, *keys: str) -> np.ndarray:
        text = next((header[key] for key in keys if key in header), default)
        if text is None:
            raise UnreadableScan(f"{path}: it does not say its spacing (ElementSpacing).")
        return np.asarray(text.split(), dtype=np.float64)

    identity = " ".join(str(value) for value in np.eye(axes).ravel())
    spacing = numbers(None, "ElementSpacing", "ElementSize")
    origin = numbers(" ".join(["0"] * axes), "Offset", "Position", "Origin")
    # The file lists the direction of the first axis, then of the second: the columns of the affine.
    matrix = numbers(identity, "TransformMatrix", "Rotation", "Orientation").reshape(axes, axes).T
    affine = np.eye(4)
    affine[:3, :3] = matrix[:3, :3] * spacing[:3]
    affine[:3, 3] = origin[:3]
    return LPS_TO_RAS @ affine
