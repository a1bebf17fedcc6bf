"""NRRD volumes, label maps and the segmentations (``.seg.nrrd``) that 3D Slicer writes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from coronet.errors import UnreadableScan
from coronet.io.log_redaction import silence_libraries
from coronet.io.raw_volume import LPS_TO_RAS, RawVolume, check_grid, companion, three_axes

_SPACES = {
    "left-posterior-superior": LPS_TO_RAS,
    "lps": LPS_TO_RAS,
    "right-anterior-superior": np.eye(4),
    "ras": np.eye(4),
    "left-anterior-superior": np.diag([-1.0, 1.0, 1.0, 1.0]),
    "las": np.diag([-1.0, 1.0, 1.0, 1.0]),
}
_QUANTISED = ("old min", "oldmin", "old max", "oldmax")
"""Fields that give the range of values before they were squeezed into small integers."""


def load_nrrd(path: Path) -> RawVolume:
    """Read ``.nrrd``, ``.nhdr`` with its data beside it, or ``.seg.nrrd``.

    Raises:
        UnreadableScan: damaged, without orientation, or not three-dimensional.
    """
    array, header = _read(path)
    if header.get("kinds", ["domain"])[0] in ("list", "vector") and array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    return RawVolume(three_axes(array, path), check_grid(_affine(header, path), path))


def load_nrrd_layers(path: Path) -> tuple[RawVolume, ...]:
    """Read a label map; one whose segments overlap has several layers, the first axis of its array.

    Raises:
        UnreadableScan: damaged, without orientation, or no label map.
    """
    array, header = _read(path)
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4 or (array.shape[0] > 1 and header.get("kinds", [""])[0] not in ("list", "vector")):
        raise UnreadableScan(f"{path}: shape {array.shape} is no label map with three axes.")
    affine = check_grid(_affine(header, path), path)
    return tuple(RawVolume(layer, affine, _segments(header, index)) for index, layer in enumerate(array))


def _segments(header: Mapping[str, Any], layer: int) -> dict[int, str]:
    """Label value and name of each segment that a ``.seg.nrrd`` header lists in a layer."""
    numbers = sorted(
        int(match.group(1)) for match in (re.fullmatch(r"Segment(\d+)_ID", key) for key in header) if match
    )
    return {
        int(header.get(f"Segment{number}_LabelValue", number + 1)): str(
            header.get(f"Segment{number}_Name", "")
        )
        for number in numbers
        if int(header.get(f"Segment{number}_Layer", 0)) == layer
    }


def _read(path: Path) -> tuple[np.ndarray, Mapping[str, Any]]:
    import nrrd

    silence_libraries()
    try:
        with path.open("rb") as stream:
            # Decoded here, as pynrrd drops what is not ASCII and so changes the names of segments.
            header = nrrd.read_header(_lines(stream, path))
            _require_readable(header, path)
            named = header.get("data file", header.get("datafile"))
            if named is None:
                return nrrd.read_data(header, stream, path), header
        beside = {key: value for key, value in header.items() if key != "datafile"}
        beside["data file"] = companion(path, str(named)).name
        return nrrd.read_data(beside, None, path), header
    except UnreadableScan:
        raise
    except Exception as error:
        # Whatever the parser raises on bytes that are not what they should be; its text may quote them.
        raise UnreadableScan(f"{path}: the file is damaged or no NRRD ({type(error).__name__}).") from None


def _lines(stream: BinaryIO, path: Path) -> Iterator[str]:
    """The lines of a header; one that lists several data files goes on with their names."""
    for line in iter(stream.readline, b""):
        if re.match(rb"data ?file: *LIST", line, re.IGNORECASE):
            companion(path, "LIST")
        try:
            yield line.decode()
        except UnicodeDecodeError:
            yield line.decode("latin-1")


def _require_readable(header: Mapping[str, Any], path: Path) -> None:
    """Refuse quantised values, which are no HU any more, and hex."""
    limits = [header[key] for key in _QUANTISED if key in header]
    if any(np.isfinite(float(limit)) for limit in limits):
        raise UnreadableScan(
            f"{path}: its values were quantised (old min, old max); write HU or labels as they are."
        )
    if str(header.get("encoding", "raw")).lower() == "hex":
        raise UnreadableScan(f"{path}: its encoding is hex, which is not read; write it as raw or gzip.")


def _affine(header: Mapping[str, Any], path: Path) -> np.ndarray:
    space = str(header.get("space", "")).lower()
    directions, origin = header.get("space directions"), header.get("space origin")
    if space not in _SPACES or directions is None or origin is None:
        raise UnreadableScan(
            f"{path}: it does not say how the patient lies (space, space directions, space origin); the "
            "spaces left-posterior-superior, right-anterior-superior and left-anterior-superior are read."
        )
    units = header.get("space units")
    if units is not None and any(unit not in ("mm", "") for unit in units):
        raise UnreadableScan(f"{path}: it is not in millimetres.")
    rows = [np.asarray(row, dtype=np.float64) for row in directions if row is not None]
    rows = [row for row in rows if row.size == 3 and not np.isnan(row).any()]
    if len(rows) != 3 or len(origin) != 3:
        raise UnreadableScan(f"{path}: it names {len(rows)} directions in space; a volume has three.")
    affine = np.eye(4)
    affine[:3, :3] = np.stack(rows, axis=1)
    affine[:3, 3] = origin
    return _SPACES[space] @ affine
