"""Series of a manifest as entries of a batch: each on the disk only while it is scored."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from coronet.dataset.nlst.download import check_series, fetch_series, series_folder
from coronet.dataset.nlst.manifest import ManifestSeries, read_manifest
from coronet.dataset.nlst.object_store import ENDPOINT, Store
from coronet.dataset.nlst.selection_rules import SPACING_TOLERANCE_MM
from coronet.dataset.scan_folder import FolderEntry
from coronet.errors import InputError, Unreachable

_PATIENCE_S = 120.0
"""How long a store may be absent before the run ends; what was downloaded of a series is kept meanwhile."""


@dataclasses.dataclass(frozen=True)
class SeriesEntry(FolderEntry):
    """A CT series in the Commons."""

    series: ManifestSeries
    spacing_mm: tuple[float, float]  # slice spacing that is taken, lowest and highest
    endpoint: str  # of the store

    @contextlib.contextmanager
    def on_disk(self) -> Iterator[FolderEntry]:
        """Download and verify the series into a folder that is removed at the end.

        Raises:
            InputError: it is damaged or incomplete in the store, or its slices are too near or too far apart.
            Unreachable: the store has not answered for minutes.
        """
        with tempfile.TemporaryDirectory(prefix="coronet-series-") as folder:
            try:
                self._fetch(Path(folder))
                place = series_folder(Path(folder), self.series)
                found = check_series(place, self.series)
            except InputError as error:
                # the row of a scan names no series
                raise InputError(str(error).replace(f"series {self.series.uid}", "the series")) from None
            low, high = self.spacing_mm
            if found is None or not low - SPACING_TOLERANCE_MM <= found <= high + SPACING_TOLERANCE_MM:
                apart = "have no place" if found is None else f"are {found:.2f} mm apart"
                raise InputError(f"the series: its slices {apart}; {low:g} to {high:g} mm are taken.")
            yield FolderEntry(self.name, place, self.stamp, self.changed)

    def _fetch(self, folder: Path) -> None:
        ends = time.monotonic() + _PATIENCE_S
        while True:
            try:
                fetch_series(Store(self.endpoint), self.series, folder)
                return
            except Unreachable:
                if time.monotonic() > ends:
                    raise
                time.sleep(2.0)


def series_entries(path: Path, endpoint: str = ENDPOINT) -> tuple[SeriesEntry, ...]:
    """The CT series of a manifest, without their heart segmentations.

    Raises:
        InputError: it is absent or no manifest, or ``endpoint`` is no address.
    """
    manifest = read_manifest(path)
    Store(endpoint)
    return tuple(
        SeriesEntry(
            name=entry.ct.uid,
            path=Path(entry.ct.uuid),
            stamp=hashlib.sha256(repr(entry.ct).encode()).hexdigest()[:32],
            changed=0.0,
            series=entry.ct,
            spacing_mm=manifest.spacing_mm,
            endpoint=endpoint,
        )
        for entry in manifest.entries
    )
