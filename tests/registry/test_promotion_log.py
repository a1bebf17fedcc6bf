"""The log of promotions: any edit, deletion or move is found; a kill leaves nothing half-written."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from coronet.errors import InputError
from coronet.registry import promotion_log
from coronet.registry.promotion_log import LOG, Event
from repositories import git


def fill(project, count: int = 5) -> bytes:
    """A log of ``count`` events; its bytes."""
    for number in range(1, count + 1):
        promotion_log.append(
            project, Event("registered", "heart", number, {"dice": 0.9 + number / 100, "who": "Zoë"})
        )
    return (project / LOG).read_bytes()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with a log of five lines, and its bytes."""
    project = tmp_path_factory.mktemp("log")
    return project, fill(project)


def compact(value) -> bytes:
    """The form of a line."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_what_is_written_is_read(tmp_path):
    before = promotion_log.append(
        tmp_path, Event("registered", "heart", 1, {"weights_sha256": "ab", "figures": (1, 2)})
    )
    after = promotion_log.append(tmp_path, Event("promoted", "heart", 1, {"approved_by": "Zoë"}))
    assert promotion_log.read(tmp_path) == (before, after)
    assert (before.number, after.number) == (1, 2)
    assert after.previous == before.sha256
    assert after.details == {"approved_by": "Zoë"}
    assert after.time.endswith("Z")
    assert promotion_log.verify(tmp_path) == ()


def test_no_log_holds_nothing(tmp_path):
    assert promotion_log.read(tmp_path) == ()
    assert promotion_log.verify(tmp_path) == ()


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_byte_changed_put_in_or_taken_out_is_found(written, data):
    project, original = written
    place = data.draw(st.integers(0, len(original) - 1))
    byte = bytes([data.draw(st.integers(0, 255))])
    changed = data.draw(
        st.sampled_from(
            [
                original[:place] + byte + original[place + 1 :],
                original[:place] + byte + original[place:],
                original[:place] + original[place + 1 :],
            ]
        )
    )
    (project / LOG).write_bytes(changed)
    assert bool(promotion_log.verify(project)) == (changed != original)


@settings(max_examples=100, deadline=None)
@given(order=st.lists(st.integers(0, 4), max_size=7))
def test_lines_missing_moved_or_doubled_are_found(written, order):
    project, original = written
    lines = original.splitlines(keepends=True)
    (project / LOG).write_bytes(b"".join(lines[number] for number in order))
    faults = promotion_log.verify(project)
    if order == list(range(len(order))):
        assert faults == ()
    else:
        wrong = next(place for place, number in enumerate(order) if place != number)
        assert faults[0].line == wrong + 1


@settings(max_examples=30, deadline=None)
@given(line=st.integers(0, 3), figure=st.floats(0, 1))
def test_an_edit_that_mends_its_own_hash_is_found_in_the_next_line(written, line, figure):
    project, original = written
    lines = original.splitlines()
    raw = json.loads(lines[line])
    assume(raw["details"]["dice"] != figure)
    raw["details"]["dice"] = figure
    del raw["sha256"]
    forged = compact(raw | {"sha256": hashlib.sha256(raw["previous"].encode() + compact(raw)).hexdigest()})
    (project / LOG).write_bytes(b"\n".join([*lines[:line], forged, *lines[line + 1 :]]) + b"\n")
    assert [fault.line for fault in promotion_log.verify(project)] == [line + 2]


def test_lines_cut_off_from_the_end_are_found_with_git(tmp_path):
    content = fill(tmp_path, 3)
    lines = content.splitlines(keepends=True)
    (tmp_path / LOG).write_bytes(b"".join(lines[:2]))
    assert promotion_log.verify(tmp_path) == ()
    (tmp_path / LOG).write_bytes(content)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", LOG)
    git(tmp_path, "commit", "-qm", "promotions")
    promotion_log.append(tmp_path, Event("promoted", "heart", 2))
    assert promotion_log.verify(tmp_path) == ()
    (tmp_path / LOG).write_bytes(b"".join(lines[:2]))
    assert [fault.line for fault in promotion_log.verify(tmp_path)] == [3]
    (tmp_path / LOG).unlink()
    assert [fault.line for fault in promotion_log.verify(tmp_path)] == [1]


def test_a_chain_written_anew_is_found_with_git(tmp_path):
    fill(tmp_path, 3)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", LOG)
    git(tmp_path, "commit", "-qm", "promotions")
    (tmp_path / LOG).unlink()
    promotion_log.append(tmp_path, Event("registered", "calcium", 1))
    fill(tmp_path, 4)
    assert promotion_log.verify(tmp_path)[0].line == 1


def test_half_a_line_is_found_and_replaced(tmp_path, caplog):
    content = fill(tmp_path, 3)
    (tmp_path / LOG).write_bytes(content[:-20])
    assert [fault.line for fault in promotion_log.verify(tmp_path)] == [3]
    assert len(promotion_log.read(tmp_path)) == len(promotion_log.read_verified(tmp_path)) == 2
    promotion_log.append(tmp_path, Event("promoted", "heart", 2))
    assert "half a line" in caplog.text
    assert [entry.kind for entry in promotion_log.read(tmp_path)] == ["registered", "registered", "promoted"]
    assert promotion_log.verify(tmp_path) == ()


def test_a_last_line_that_lacks_its_break_alone_is_whole(tmp_path):
    content = fill(tmp_path, 3)
    (tmp_path / LOG).write_bytes(content[:-1])
    assert [fault.line for fault in promotion_log.verify(tmp_path)] == [3] and len(
        promotion_log.read(tmp_path)
    ) == 3
    promotion_log.append(tmp_path, Event("promoted", "heart", 2))
    assert (tmp_path / LOG).read_bytes().startswith(content)
    assert len(promotion_log.read(tmp_path)) == 4 and promotion_log.verify(tmp_path) == ()


def test_a_damaged_log_takes_no_more_lines(tmp_path):
    content = fill(tmp_path, 3)
    (tmp_path / LOG).write_bytes(content.replace(b"0.92", b"0.99"))
    with pytest.raises(InputError, match="Line 2 was edited"):
        promotion_log.append(tmp_path, Event("promoted", "heart", 2))
    assert (tmp_path / LOG).read_bytes() == content.replace(b"0.92", b"0.99")


@pytest.mark.parametrize(
    "path",
    ["/data", "file:///data", "C:\\data", "~/data", "see «/home/me/scan.nii.gz»", "in D:\\scans it was"],
)
def test_absolute_paths_are_refused(tmp_path, path):
    with pytest.raises(InputError, match="no absolute paths"):
        promotion_log.append(tmp_path, Event("promoted", "heart", 1, {"evidence": [{"where": path}]}))
    assert promotion_log.read(tmp_path) == ()
    harmless = "mm³/scan, 1 / 2, and/or models:/heart@champion in build/heart/fit (src/coronet/a.py)"
    assert promotion_log.append(tmp_path, Event("promoted", "heart", 1, {"reason": harmless})).number == 1


WRITER = """
import sys
from pathlib import Path
from coronet.registry.promotion_log import Event, append
for number in range(10):
    append(Path(sys.argv[1]), Event("registered", sys.argv[2], number))
"""


def test_writers_at_once_make_one_chain(tmp_path):
    def run(name: str) -> int:
        return subprocess.run(
            [sys.executable, "-c", WRITER, str(tmp_path), name], check=False, env=os.environ
        ).returncode

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(run, ("heart", "calcium", "other"))) == [0, 0, 0]
    assert promotion_log.verify(tmp_path) == ()
    entries = promotion_log.read(tmp_path)
    assert len(entries) == 30
    for name in ("heart", "calcium", "other"):
        assert [entry.version for entry in entries if entry.model == name] == list(range(10))


def test_aliases_follow_from_the_log(tmp_path):
    def add(kind: str, version: int, model: str = "heart") -> dict[str, int]:
        promotion_log.append(tmp_path, Event(kind, model, version))
        return promotion_log.logged_aliases(promotion_log.read(tmp_path), "heart")

    assert add("registered", 1) == {"challenger": 1}
    assert add("registered", 7, "calcium") == {"challenger": 1}
    assert add("intent", 1) == {"challenger": 1}, "a line of an older edition"
    assert add("promoted", 1) == {"champion": 1}
    assert add("registered", 2) == {"champion": 1, "challenger": 2}
    assert add("rejected", 2) == {"champion": 1, "challenger": 2}
    assert add("registered", 3) == {"champion": 1, "challenger": 3}
    assert add("promoted", 3) == {"champion": 3, "previous": 1}
    assert add("rolled_back", 1) == {"champion": 1, "previous": 3}
