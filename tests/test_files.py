"""Files are whole or absent, and locks hold."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from coronet import files, json_lines
from coronet.errors import Busy, InputError


def test_failed_write_leaves_the_old_file_and_no_rest(tmp_path):
    path = tmp_path / "table.csv"
    files.write_text(path, "old")
    with pytest.raises(RuntimeError), files.replacing(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["table.csv"]


def test_folder_is_replaced_whole(tmp_path):
    target = tmp_path / "result"
    target.mkdir()
    (target / "stale").write_text("x")
    with files.replacing_folder(target) as part:
        (part / "fresh").write_text("y")
    assert [item.name for item in target.iterdir()] == ["fresh"]
    with pytest.raises(RuntimeError), files.replacing_folder(target) as part:
        raise RuntimeError
    assert [item.name for item in target.iterdir()] == ["fresh"]
    assert [item.name for item in tmp_path.iterdir()] == ["result"]


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "metrics.json", {"dice": float("nan")})
    assert not (tmp_path / "metrics.json").exists()


def test_damaged_json_is_named(tmp_path):
    (tmp_path / "split.json").write_text("{")
    with pytest.raises(InputError, match="split.json holds no JSON"):
        files.read_json(tmp_path / "split.json")


def test_second_process_is_told_who_is_busy(tmp_path):
    lock = tmp_path / "work" / "lock"
    attempt = (
        "import sys; from pathlib import Path; from coronet import files\n"
        "from coronet.errors import Busy\n"
        "try:\n"
        "    with files.exclusive(Path(sys.argv[1])): print('held')\n"
        "except Busy: print('busy')\n"
    )
    run = [sys.executable, "-c", attempt, str(lock)]
    with files.exclusive(lock):
        assert subprocess.run(run, check=True, capture_output=True, text=True).stdout == "busy\n"
    assert subprocess.run(run, check=True, capture_output=True, text=True).stdout == "held\n"
    with files.exclusive(lock), pytest.raises(Busy), files.exclusive(lock):
        pass


def test_a_lock_is_waited_for_as_long_as_is_said(tmp_path):
    lock = tmp_path / "lock"
    hold = (
        "import sys; from pathlib import Path; from coronet import files\n"
        "with files.exclusive(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", hold, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "held\n"
    with (
        pytest.raises(Busy, match="wait for the other"),
        files.exclusive(lock, seconds=0.2, busy="wait for the other"),
    ):
        pass
    threading.Timer(0.3, other.communicate).start()
    with files.exclusive(lock, seconds=None):
        assert other.wait(timeout=10) == 0
    with files.exclusive(lock, seconds=10):
        pass


TORN = [
    b'{"stage": "tra',
    b'{"stage": "\xc3',
    b"\0\0\0\0",
    b'{"stage": "train", "sec',
    b"\xff\xfe",
    b"[1, 2",
    b"7",
]


@pytest.mark.parametrize("torn", TORN)
def test_a_torn_line_loses_itself_alone(torn, tmp_path, caplog):
    path = tmp_path / "new" / "timings.jsonl"
    json_lines.append_line(path, {"stage": "first"})
    path.write_bytes(path.read_bytes() + torn)
    assert json_lines.read_lines(path) == ({"stage": "first"},)
    json_lines.append_line(path, {"stage": "second"})
    json_lines.append_line(path, {"stage": "ß", "other": 1})
    assert [item["stage"] for item in json_lines.read_lines(path)] == ["first", "second", "ß"]
    assert "timings.jsonl: damaged lines were passed over: 1" in caplog.text
    assert json_lines.read_lines(path, keys=("other",)) == ({"stage": "ß", "other": 1},)


def test_lines_are_appended_with_the_permissions_and_whole_or_with_an_error(tmp_path, monkeypatch):
    path = tmp_path / "journal.jsonl"
    assert json_lines.read_lines(path) == ()
    json_lines.append_line(path, {"number": 1}, mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, content: write(handle, content[:5]))
    with pytest.raises(OSError, match=r"journal\.jsonl"):
        json_lines.append_line(path, {"number": 2})
    monkeypatch.undo()
    json_lines.append_line(path, {"number": 3})
    assert json_lines.read_lines(path) == ({"number": 1}, {"number": 3})
