"""A cohort on a real Ray cluster of two nodes: the same files as a batch without Ray, whatever is killed."""

from __future__ import annotations

import csv
import dataclasses
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from clusters import STORE_BYTES, worker_processes
from coronet.buckets import Bucket
from coronet.dataset.scan_places import find_scans
from coronet.io.volume import write_nifti
from coronet.networks.factory import load_model
from coronet.scoring.batch import score_folder
from coronet.scoring.batch_results import BucketResults, FolderResults
from coronet.scoring.cohort import PARQUET, score_cohort
from coronet.scoring.cohort_worker import WorkerOptions
from coronet.scoring.entry_scoring import Scorer

pytestmark = pytest.mark.slow
LESIONS = [((20.0, 10.0, 4.0), 350)]
SCANS = 8


class Patient(Scorer):
    """Takes its time, so that there is a moment to kill something in."""

    def __call__(self, scan):
        time.sleep(1.5)
        return super().__call__(scan)


class Deadly(Scorer):
    """Kills the process that scores a scan with a voxel of metal."""

    def __call__(self, scan):
        if scan.volume.array.max() > 2500:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(scan)


@pytest.fixture(scope="module", autouse=True)
def _classes_travel(cluster):
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def fits(save_fit, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fits")
    return {model: save_fit(folder / model, model) for model in ("heart", "calcium")}


@pytest.fixture(scope="module")
def scorer(fits):
    return Patient(*(load_model(fits[model]) for model in ("heart", "calcium")))


@pytest.fixture(scope="module")
def inbox(make_chest, tmp_path_factory):
    """Scans, a copy of one, one in a sub-folder, and a damaged file."""
    folder = tmp_path_factory.mktemp("cohort") / "inbox"
    for seed in range(1, SCANS):
        write_nifti(folder / f"{seed}.nii.gz", make_chest(LESIONS if seed % 2 else (), seed=seed).ct)
    write_nifti(folder / "copy.nii.gz", make_chest(LESIONS, seed=1).ct)
    write_nifti(folder / "sub" / "ct.nii.gz", make_chest(seed=SCANS).ct)
    (folder / "bad.nii.gz").write_bytes(b"no scan")
    return folder


@pytest.fixture(scope="module")
def alone(inbox, scorer, tmp_path_factory):
    """What the batch without Ray makes of it."""
    out = tmp_path_factory.mktemp("alone") / "out"
    score_folder(inbox, out, scorer=Scorer(scorer.heart_model, scorer.calcium_model))
    return out


@pytest.fixture
def out(alone, tmp_path):
    """A folder for results that calls scans by the same names."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / ".salt").write_bytes((alone / ".salt").read_bytes())
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of all results and of the table, by name."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.parent.name.startswith("scan-")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in [*files, folder / "scores.csv"]}


def bucket_contents(bucket: Bucket) -> dict[str, bytes]:
    names = [item.name for item in bucket.list()]
    return {name: bucket.read(name) for name in names if name.startswith("scan-") or name == "scores.csv"}


def test_two_nodes_write_what_one_machine_writes(cluster, inbox, alone, out, scorer):
    import duckdb
    import pandas

    told = []
    entries = find_scans(str(inbox))
    options = WorkerOptions(address=cluster.address)
    found = score_cohort(
        entries, FolderResults(out), scorer=scorer, workers=options, progress=lambda *at: told.append(at)
    )
    assert found.scored_now in (SCANS, SCANS + 1)  # a copy may be at work in the other worker
    assert told[-1] == (len(entries), len(entries))
    assert contents(out) == contents(alone)
    assert not list(out.glob(".part-*"))
    table = pandas.read_parquet(out / PARQUET)
    with (out / "scores.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert list(table["scan"]) == [row["scan"] for row in rows]
    assert table["agatston"].sum() == pytest.approx(sum(float(row["agatston"] or 0) for row in rows))
    counted = duckdb.sql(f"select count(agatston), count(*) from '{out / PARQUET}'").fetchall()
    assert counted == [(SCANS, SCANS + 1)]
    again = score_cohort(entries, FolderResults(out), scorer=scorer, workers=options)
    assert again.scored_now == 0 and again.rows == found.rows


def in_background(function, *arguments, **options):
    """Run a function in a thread; returns a function that waits for what it returns or raises."""
    answers = []

    def run():
        try:
            answers.append((function(*arguments, **options), None))
        except BaseException as error:
            answers.append((None, error))

    thread = threading.Thread(target=run)
    thread.start()

    def wait():
        thread.join(300)
        value, error = answers[0]
        if error:
            raise error
        return value

    return wait


def until(condition, seconds=60):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.05)


@pytest.mark.parametrize("seed", range(2))
def test_a_worker_or_a_node_that_dies_costs_only_time(seed, cluster, *, inbox, alone, out, scorer):
    chance = random.Random(seed)
    options = WorkerOptions(address=cluster.address, count=2)
    wait = in_background(
        score_cohort, find_scans(str(inbox)), FolderResults(out), scorer=scorer, workers=options
    )
    until(lambda: list(out.glob("scan-*/score.json")))
    time.sleep(chance.random())
    chance.choice(worker_processes(cluster)).kill()
    time.sleep(chance.random())
    node = next(iter(cluster.worker_nodes))
    cluster.remove_node(node, allow_graceful=False)
    time.sleep(1)
    cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    found = wait()
    assert len(found.refused) == 1 and "damaged" in found.refused[0].reason
    assert contents(out) == contents(alone)


def test_a_scan_that_kills_its_worker_is_listed_and_stops_no_other(cluster, inbox, out, scorer, make_chest):
    deadly = make_chest(seed=99).ct
    deadly.array[0, 0, 0] = 2999
    folder = out.parent / "deadly"
    write_nifti(folder / "a.nii.gz", deadly)
    for name in ("1.nii.gz", "2.nii.gz", "3.nii.gz"):
        (folder / name).symlink_to(inbox / name)
    options = {
        "scorer": Deadly(scorer.heart_model, scorer.calcium_model),
        "workers": WorkerOptions(address=cluster.address),
    }
    found = score_cohort(find_scans(str(folder)), FolderResults(out), **options)
    assert [row.reason for row in found.refused] == [
        "its worker died each time while it was scored, also alone, maybe for want of memory."
    ]
    assert len(found.rows) == 4 and found.scored_now == 3
    again = score_cohort(find_scans(str(folder)), FolderResults(out), **options)
    assert again.scored_now == 0 and again.rows == found.rows


def test_a_killed_driver_goes_on_where_it_was(cluster, inbox, alone, *, out, fits, tmp_path):
    command = [
        *(str(Path(sys.executable).with_name("coronet")), "score", str(inbox), "--batch"),
        *("--ray", cluster.address, "--out", str(out)),
        *("--models", ",".join(f"{name}={folder}" for name, folder in fits.items())),
    ]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: list(out.glob("scan-*/score.json")))
    process.kill()
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in out.glob("scan-*/score.json")}
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert finished.returncode == 2 and "1 of 9 scans could not be scored" in finished.stderr, finished.stderr
    assert {path: path.stat().st_mtime_ns for path in done} == done
    table = {name: content for name, content in contents(out).items() if not name.endswith(".html")}
    assert table == contents(alone)


@pytest.mark.parametrize("seed", range(2))
def test_a_store_that_dies_and_comes_back_costs_only_time(seed, cluster, *, inbox, alone, scorer, s3_store):
    source, target = Bucket("s3://cohort/in"), Bucket("s3://cohort/out")
    for path in (path for path in inbox.rglob("*") if path.is_file()):
        source.write(str(path.relative_to(inbox)), path.read_bytes())
    target.write(".salt", (alone / ".salt").read_bytes())
    chance = random.Random(seed)
    wait = in_background(
        score_cohort,
        find_scans("s3://cohort/in"),
        BucketResults(target),
        scorer=scorer,
        workers=WorkerOptions(address=cluster.address),
    )
    until(lambda: any(item.name.endswith("score.json") for item in target.list()))
    time.sleep(chance.random())
    s3_store.kill()
    time.sleep(2 * chance.random())
    s3_store.start()
    assert wait().scored_now in (SCANS, SCANS + 1)
    assert scans_of(bucket_contents(target)) == scans_of(contents(alone))
    again = score_cohort(
        find_scans("s3://cohort/in"),
        BucketResults(target),
        scorer=dataclasses.replace(scorer),
        workers=WorkerOptions(address=cluster.address),
    )
    assert again.scored_now == 0 and len(again.rows) == SCANS + 1


def scans_of(found: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in found.items() if name.startswith("scan-")}
