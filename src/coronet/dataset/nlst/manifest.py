"""The manifest of a selection: one line a series, made to be read and reviewed in git.

It names no patient. Series are named by the UIDs that the Commons publishes, without which one could not
download the same data again.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coronet.dataset.nlst.commons_index import DataSource
from coronet.errors import InputError
from coronet.files import read_json, write_text

_FORMAT = 1
_UID = re.compile(r"[0-9][0-9.]{0,63}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,62}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclasses.dataclass(frozen=True)
class ManifestSeries:
    """A series in the Commons."""

    uid: str  # SeriesInstanceUID
    bucket: str  # of the object store
    uuid: str  # the folder in the bucket that holds its files
    files: int  # how many
    size_mb: float  # in 10⁶ bytes
    doi: str  # of the data set that it belongs to

    def __post_init__(self) -> None:
        checks = ((_UID, self.uid), (_BUCKET, self.bucket), (_UUID, self.uuid))
        wrong = [value for pattern, value in checks if not pattern.fullmatch(str(value))]
        if wrong or int(self.files) < 1 or float(self.size_mb) <= 0:
            raise ValueError(f"series {self.uid} is not described as it must be ({wrong or 'size'})")


@dataclasses.dataclass(frozen=True)
class ManifestEntry:
    """One chosen CT series and its heart segmentation, where there is one."""

    site: str
    manufacturer: str
    model: str
    kernel: str
    thickness_mm: float
    ct: ManifestSeries
    heart: ManifestSeries | None

    @property
    def size_mb(self) -> float:
        """Of both, in 10⁶ bytes."""
        return self.ct.size_mb + (self.heart.size_mb if self.heart else 0.0)


@dataclasses.dataclass(frozen=True)
class Request:
    """What was asked for; the same request and index give the same manifest."""

    patients: int
    seed: int
    where: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A selection."""

    request: Request
    index: str  # package and version of the index it was chosen from
    rules: int  # version of `coronet.dataset.nlst.selection_rules`
    # slice spacing that is taken once a series has been downloaded, lowest and highest
    spacing_mm: tuple[float, float]
    sources: tuple[DataSource, ...]  # licence and citation of every data set in it
    entries: tuple[ManifestEntry, ...]  # in the order in which patients were drawn

    @property
    def ct_gb(self) -> float:
        """Of all CT series, in 10⁹ bytes."""
        return sum(entry.ct.size_mb for entry in self.entries) / 1000

    @property
    def heart_gb(self) -> float:
        """Of all heart segmentations, in 10⁹ bytes."""
        return sum(entry.heart.size_mb for entry in self.entries if entry.heart) / 1000

    @property
    def hearts(self) -> int:
        """How many series have a heart segmentation."""
        return sum(entry.heart is not None for entry in self.entries)


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest as JSON, each series on a line of its own, so that a change is a line in the diff."""
    plain = dataclasses.asdict(manifest)
    lines = map(json.dumps, plain.pop("entries"))
    head = {
        "format": _FORMAT,
        **plain,
        "totals": {
            "patients": len(manifest.entries),
            "hearts": manifest.hearts,
            "ct_gb": round(manifest.ct_gb, 3),
            "heart_gb": round(manifest.heart_gb, 3),
        },
    }
    text = json.dumps(head, indent=2, ensure_ascii=False).removesuffix("\n}")
    write_text(path, f'{text},\n  "series": [\n    ' + ",\n    ".join(lines) + "\n  ]\n}\n")


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        InputError: it is absent, or not what `write_manifest` writes.
    """
    raw = read_json(path)
    try:
        if raw["format"] != _FORMAT:
            raise ValueError(f"format {raw['format']}, not {_FORMAT}")
        low, high = raw["spacing_mm"]
        manifest = Manifest(
            request=Request(**raw["request"]),
            index=str(raw["index"]),
            rules=int(raw["rules"]),
            spacing_mm=(float(low), float(high)),
            sources=tuple(DataSource(**source) for source in raw["sources"]),
            entries=tuple(_entry(entry) for entry in raw["series"]),
        )
        if not manifest.entries:
            raise ValueError("no series in it")
        if len({entry.ct.uid for entry in manifest.entries}) < len(manifest.entries):
            raise ValueError("a series is in it twice")
        series = (item for entry in manifest.entries for item in (entry.ct, entry.heart) if item)
        lacking = {item.doi for item in series} - {source.doi for source in manifest.sources}
        if lacking:
            raise ValueError(f"no licence for {', '.join(sorted(lacking))}")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is no manifest ({error}); remove it and choose anew: `coronet data nlst --patients N`."
        ) from error
    return manifest


def _entry(raw: Mapping[str, Any]) -> ManifestEntry:
    heart = raw["heart"]
    return ManifestEntry(
        **{**raw, "ct": ManifestSeries(**raw["ct"]), "heart": ManifestSeries(**heart) if heart else None}
    )
