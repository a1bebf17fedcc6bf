from __future__ import annotations

import csv
import dataclasses
import functools
import json
import subprocess
import sys

import pytest

from copies import kill_this, run_until_killed
from coronet import terminal
from coronet.cli import app
from coronet.dataset import scan_folder as files
from coronet.errors import Busy, InputError
from coronet.files import exclusive
from coronet.io.volume import write_nifti
from coronet.networks.factory import load_model
from coronet.scoring.batch import score_folder
from coronet.scoring.batch_results import SOURCES
from coronet.scoring.entry_scoring import Scorer

LESIONS = [((20.0, 10.0, 4.0), 350)]


@pytest.fixture(scope="module")
def scorer(save_fit, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fits")
    heart, calcium = (load_model(save_fit(folder / model, model)) for model in ("heart", "calcium"))
    return Scorer(heart_model=heart, calcium_model=calcium)


@pytest.fixture
def inbox(make_chest, tmp_path):
    """Two scans, one of them in a sub-folder, a damaged file, and a file that is none of it."""
    folder = tmp_path / "inbox"
    write_nifti(folder / "CANARY-with.nii.gz", make_chest(LESIONS, seed=1).ct)
    write_nifti(folder / "CANARY^JANE" / "ct.nii.gz", make_chest(seed=2).ct)
    (folder / "CANARY-bad.nii.gz").write_bytes(b"no scan")
    (folder / "notes.txt").write_text("mine")
    return folder


def table(out):
    with (out / "scores.csv").open() as lines:
        return list(csv.DictReader(lines))


def test_a_scan_has_one_name_in_the_cohort_and_in_the_results(inbox, scorer, tmp_path):
    from coronet.dataset.import_scans import import_scans

    data = tmp_path / "data"
    named = import_scans([inbox / "CANARY-with.nii.gz"], data=data, case="mine").added[0].case
    other = import_scans([inbox / "CANARY^JANE"], data=data).added[0].case
    score_folder(inbox, tmp_path / "out", scorer=scorer, data=data)
    assert {row["scan"] for row in table(tmp_path / "out") if row["agatston"]} == {named, other}
    assert (tmp_path / "out" / ".salt").stat().st_mode & 0o777 == 0o600


def test_one_bad_scan_stops_no_other_and_has_its_reason(inbox, scorer, tmp_path):
    out = tmp_path / "out"
    found = score_folder(inbox, out, scorer=scorer)
    assert found.scored_now == 2
    assert len(found.refused) == 1 and "damaged" in found.refused[0].reason
    rows = table(out)
    assert [row["scan"] for row in rows] == sorted(row["scan"] for row in rows)
    scores = sorted(float(row["agatston"]) for row in rows if row["agatston"])
    assert scores[0] == 0 and scores[1] > 50
    folders = {item.name for item in out.iterdir() if item.is_dir()}
    assert folders == {row["scan"] for row in rows if row["agatston"]}
    for name in folders:
        assert {item.name for item in (out / name).iterdir()} == {
            "score.json",
            "heart.nii.gz",
            "calcium.nii.gz",
        }


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(("scans", "scores"), [(("with", "bad"), 1), (("bad",), 0), (("with",), 1)])
def test_the_command_prints_scored_and_refused_scans(
    scans, scores, as_json, *, inbox, save_fit, tmp_path, monkeypatch, capfd
):
    for model in ("heart", "calcium"):
        save_fit(tmp_path / model, model)
    folder = tmp_path / "chosen"
    folder.mkdir()
    for name in scans:
        (inbox / f"CANARY-{name}.nii.gz").rename(folder / f"{name}.nii.gz")
    models = ("--models", "heart=heart,calcium=calcium")
    options = ("--batch", "--out", "out", *models, *(["--json"] if as_json else []))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["coronet", "score", "chosen", *options])
    done = subprocess.CompletedProcess(options, terminal.run_app(app), *capfd.readouterr())
    refused = len(scans) - scores
    assert done.returncode == (2 if refused else 0), done.stderr
    assert "Traceback" not in done.stderr
    if as_json:
        rows = json.loads(done.stdout)["rows"]
        assert [bool(row["reason"]) for row in rows].count(True) == refused and len(rows) == len(scans)
    else:
        lines = [line for line in done.stdout.splitlines() if line.startswith(("scan-", "unread-"))]
        assert done.stdout.startswith("Learned from synthetic phantoms")
        assert len(lines) == len(scans)
        assert sum(", group " in line for line in lines) == scores
        assert sum("damaged" in line for line in lines) == refused
    if refused:
        assert f"{refused} of {len(scans)} scans could not be scored" in done.stderr


def test_results_name_no_file_and_no_patient(inbox, scorer, tmp_path, caplog):
    out = tmp_path / "out"
    score_folder(inbox, out, scorer=scorer)
    for file in (item for item in out.rglob("*") if item.is_file() and item.name != SOURCES):
        assert b"CANARY" not in file.read_bytes() and "CANARY" not in str(file.relative_to(out))
    assert "CANARY" not in caplog.text
    assert b"CANARY-bad.nii.gz" in (out / SOURCES).read_bytes()
    assert (out / SOURCES).stat().st_mode & 0o077 == 0


def test_a_second_run_reads_nothing_and_changes_nothing(inbox, scorer, tmp_path, monkeypatch):
    def read(path):
        raise AssertionError(f"{path} was read")

    out = tmp_path / "out"
    score_folder(inbox, out, scorer=scorer)
    before = {item: item.stat().st_mtime_ns for item in out.rglob("score.json")}, table(out)
    monkeypatch.setattr(files, "read_scan", read)
    seen = []
    again = score_folder(inbox, out, scorer=scorer, progress=lambda *at: seen.append(at))
    assert again.scored_now == 0 and seen[-1] == (4, 4)
    assert ({item: item.stat().st_mtime_ns for item in out.rglob("score.json")}, table(out)) == before


def test_a_new_and_a_changed_file_are_taken_and_the_same_scan_is_not_scored_twice(
    inbox, scorer, make_chest, tmp_path
):
    out = tmp_path / "out"
    score_folder(inbox, out, scorer=scorer)
    (inbox / "CANARY-with.nii.gz").rename(inbox / "moved.nii.gz")
    write_nifti(inbox / "CANARY-bad.nii.gz", make_chest(LESIONS, seed=3).ct)
    found = score_folder(inbox, out, scorer=scorer)
    assert found.scored_now == 1
    assert len(found.rows) == 3 and not found.refused


def test_what_is_still_being_copied_is_left_for_later(inbox, scorer, tmp_path):
    found = score_folder(inbox, tmp_path / "out", scorer=scorer, quiet_s=3600)
    assert not found.rows
    assert len(score_folder(inbox, tmp_path / "out", scorer=scorer).rows) == 3


def test_other_settings_are_refused(inbox, scorer, tmp_path):
    score_folder(inbox, tmp_path / "out", scorer=scorer)
    with pytest.raises(InputError, match=r"other settings \(method\)"):
        score_folder(inbox, tmp_path / "out", scorer=dataclasses.replace(scorer, method="volume"))


def test_refused_scans_are_tried_again_on_demand(inbox, scorer, tmp_path):
    blind = dataclasses.replace(scorer, method="mass")
    refused = score_folder(inbox, tmp_path / "out", scorer=blind)
    assert len(refused.refused) == 3
    assert len(score_folder(inbox, tmp_path / "out", scorer=blind, again=True).refused) == 3


def test_where_nothing_can_be_scored_it_says_so(scorer, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="is empty"):
        score_folder(tmp_path / "empty", tmp_path / "out", scorer=scorer)
    with pytest.raises(InputError, match="no folder"):
        score_folder(tmp_path / "absent", tmp_path / "out", scorer=scorer)
    with pytest.raises(InputError, match="another --out"):
        score_folder(tmp_path / "empty", tmp_path / "empty" / "out", scorer=scorer)


def test_two_runs_do_not_share_results(inbox, scorer, tmp_path):
    (tmp_path / "out").mkdir()
    with exclusive(tmp_path / "out" / ".lock"), pytest.raises(Busy):
        score_folder(inbox, tmp_path / "out", scorer=scorer)


def test_a_full_disk_blames_no_scan(inbox, scorer, tmp_path):
    def full(folder, scored):
        raise OSError(28, "No space left on device")

    out = tmp_path / "out"
    for _ in range(4):
        with pytest.raises(OSError, match="No space"):
            score_folder(inbox, out, scorer=scorer, write=full)
    assert score_folder(inbox, out, scorer=scorer).scored_now == 2


class Deadly(Scorer):
    """Kills the process that scores with it."""

    __call__ = kill_this


def write_and_die(folder, scored):
    scored.save(folder)
    kill_this()


@pytest.mark.slow
def test_killed_at_any_moment_nothing_is_lost_and_what_kills_is_passed_over(make_chest, save_fit, tmp_path):
    inbox, out, fits = tmp_path / "inbox", tmp_path / "out", tmp_path / "fits"
    write_nifti(inbox / "a.nii.gz", make_chest(LESIONS).ct)
    models = [load_model(save_fit(fits / model, model)) for model in ("heart", "calcium")]
    writing = functools.partial(score_folder, scorer=Scorer(*models), write=write_and_die)
    scoring = functools.partial(score_folder, scorer=Deadly(*models))
    for run in (writing, scoring, scoring):
        run_until_killed(run, inbox, out)
        assert not [item for item in out.glob("scan-*")]
    passed = score_folder(inbox, out, scorer=Scorer(*models))
    assert "3 runs ended" in passed.refused[0].reason
    again = score_folder(inbox, out, scorer=Scorer(*models), again=True)
    assert again.scored_now == 1 and not again.refused
    assert not list(out.glob(".part-*"))


def test_copies_of_a_scan_are_scored_once_and_lanes_change_no_score(inbox, scorer, make_chest, tmp_path):
    for number in range(3):
        write_nifti(inbox / f"copy-{number}.nii.gz", make_chest(LESIONS, seed=1).ct)
    one = score_folder(inbox, tmp_path / "one", scorer=scorer, lanes=1)
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / ".salt").write_bytes((tmp_path / "one" / ".salt").read_bytes())
    two = score_folder(inbox, tmp_path / "two", scorer=scorer, lanes=3)
    assert one.scored_now == two.scored_now == 2
    assert one.rows == two.rows


def test_what_a_killed_run_was_at_comes_last_and_alone(inbox, scorer, tmp_path):
    out, busy, seen = tmp_path / "out", [], []

    journal = files.OutcomeJournal(out / SOURCES)
    out.mkdir()
    (entry, *_) = [item for item in files.find_entries(inbox) if item.name == "CANARY-with.nii.gz"]
    journal.begin(entry, entry.name)

    @dataclasses.dataclass(frozen=True)
    class Watching(Scorer):
        def __call__(self, scan):
            busy.append(scan)
            seen.append((len(busy), float(scan.volume.array.max())))
            found = super().__call__(scan)
            busy.remove(scan)
            return found

    options = {field.name: getattr(scorer, field.name) for field in dataclasses.fields(scorer)}
    score_folder(inbox, out, scorer=Watching(**options), lanes=2)
    assert seen[-1] == (1, 350.0)


def test_workers_need_the_batch_and_ray(inbox, tmp_path, monkeypatch, capfd):
    def run(*options):
        command = ["coronet", "score", str(inbox), *options, "--out", str(tmp_path / "out")]
        monkeypatch.setattr(sys, "argv", command)
        return terminal.run_app(app), capfd.readouterr().err

    assert run("--ray") == (2, "coronet: --ray goes with --batch.\n")
    assert run("--batch", "--workers", "2")[1].endswith("go with --ray.\n")
    monkeypatch.setitem(sys.modules, "ray", None)
    code, error = run("--batch", "--ray")
    assert code == 2 and 'pip install "coronet[scale]"' in error
