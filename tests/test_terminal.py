"""What goes wrong outside the program, output and files, is one line with exit code 2."""

from __future__ import annotations

import errno
import os
import resource
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from coronet import files, terminal
from coronet.cli import app
from coronet.errors import InputError

COMMAND = [sys.executable, "-m", "coronet.cli"]
ROOT = Path(__file__).resolve().parents[1]
PAIRS = "reference,predicted\n" + "".join(f"{10 * item},{11 * item}\n" for item in range(12))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a scan, an expert's mask of it, a table of scores, and places that take no results."""
    folder = tmp_path_factory.mktemp("terminal")
    hu = np.full((40, 40, 12), 40, dtype=np.int16)
    mask = np.zeros(hu.shape, dtype=np.uint8)
    hu[10:20, 10:20, 5:7], mask[10:20, 10:20, 5:7] = 500, 1
    for name, array in (("scan", hu), ("mask", mask)):
        nibabel.save(nibabel.Nifti1Image(array, np.diag([0.7, 0.7, 3.0, 1.0])), folder / f"{name}.nii.gz")
    (folder / "pairs.csv").write_text(PAIRS)
    (folder / "params.yaml").write_bytes((Path(__file__).parents[1] / "params.yaml").read_bytes())
    (folder / "file").write_text("kept")
    (folder / "link").symlink_to("nowhere")
    for name in ("score.json", "agreement.json"):
        (folder / "taken" / name).mkdir(parents=True)
    return folder


def run(folder: Path, *arguments: str, **options) -> subprocess.CompletedProcess[str]:
    environment = os.environ | options.pop("environment", {})
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env=environment,
        **({"stdout": subprocess.PIPE} | options),
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )


@pytest.fixture
def run_here(work, monkeypatch, capfd):
    """The same without a process of its own."""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(work)
        monkeypatch.setattr(sys, "argv", ["coronet", *arguments])
        code = terminal.run_app(app)
        return subprocess.CompletedProcess(arguments, code, *capfd.readouterr())

    return call


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line on standard error of a command that failed as it must."""
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("coronet: "), done.stderr
    return done.stderr


EXPERT = ("score", "scan.nii.gz", "--mask", "mask.nii.gz", "--out")
AGREEMENT = ("agreement", "pairs.csv", "--resamples", "20", "--out")


@pytest.mark.parametrize("command", [EXPERT, AGREEMENT])
@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("file", "file is a file"),
        ("file/below", "file is a file"),
        ("link", "link is a link that leads nowhere"),
        ("/proc/none/below", "/proc"),
        ("/dev/null", "/dev/null is a file"),
        ("x" * 300, "name too long"),
    ],
)
def test_out_that_takes_no_results(work, run_here, command, out, words):
    before = sorted(work.iterdir())
    assert words.lower() in one_line(run_here(*command, out)).lower()
    assert sorted(work.iterdir()) == before and (work / "file").read_text() == "kept"


@pytest.mark.parametrize("options", [(), ("--batch",)])
def test_out_is_checked_before_networks_are_loaded(run_here, options):
    assert "file is a file" in one_line(run_here("score", "scan.nii.gz", "--out", "file", *options))


@pytest.mark.slow
@pytest.mark.parametrize(("command", "name"), [(EXPERT, "score.json"), (AGREEMENT, "agreement.json")])
def test_a_failed_write_leaves_nothing_and_names_the_file(work, command, name, tmp_path):
    assert f"taken/{name}: Is a directory" in one_line(run(work, *command, "taken"))
    assert [item.name for item in (work / "taken" / name).iterdir()] == []

    def little_space() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    out = tmp_path / "new" / "out"
    message = one_line(run(work, *command, str(out), preexec_fn=little_space))
    assert str(out) in message and "too large" in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [("params",), ("params", "seed"), ("--version",)])
def test_output_that_takes_no_more(work, command):
    with open("/dev/full", "w") as full:
        message = one_line(run(work, *command, stdout=full))
    assert message.startswith("coronet: standard output: No space left on device")
    read, write = os.pipe()
    os.close(read)
    try:
        assert "the output was closed" in one_line(run(work, *command, stdout=write))
    finally:
        os.close(write)
    closed = run(work, *command, preexec_fn=lambda: os.close(1), stdout=None)
    assert closed.returncode == 0 and not closed.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_every_output_encoding_takes_what_is_printed(work, encoding):
    environment = {"PYTHONIOENCODING": encoding}
    expert = run(work, *EXPERT[:-1], environment=environment, encoding=encoding)
    assert expert.returncode == 0, expert.stderr
    assert ("mm³" if encoding != "ascii" else "mm3") in expert.stdout
    message = one_line(run(work, "params", "κ", environment=environment, encoding=encoding))
    assert ("κ" if encoding == "utf-8" else "kappa") in message
    name = os.fsdecode(b"\xff.nii.gz")
    assert "\\xff.nii.gz" in one_line(
        run(work, *EXPERT[:1], name, *EXPERT[2:-1], environment=environment, encoding=encoding)
    )


def test_tables_of_rich_have_plain_boxes_where_the_encoding_has_no_others(tmp_path):
    code = (
        "import sys; from rich.console import Console; from rich.table import Table\n"
        "from coronet import terminal\n"
        "def show():\n"
        "    table = Table('κ', title='x → y')\n"
        "    table.add_row('−0.5 … 1·2 mm³')\n"
        "    Console(width=60).print(table)\n"
        "sys.exit(terminal.run_app(show))\n"
    )
    for encoding in ("ascii", "latin-1"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONIOENCODING": encoding},
            capture_output=True,
            check=False,
        )
        shown = done.stdout.decode(encoding)
        assert done.returncode == 0 and not done.stderr, done.stderr
        assert "x -> y" in shown and "|" in shown and "?" not in shown


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (InputError("a.nii.gz is absent."), "a.nii.gz is absent."),
        (OSError(errno.ENOSPC, "No space left", "a/b"), "a/b: No space left. Make room"),
        (PermissionError(errno.EACCES, "Permission denied", "a"), "a: Permission denied. Change"),
        (OSError(errno.EROFS, "Read-only file system", b"a"), "a: Read-only file system"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (MemoryError(), "not enough memory"),
        (RuntimeError('Error: IoError(Os { code: 28, kind: StorageFull, message: "…" })'), "No space left"),
        (OSError("no number, so no error of the system"), None),
        (ValueError("a fault of the program"), None),
        (KeyError("metrics"), None),
    ],
)
def test_what_is_explained_and_what_is_a_fault_of_the_program(error, words):
    found = terminal.explain(error)
    assert found is None if words is None else words in found
    wrapped = RuntimeError("a library's own error")
    wrapped.__cause__ = error
    assert (terminal.explain(wrapped) is None) == (words is None or isinstance(error, InputError))


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left"), True),
        (OSError(errno.EDQUOT, "Quota exceeded"), True),
        (RuntimeError("IoError(Os { code: 28, kind: StorageFull })"), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (RuntimeError("IoError(Os { code: 13, kind: PermissionDenied })"), False),
        (ValueError("28"), False),
    ],
)
def test_a_full_disk_is_known(error, full):
    assert terminal.lacks_space(error) == full


def test_databases_that_cannot_be_used_are_explained(tmp_path):
    (tmp_path / "mlflow.db").write_text("no database, but a text that is long enough" * 50)
    with sqlite3.connect(tmp_path / "mlflow.db") as database, pytest.raises(sqlite3.DatabaseError) as raised:
        database.execute("select * from runs")
    assert "not a database" in terminal.explain(raised.value)
    with sqlite3.connect(tmp_path / "new.db") as database, pytest.raises(sqlite3.Error) as raised:
        database.execute("select * from runs")
    assert terminal.explain(raised.value) is None


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch):
    def broken() -> None:
        raise KeyError("metrics")

    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left", "a")

    with pytest.raises(KeyError):
        terminal.run_app(broken)
    assert terminal.run_app(full) == 2
    monkeypatch.setenv(terminal.TRACEBACK, "1")
    with pytest.raises(OSError):
        terminal.run_app(full)


@pytest.mark.parametrize(("code", "expected"), [(None, 0), (0, 0), (1, 1), (3, 3), ("words", 2), (True, 1)])
def test_exit_codes_pass(code, expected):
    def ended() -> None:
        sys.exit(code)

    assert terminal.run_app(ended) == expected


WRITERS: dict[str, Callable[[Path], None]] = {
    "text": lambda path: files.write_text(path, "x" * 1000),
    "folder": lambda path: _fill(path.parent),
}


def _fill(folder: Path) -> None:
    with files.filling(folder) as part:
        (part / "a").write_text("new")
        (part / "b").write_text("x" * 1000)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_names_the_file_and_leaves_what_was_there(kind, tmp_path):
    path = tmp_path / "result" / "a"
    files.write_text(path, "old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match=str(tmp_path / "result")):
            WRITERS[kind](path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == "old"
    assert [item.name for item in path.parent.iterdir()] == ["a"]


def test_an_interrupt_ends_with_130():
    def interrupted() -> None:
        raise KeyboardInterrupt

    assert terminal.run_app(interrupted) == 130


@pytest.mark.parametrize(
    ("module", "extra"),
    [("mlflow.tracking", "track"), ("dvc", "train"), ("sklearn.ensemble", "annotate"), ("duckdb", "nlst")],
)
def test_a_missing_package_is_named_with_its_extra(module, extra, capsys):
    def command():
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    assert terminal.run_app(command) == 2
    assert f'pip install "coronet[{extra}]"' in capsys.readouterr().err


def test_a_missing_module_of_this_package_is_a_fault():
    def command():
        raise ModuleNotFoundError("No module named 'coronet.absent'", name="coronet.absent")

    with pytest.raises(ModuleNotFoundError):
        terminal.run_app(command)


def test_the_extras_are_those_of_the_installation():
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra, packages in terminal._EXTRAS.items():
        listed = " ".join(metadata[extra]).replace("-", "_").replace("scikit_learn", "sklearn")
        assert [name for name in packages if name not in listed] in ([], ["sqlalchemy"]), extra
