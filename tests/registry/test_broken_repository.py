"""What git and DVC keep, where it cannot be read: one line that says what is wrong and what helps."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from coronet.dvc_repository import remove_broken_rwlock
from coronet.errors import StageError
from coronet.registry import promotion_log
from coronet.tracking import dvc_lock, git_state
from repositories import commit, git

MARKS = "outs:\n<<<<<<< HEAD\n- path: data/ct\n=======\n- path: data/masks\n>>>>>>> other\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (MARKS, "marks of a merge conflict in line 2"),
        (MARKS.replace("\n", "\r\n"), "marks of a merge conflict in line 2"),
        (">>>>>>> other\n", "line 1"),
        ("outs: [", "no YAML"),
        ("outs: \xff", "no YAML"),
        ("outs: \0", "no YAML"),
        ("7", "not as DVC writes it"),
        ("[stages, outs]", "not as DVC writes it"),
        ("{stages: [a], outs: 3}", "not as DVC writes it"),
        ("{stages: {a: 7}, outs: [7]}", "not as DVC writes it"),
        ("{stages: {a: {outs: [{md5: a}]}}, outs: [{md5: a}]}", "not as DVC writes it"),
        ("{stages: {a: {deps: data}}, outs: {path: data}}", "not as DVC writes it"),
    ],
)
def test_files_of_dvc_that_cannot_be_read_are_named(content, words, tmp_path):
    (tmp_path / "dvc.lock").write_bytes(content.encode("latin-1"))
    (tmp_path / "data.dvc").write_bytes(content.encode("latin-1"))
    with pytest.raises(StageError, match=rf"dvc\.lock .*{words}.*`git checkout --ours dvc\.lock`"):
        dvc_lock.read_lock(tmp_path)
    with pytest.raises(StageError, match=rf"data\.dvc .*{words}.*`git checkout --ours data\.dvc`"):
        dvc_lock.data_hashes(tmp_path, dvc_lock.DvcLock({}), "heart")


@pytest.mark.parametrize(
    "content", ["", "schema: '2.0'\n", "schema: '2.0'\nstages:\n", "# <<<<<<< no mark\n"]
)
def test_an_empty_lock_has_no_stages(content, tmp_path):
    (tmp_path / "dvc.lock").write_text(content)
    assert dvc_lock.read_lock(tmp_path).stages == {}


@pytest.mark.slow
@pytest.mark.parametrize("command", [("models", "register", "heart"), ("tracking", "sync")])
def test_commands_end_in_one_line_on_a_merge_conflict(bare, forked_coronet, command):
    (bare / "dvc.lock").write_text(MARKS)
    done = forked_coronet(bare, *command)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("coronet: dvc.lock has the marks of a merge conflict in line 2")


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"write": 3}', "\0\0"])
def test_a_broken_list_of_locks_is_removed(content, tmp_path):
    path = tmp_path / ".dvc" / "tmp" / "rwlock"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert remove_broken_rwlock(tmp_path)
    assert not path.exists() and not remove_broken_rwlock(tmp_path)


def test_a_whole_list_of_locks_stays(tmp_path):
    path = tmp_path / ".dvc" / "tmp" / "rwlock"
    path.parent.mkdir(parents=True)
    for value in ({}, {"write": {"a": {"pid": 1, "cmd": "dvc repro"}}, "read": {}}):
        path.write_text(json.dumps(value))
        assert not remove_broken_rwlock(tmp_path) and json.loads(path.read_text()) == value


def no_repository(folder: Path) -> dict[str, str]:
    return {"GIT_CEILING_DIRECTORIES": str(folder.parent)}


def no_commit(folder: Path) -> dict[str, str]:
    git(folder, "init", "-q")
    return {}


def of_another_user(folder: Path) -> dict[str, str]:
    commit(folder, "start")
    return {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}


def no_git(folder: Path) -> dict[str, str]:
    return {"PATH": str(Path(sys.executable).parent)}


def broken(folder: Path) -> dict[str, str]:
    commit(folder, "start")
    (folder / ".git" / "config").write_text("[core\n")
    return {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "words", "never"),
    [
        (no_repository, "lies in no git repository; `git init`", "safe.directory"),
        (no_commit, "has no commit; `git add` and `git commit`", "git init"),
        (of_another_user, "belongs to another user.*git config --global --add safe.directory", "git commit"),
        (no_git, "git is not installed", "git commit"),
        (broken, "git fails .*bad config", "git commit"),
    ],
)
def test_why_git_names_no_commit(make, words, never, *, bare, forked_coronet, monkeypatch):
    for name, value in make(bare).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    found = git_state.read_git_state(bare)
    assert found.dirty and not found.commit
    environment = {name: os.environ[name] for name in ("PATH",) if make is no_git}
    done = forked_coronet(bare, "models", "register", "heart", **environment)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("coronet: ")
    assert re.search(words, last) and never not in last and "--allow-dirty" in last
    promotion_log.append(bare, promotion_log.Event("registered", "heart", 1))
    shown = forked_coronet(bare, "models", "check", **environment).stdout
    assert "would not be found without git" in shown and re.search(words, shown)


def test_git_that_does_not_answer_is_named(bare, monkeypatch):
    def slow(command, **_):
        raise subprocess.TimeoutExpired(command, 60)

    monkeypatch.setattr(subprocess, "run", slow)
    assert "did not answer in 60 s" in git_state.read_git_state(bare).reason
    assert git_state.read_committed(bare, "params.yaml") == b""
