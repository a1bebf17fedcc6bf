"""What ``coronet data nlst`` prints."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coronet.dataset.nlst.manifest import Manifest, ManifestEntry


@dataclasses.dataclass(frozen=True)
class DownloadPlan:
    """What a manifest holds and what is still to be downloaded of it.

    Attributes:
        patients: of the manifest; each gives one scan.
        hearts: scans with a segmentation in the Commons.
        to_download: scans that are not in the cohort yet.
        ct_gb: their CT series, in 10⁹ bytes.
        heart_gb: their segmentations, in 10⁹ bytes.
    """

    patients: int
    hearts: int
    to_download: int
    ct_gb: float
    heart_gb: float

    @property
    def gigabytes(self) -> float:
        """To be downloaded, in 10⁹ bytes."""
        return self.ct_gb + self.heart_gb

    def __str__(self) -> str:
        return (
            f"{self.patients} scans of as many patients, {self.hearts} with a heart segmentation. "
            f"{self.to_download} to download: {self.gigabytes:.2f} GB "
            f"({self.ct_gb:.2f} GB CT, {self.heart_gb:.2f} GB segmentations)."
        )


def plan_of(manifest: Manifest, missing: Sequence[ManifestEntry]) -> DownloadPlan:
    """The plan of a manifest, of whose entries ``missing`` are not in the cohort yet."""
    hearts = [entry.heart.size_mb for entry in missing if entry.heart]
    return DownloadPlan(
        patients=len(manifest.entries),
        hearts=manifest.hearts,
        to_download=len(missing),
        ct_gb=round(sum(entry.ct.size_mb for entry in missing) / 1000, 3),
        heart_gb=round(sum(hearts) / 1000, 3),
    )


@contextlib.contextmanager
def bytes_progress(gigabytes: float) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, where that is a terminal, as a function to be called with bytes."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=gigabytes * 1e9)
        yield lambda count: bar.advance(task, count)
