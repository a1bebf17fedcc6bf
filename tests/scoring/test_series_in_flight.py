"""Series of the Commons' layout in a real S3 store, scored without ever lying on the disk together."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import threading
import time
import uuid
from pathlib import Path

import numpy as np
import pydicom
import pytest

from clusters import BUCKET
from coronet.buckets import Bucket
from coronet.dataset.nlst.commons_index import DataSource
from coronet.dataset.nlst.manifest import Manifest, ManifestEntry, ManifestSeries, Request, write_manifest
from coronet.dataset.scan_places import find_scans
from coronet.networks.factory import load_model
from coronet.scoring.batch import score_folder
from coronet.scoring.batch_results import FolderResults
from coronet.scoring.cohort import score_cohort
from coronet.scoring.cohort_worker import WorkerOptions
from coronet.scoring.entry_scoring import Scorer
from dicom_files import write_dicom_series
from made_chests import SPACING

pytestmark = pytest.mark.slow
SERIES = 6
DOI = "10.0/test"


def write_chest(folder: Path, ct: np.ndarray) -> list[Path]:
    """Write voxels in RAS order as DICOM has them: rows to the back, columns to the left."""
    stored = np.round(ct[::-1, ::-1].transpose(2, 1, 0) + 1024).clip(0, 4095).astype(np.uint16)
    return write_dicom_series(folder, stored, spacing_mm=(SPACING[1], SPACING[0]), step_mm=SPACING[2])


def put(files: list[Path]) -> ManifestSeries:
    """Copy a series into the store as the Commons keeps it."""
    folder = str(uuid.uuid4())
    for file in files:
        Bucket(f"s3://{BUCKET}").write(f"{folder}/{uuid.uuid4()}.dcm", file.read_bytes())
    size = sum(file.stat().st_size for file in files)
    uid = str(pydicom.dcmread(files[0], stop_before_pixels=True).SeriesInstanceUID)
    return ManifestSeries(uid, BUCKET, folder, len(files), round(size / 1e6, 6), DOI)


def test_each_series_is_streamed_verified_scored_and_deleted(
    cluster, *, make_chest, save_fit, s3_store, tmp_path
):
    lesions = [((20.0, 10.0, 4.0), 350)]
    made = [
        write_chest(tmp_path / "dicom" / str(seed), make_chest(lesions, seed=seed).ct.array)
        for seed in range(SERIES)
    ]
    series = [put(files) for files in made]
    lacking = dataclasses.replace(put(made[0]), files=len(made[0]) + 1)
    lacking = dataclasses.replace(lacking, uid=lacking.uid[:-1])
    manifest = Manifest(
        request=Request(SERIES + 1, 0, ""),
        index="idc-index-data 0",
        rules=1,
        spacing_mm=(1.0, 4.0),
        sources=(DataSource(DOI, "CC BY 4.0", "https://creativecommons.org/licenses/by/4.0/", "Test."),),
        entries=tuple(
            ManifestEntry("LSS", "GE", "T", "STANDARD", 4.0, ct, None) for ct in (*series, lacking)
        ),
    )
    write_manifest(tmp_path / "nlst.json", manifest)
    fits = [load_model(save_fit(tmp_path / model, model)) for model in ("heart", "calcium")]
    score_folder(tmp_path / "dicom", tmp_path / "alone", scorer=Scorer(*fits))
    out = tmp_path / "out"
    out.mkdir()
    (out / ".salt").write_bytes((tmp_path / "alone" / ".salt").read_bytes())

    most, stop = [0], threading.Event()

    def watch():
        while not stop.wait(0.02):
            scratch = Path(tempfile.gettempdir()).glob(f"coronet-{os.getuid()}-*/*/coronet-series-*")
            most[0] = max(most[0], len(list(scratch)))

    watching = threading.Thread(target=watch)
    watching.start()
    entries = find_scans(f"nlst:{tmp_path / 'nlst.json'}", commons=s3_store.endpoint)
    try:
        found = score_cohort(
            entries, FolderResults(out), scorer=Scorer(*fits), workers=WorkerOptions(address=cluster.address)
        )
    finally:
        time.sleep(0.1)
        stop.set()
        watching.join()
    assert found.scored_now == SERIES
    assert [row.reason for row in found.refused] == [
        f"the series: the store holds {len(made[0])} of {len(made[0]) + 1} files."
    ]
    assert 0 < most[0] <= 4, "two workers with two series each"
    assert not list(Path(tempfile.gettempdir()).glob(f"coronet-{os.getuid()}-*/*/coronet-series-*"))
    for path in (tmp_path / "alone").glob("scan-*/*"):
        assert (out / path.relative_to(tmp_path / "alone")).read_bytes() == path.read_bytes()
    assert len(list(out.glob("scan-*"))) == SERIES
