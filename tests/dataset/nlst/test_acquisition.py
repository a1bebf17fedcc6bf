"""Series downloaded from a store on this machine, verified and converted: whole or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from coronet.dataset.cases import find_cases
from coronet.dataset.nlst import object_store as store_module
from coronet.dataset.nlst.acquisition import acquire, remaining
from coronet.dataset.nlst.manifest import write_manifest
from coronet.errors import InputError, Unreachable
from coronet.io.reader import read_scan
from coronet.io.volume import read_nifti

SHAPE = (12, 16, 16)


@pytest.fixture
def series(tmp_path, write_dicom, picture):
    """Makes a small CT series; returns its files in the order of the slices."""

    def make(name: str, seed: int = 0, step_mm: float = 2.5, slices: int = SHAPE[0]) -> list[Path]:
        return write_dicom(tmp_path / name, picture((slices, *SHAPE[1:]), seed=seed), step_mm=step_mm)

    return make


@pytest.fixture
def bring(tmp_path, commons):
    """`acquire` with this test's folders."""

    def run(manifest, **options):
        return acquire(
            manifest,
            data=tmp_path / "data",
            downloads=tmp_path / "downloads",
            endpoint=commons.endpoint,
            **options,
        )

    return run


def left(downloads: Path) -> list[str]:
    return sorted(path.name for path in downloads.iterdir() if not path.name.startswith("."))


def content(data: Path) -> dict[str, str]:
    """Hashes of scans and masks by name."""
    files = sorted((data / "ct").glob("*.nii.gz")) + sorted((data / "masks").glob("*.nii.gz"))
    return {str(path.relative_to(data)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_scans_and_hearts_become_cases(tmp_path, commons, series, bring):
    ct = series("a")
    drawn = np.zeros(SHAPE, np.uint8)
    drawn[3:9, 4:12, 4:12] = np.random.default_rng(0).integers(1, 7, (6, 8, 8))
    heart = commons.put([commons.segmentation(tmp_path / "seg.dcm", ct, drawn)])
    other = series("b", seed=5)
    manifest = commons.manifest((commons.put(ct), heart), (commons.put(other), None))
    reported: list[int] = []
    got = bring(manifest, progress=reported.append)
    assert (len(got.added), got.before, got.refused, got.unmasked) == (2, 0, (), ())
    assert [item.masks for item in got.added] == [("heart",), ()]
    assert sum(reported) == pytest.approx(1e6 * sum(entry.size_mb for entry in manifest.entries), abs=2)
    case = next(case for case in find_cases(tmp_path / "data") if case.heart)
    assert np.array_equal(read_nifti(case.ct).array, read_scan(tmp_path / "a").volume.array)
    union = ((drawn > 0) & (drawn < 6)).transpose(2, 1, 0)[::-1, ::-1]
    assert np.array_equal(read_nifti(case.heart).array, union)
    assert left(tmp_path / "downloads") == []
    commons.served.clear()
    again = bring(manifest)
    assert (again.added, again.before, commons.served) == ((), 2, [])


def test_a_bigger_manifest_downloads_only_what_is_new(tmp_path, commons, series, bring):
    first, second = commons.put(series("a")), commons.put(series("b", seed=1))
    bring(commons.manifest((first, None)))
    commons.served.clear()
    both = commons.manifest((first, None), (second, None))
    assert [entry.ct for entry in remaining(both, tmp_path / "data")] == [second]
    got = bring(both)
    assert (len(got.added), got.before) == (1, 1)
    assert {key.partition("/")[0] for key, _ in commons.served} == {second.uuid}
    shutil.rmtree(tmp_path / "data" / "ct")
    assert len(bring(both).added) == 2


def test_a_break_is_continued_where_it_happened(commons, write_dicom, picture, bring, tmp_path):
    ct = commons.put(write_dicom(tmp_path / "large", picture((4, 512, 512))))
    keys = sorted(f"{ct.uuid}/{path.name}" for path in commons.root.rglob("*.dcm"))
    commons.cut = {keys[2]: 1}
    assert len(bring(commons.manifest((ct, None))).added) == 1
    asked = [start for key, start in commons.served if key == keys[2]]
    assert len(asked) == 2 and asked[0] == 0 < asked[1]
    assert len(commons.served) == len(keys) + 1


@pytest.mark.parametrize("times", [1, 99])
def test_damaged_files_are_noticed(tmp_path, commons, series, bring, times):
    bad, good = commons.put(series("a")), commons.put(series("b", seed=1))
    manifest = commons.manifest((bad, None), (good, None))
    key = next(f"{path.parent.name}/{path.name}" for path in (commons.root).rglob(f"{bad.uuid}/*"))
    commons.damaged = {key: times}
    got = bring(manifest)
    if times == 1:
        assert len(got.added) == 2
        return
    assert len(got.added) == 1 and len(find_cases(tmp_path / "data")) == 1
    assert len(got.refused) == 1 and "arrives damaged" in got.refused[0]
    assert left(tmp_path / "downloads") == [f"{bad.uuid}.part"]
    whole = {path.name for path in (tmp_path / "downloads" / f"{bad.uuid}.part").glob("*.dcm")}
    assert whole
    commons.damaged.clear()
    commons.served.clear()
    assert len(bring(manifest).added) == 1
    assert key in {served for served, _ in commons.served}
    assert not whole & {served.rpartition("/")[2] for served, _ in commons.served}


def test_a_series_that_is_not_what_the_manifest_says_is_refused(tmp_path, commons, series, bring):
    whole = commons.put(series("a"))
    short = dataclasses.replace(whole, files=whole.files + 1)
    assert "holds 12 of 13 files" in bring(commons.manifest((short, None))).refused[0]
    larger = dataclasses.replace(whole, size_mb=2 * whole.size_mb)
    assert "the manifest says" in bring(commons.manifest((larger, None))).refused[0]
    other = dataclasses.replace(whole, uid="1.2.3")
    assert "belongs to another series" in bring(commons.manifest((other, None))).refused[0]
    mixed = series("b", seed=1)
    mixed[5].write_bytes(mixed[4].read_bytes())
    assert "there twice" in bring(commons.manifest((commons.put(mixed), None))).refused[0]
    broken = series("c", seed=2)
    broken[3].write_bytes(b"no DICOM" * 100)
    assert "no readable DICOM" in bring(commons.manifest((commons.put(broken), None))).refused[0]
    gone = dataclasses.replace(whole, uuid="00000000-0000-0000-0000-000000000000")
    assert "holds 0 of 12 files" in bring(commons.manifest((gone, None))).refused[0]
    assert not (tmp_path / "data" / "ct").exists()


def test_gaps_and_spacing_are_judged_after_the_download(tmp_path, commons, series, bring):
    files = series("b", seed=1)
    wide, gap = commons.put(series("a", step_mm=3.0)), commons.put(files[:5] + files[6:])
    manifest = commons.manifest((wide, None), (gap, None))
    got = bring(manifest)
    assert got.added == () and len(got.refused) == 2
    assert "3.00 mm apart; 1 to 2.5 mm are taken" in got.refused[0]
    assert "5.0" in got.refused[1]
    commons.served.clear()
    allowed = bring(dataclasses.replace(manifest, spacing_mm=(1.0, 3.0)))
    assert len(allowed.added) == 1 and commons.served == []


def test_a_segmentation_that_does_not_fit_costs_the_mask_alone(tmp_path, commons, series, bring):
    drawn = np.zeros(SHAPE, np.uint8)
    drawn[3:9, 4:12, 4:12] = np.random.default_rng(0).integers(1, 6, (6, 8, 8))
    first, second, third = series("a"), series("b", seed=1), series("c", seed=2)
    foreign = commons.put([commons.segmentation(tmp_path / "x.dcm", second, drawn)])
    codes = ("74281007", "87878005", "53085002", "82471001", "10200004")
    partial = commons.put([commons.segmentation(tmp_path / "y.dcm", second, drawn, codes)])
    nothing = tmp_path / "z.dcm"
    nothing.write_bytes(first[0].read_bytes())
    got = bring(
        commons.manifest(
            (commons.put(first), foreign),
            (commons.put(second), partial),
            (commons.put(third), commons.put([nothing])),
        )
    )
    assert len(got.added) == 3 and got.refused == ()
    assert all(item.masks == () for item in got.added)
    reasons = "\n".join(got.unmasked)
    assert "another series" in reasons and "right atrium" in reasons and "makes no volume" in reasons
    assert not list((tmp_path / "data").rglob("*_heart*"))


def test_a_store_that_goes_away_leaves_what_is_whole(tmp_path, commons, series, bring, monkeypatch):
    monkeypatch.setattr(store_module, "ATTEMPTS", 1)
    manifest = commons.manifest((commons.put(series("a")), None), (commons.put(series("b", seed=1)), None))
    counts = []

    def progress(count: int) -> None:
        counts.append(count)
        if sum(counts) > 1e6 * manifest.entries[0].size_mb + 2000:
            commons.down = True

    with pytest.raises(Unreachable, match="no longer answers"):
        bring(manifest, progress=progress)
    assert len(find_cases(tmp_path / "data")) == 1
    with pytest.raises(Unreachable, match="does not answer"):
        bring(manifest)
    commons.down = False
    assert len(bring(manifest).added) == 1 and len(find_cases(tmp_path / "data")) == 2


def test_a_store_that_is_silent_is_given_up_soon(tmp_path, commons, series, monkeypatch):
    monkeypatch.setattr(store_module, "CONNECT_S", 0.2)
    manifest = commons.manifest((commons.put(series("a")), None))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        with pytest.raises(Unreachable, match="no answer in time"):
            acquire(
                manifest,
                data=tmp_path / "data",
                downloads=tmp_path / "downloads",
                endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}",
            )
        assert time.monotonic() - started < 5
    assert not (tmp_path / "data").exists()


def test_places_that_cannot_be_used_are_refused(tmp_path, series, commons):
    manifest = commons.manifest((commons.put(series("a")), None))
    with pytest.raises(InputError, match="outside of the cohort"):
        acquire(manifest, data=tmp_path / "data", downloads=tmp_path / "data" / "raw")
    for endpoint in ("ftp://example.org", "example.org", "http://"):
        with pytest.raises(InputError, match="is no address"):
            acquire(manifest, data=tmp_path / "d", downloads=tmp_path / "r", endpoint=endpoint)
    huge = dataclasses.replace(manifest.entries[0].ct, size_mb=1e12)
    with pytest.raises(InputError, match="GB free"):
        acquire(
            commons.manifest((huge, None)),
            data=tmp_path / "data",
            downloads=tmp_path / "raw",
            endpoint=commons.endpoint,
        )


@pytest.mark.slow
def test_a_kill_in_the_middle_costs_nothing_that_was_whole(tmp_path, commons, series):
    manifest = commons.manifest(
        (commons.put(series("a", slices=24)), None), (commons.put(series("b", seed=1, slices=24)), None)
    )
    write_manifest(tmp_path / "nlst.json", manifest)
    command = [
        Path(sys.executable).parent / "coronet",
        *("data", "nlst", "--endpoint", commons.endpoint),
    ]
    commons.pace_s = 0.2
    running = subprocess.Popen(
        command, cwd=tmp_path, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while len(commons.served) < 36:
        assert running.poll() is None
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert all(
        name.endswith(".part") or (tmp_path / "downloads" / name).is_dir()
        for name in left(tmp_path / "downloads")
    )
    second = manifest.entries[1].ct.uuid
    assert f"{second}.part" in left(tmp_path / "downloads") and second not in left(tmp_path / "downloads")
    whole = {path.name for path in (tmp_path / "downloads" / f"{second}.part").glob("*.dcm")}
    assert 0 < len(whole) < 24
    commons.served.clear()
    commons.pace_s = 0.0
    done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not whole & {key.rpartition("/")[2] for key, _ in commons.served}
    assert len(commons.served) <= 48 - 24 - len(whole)
    acquire(manifest, data=tmp_path / "plain", downloads=tmp_path / "raw", endpoint=commons.endpoint)
    plain = {name.partition("/")[0] + digest for name, digest in content(tmp_path / "plain").items()}
    assert plain == {name.partition("/")[0] + digest for name, digest in content(tmp_path / "data").items()}
    assert left(tmp_path / "downloads") == []
