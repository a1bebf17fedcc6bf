"""Text that every output encoding takes, and failures as one line on standard error with exit code 2."""

from __future__ import annotations

import codecs
import contextlib
import errno
import importlib.util
import io
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator

from coronet.errors import CoronetError, InputError
from coronet.files import NO_SPACE
from coronet.text import without_accents

_FALLBACK = "coronet-fallback"  # name of the handler that `_use_any_encoding` gives to both streams
_ASCII = "coronet_ascii"  # name of the codec that it gives to streams that take nothing but ASCII
TRACEBACK = "CORONET_TRACEBACK"
"""Environment variable: any value lets the traceback of a failure through, for developers."""
_FAILED, _INTERRUPTED = 2, 130
_OUTPUT = "standard output"
_WRITERS = ("echo", "_write_buffer", "_flush_output")
"""Functions of typer, of rich and of this module that write to standard output."""
_PLAIN = {
    **{"«": '"', "»": '"', "„": '"', "“": '"', "”": '"', "‘": "'", "’": "'"},
    **{"–": "-", "—": "-", "−": "-", "·": "*", "•": "*", "…": "...", "→": "->", "←": "<-", "×": "x"},
    **{"±": "+/-", "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "°": " deg", "µ": "u", "μ": "u", "⁻": "-"},
    **{"κ": "kappa", "γ": "gamma", "α": "alpha", "β": "beta", "σ": "sigma", "Δ": "delta", "¹": "1"},
    **{"ß": "ss", "æ": "ae", "ø": "o", "ł": "l", "\N{NO-BREAK SPACE}": " ", "\N{THIN SPACE}": " "},
}
"""What stands for a character that the output's encoding lacks; letters with accents lose them."""
_ADVICE = {
    errno.ENOSPC: "Make room and run the command again.",
    errno.EDQUOT: "Make room and run the command again.",
    errno.EFBIG: "Write to a file system without this limit, or raise `ulimit -f`.",
    errno.EACCES: "Change its permissions or choose another place.",
    errno.EPERM: "Change its permissions or choose another place.",
    errno.EROFS: "Choose a place that can be written.",
    errno.EEXIST: "Remove it or choose another place.",
    errno.ENOTDIR: "A file stands where a folder has to be; choose another place.",
    errno.EISDIR: "A folder stands where a file has to be; choose another place.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.EMFILE: "Raise `ulimit -n` and run the command again.",
    errno.EADDRINUSE: "Choose another with --port.",
}
_EXTRAS = {
    "track": ("mlflow",),
    "train": ("torchvision", "segmentation_models_pytorch_3d", "monai", "dvc"),
    "search": ("optuna", "optuna_dashboard", "sqlalchemy"),
    "flows": ("prefect", "fastapi"),
    "validate": ("great_expectations",),
    "nlst": ("idc_index", "duckdb", "requests"),
    "annotate": ("sklearn",),
}
"""Packages that only some commands need, by the extra of this package that installs them."""
_MEMORY = "there is not enough memory. End other programs, or use a machine with more."
_RUST_ERROR = re.compile(r"\bOs \{ code: (\d+)")
"""How libraries in Rust, such as safetensors, name an error of the system."""
_SQLITE_ERRORS: tuple[str, ...] = (
    "SQLITE_FULL",
    "SQLITE_IOERR",
    "SQLITE_CANTOPEN",
    "SQLITE_READONLY",
    "SQLITE_PERM",
)
_SQLITE_ERRORS += ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_CORRUPT", "SQLITE_NOTADB")
"""Beginnings of SQLite's names for errors that the place of the file causes, and not a statement."""


def run_app(command: Callable[[], object]) -> int:
    """Run a command and return its exit code.

    What a user can change becomes one line on standard error and exit code 2: a `CoronetError`, a file that
    cannot be read or written, too little memory, an output that takes no more. Every other exception is a
    fault of the program and passes with its traceback.

    Args:
        command: returns an exit code or None, or raises SystemExit.
    """
    _use_any_encoding()
    try:
        try:
            code = command()
        except SystemExit as end:
            # typer ends with 1 where nothing reads its output any more
            if isinstance(end.__context__, BrokenPipeError):
                raise end.__context__ from None
            code = end.code
        _flush_output()
    except KeyboardInterrupt:
        _close_output()
        return _INTERRUPTED
    except Exception as error:
        reason = explain(error)
        if reason is None or os.environ.get(TRACEBACK):
            raise
        _close_output()
        _print_error(reason)
        return _FAILED
    if isinstance(code, str):
        _print_error(code)
        return _FAILED
    return code if isinstance(code, int) else 0


def _flush_output() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _print_error(reason: str) -> None:
    """Print ``coronet: reason`` on standard error, as long as anything reads it."""
    with contextlib.suppress(OSError):
        if sys.stderr is not None:
            sys.stderr.write(f"coronet: {reason}\n")
            sys.stderr.flush()


def explain(error: BaseException) -> str | None:
    """What a user has to know of a failure, in one line; None where it is a fault of the program."""
    if isinstance(error, CoronetError):
        return str(error)
    for cause in _causes(error):
        if isinstance(cause, ModuleNotFoundError) and (extra := _find_extra(cause.name)):
            return _install_hint((cause.name or "").partition(".")[0], extra)
        if isinstance(cause, MemoryError):
            return _MEMORY
        if isinstance(cause, BrokenPipeError) and cause.filename is None:
            return "the output was closed before all of it was written."
        if isinstance(cause, UnicodeEncodeError) and cause.reason == "surrogates not allowed":
            return "a name holds bytes that are no UTF-8; rename the file or folder."
        if isinstance(cause, OSError) and cause.errno:
            place = cause.filename or (_OUTPUT if _is_output(cause) else None)
            return _explain_os(cause.errno, cause.strerror, place)
        if str(getattr(cause, "sqlite_errorname", "")).startswith(_SQLITE_ERRORS):
            return f"a database under mlruns/ cannot be used: {cause}."
        if found := _RUST_ERROR.search(str(cause)):
            return _explain_os(int(found[1]), None, None)
    return None


def _find_extra(module: str | None) -> str | None:
    """The extra of this package that installs a module; None where no extra does."""
    package = (module or "").partition(".")[0]
    return next((extra for extra, packages in _EXTRAS.items() if package in packages), None)


def check_installed(*modules: str, extra: str) -> None:
    """Check that a command finds all that it needs before it begins.

    Raises:
        InputError: a module is absent; the extra that installs it is named.
    """
    absent = [name for name in modules if importlib.util.find_spec(name) is None]
    if absent:
        raise InputError(_install_hint(", ".join(absent), extra))


def _install_hint(packages: str, extra: str) -> str:
    command = f'pip install "coronet[{extra}]"'
    return f"{packages} is not installed, which this command needs; install it with: {command}."


def lacks_space(error: BaseException) -> bool:
    """Whether a disk or a quota is full, as far as the error and its causes show."""
    for cause in _causes(error):
        found = _RUST_ERROR.search(str(cause))
        if (int(found[1]) if found else getattr(cause, "errno", None)) in NO_SPACE:
            return True
    return False


def _use_any_encoding() -> None:
    """Let standard output and error print what comes close where their encoding lacks a character."""
    codecs.register_error(_FALLBACK, _replace)
    codecs.register(_find_codec)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # typer takes ASCII for an oversight and writes UTF-8 all the same, unless it has another name
            only_ascii = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding=_ASCII if only_ascii else None, errors=_FALLBACK)


def _find_codec(name: str) -> codecs.CodecInfo | None:
    if name != _ASCII:
        return None
    ascii_codec = codecs.lookup("ascii")
    return codecs.CodecInfo(
        ascii_codec.encode,
        ascii_codec.decode,
        incrementalencoder=ascii_codec.incrementalencoder,
        incrementaldecoder=ascii_codec.incrementaldecoder,
        name=_ASCII,
    )


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> str:
    if character in _PLAIN:
        return _PLAIN[character]
    if "\udc80" <= character <= "\udcff":
        # a byte of a file name that is no UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    bare = without_accents(character)
    return bare if bare.isascii() and bare else "?"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what libraries say it came from."""
    visited: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        found = waiting.pop(0)
        if isinstance(found, BaseException) and id(found) not in visited:
            visited.add(id(found))
            yield found
            waiting += [found.__cause__, getattr(found, "orig", None)]


def _explain_os(number: int, text: str | None, filename: object) -> str:
    reason = text or os.strerror(number)
    place = ""
    if isinstance(filename, str | bytes | os.PathLike):
        place = f"{os.fsdecode(filename)}: "
    return f"{place}{reason}. {_ADVICE.get(number, '')}".rstrip()


def _is_output(error: BaseException) -> bool:
    """Whether it was raised while standard output was written; such an error names no file."""
    return any(frame.f_code.co_name in _WRITERS for frame, _ in traceback.walk_tb(error.__traceback__))


def _close_output() -> None:
    """Give up what standard output still holds where it takes no more; Python would fail on it at its end."""
    try:
        _flush_output()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
