"""Pseudonyms of patients and scans by a secret key, and the index of scans by name.

The key lies in the data folder as ``.salt``, readable by its owner alone, outside the folders that DVC stores
and git sees. Without it a guess ("is this Jane Doe's ID?") cannot be tested; with it the same patient gets
the same pseudonym in later imports. Data can be used without the key, but new scans of old patients then
count as new patients.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

import numpy as np

from coronet.dataset.cases import scan_path
from coronet.errors import InputError
from coronet.files import read_json, write_json
from coronet.io.volume import Volume, read_nifti

_KEY_NAME = ".salt"
INDEX_NAME = ".scans.json"
_KEY_BYTES = 32


def load_key(data: Path, *, of: Path | None = None) -> bytes:
    """The key of a folder, made at first use.

    Args:
        data: data folder, or folder of results.
        of: data folder from which a new key is copied if it has one, so that both call a scan by one name.

    Raises:
        InputError: the file is there, but holds no key.
    """
    path = Path(data) / _KEY_NAME
    if not path.exists():
        copied = of is not None and (of / _KEY_NAME).exists()
        written = load_key(of).hex() if of is not None and copied else secrets.token_hex(_KEY_BYTES)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{_KEY_NAME}.{os.getpid()}")
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as stream:
            stream.write(written)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except ValueError as error:
        raise InputError(f"{path} holds no key; restore it from a backup.") from error
    if len(key) != _KEY_BYTES:
        raise InputError(f"{path} holds no key; restore it from a backup.")
    return key


def patient_pseudonym(identity: str, key: bytes) -> str:
    """``p-`` and 12 hexadecimal digits of the keyed hash (HMAC-SHA256) of who was scanned."""
    return "p-" + hmac.new(key, b"patient\0" + identity.encode(), hashlib.sha256).hexdigest()[:12]


def scan_name(digest: str) -> str:
    """Name of a scan by its `content_digest`, in a data folder and among scores."""
    return f"scan-{digest[:10]}"


def content_digest(volume: Volume, key: bytes) -> str:
    """Keyed hash of a scan's voxels and place; equal for the same scan, whatever file it came in."""
    digest = hmac.new(key, b"scan\0", hashlib.sha256)
    digest.update(repr((volume.shape, volume.array.dtype.str)).encode())
    digest.update((np.round(volume.affine, 2) + 0.0).astype("<f8").tobytes())
    digest.update(np.ascontiguousarray(volume.array.T).data)
    return digest.hexdigest()


def case_names(data: Path) -> dict[str, str]:
    """The case that each scan is, by `content_digest` with the key of the folder."""
    path = Path(data) / INDEX_NAME
    return dict(read_json(path)) if path.exists() else {}


def case_of(data: Path, digest: str, *, named: str | None = None) -> str | None:
    """The case that a scan with a `content_digest` is, where it is in the data folder already.

    ``named`` is a case to look at as well, since no import has noted what phantoms are.
    """
    index, usual = case_names(data), scan_name(digest)
    case = index.get(digest, "" if usual in index.values() else usual)
    if case and scan_path(data, case).exists():
        return case
    if named is None or not scan_path(data, named).exists():
        return None
    return named if content_digest(read_nifti(scan_path(data, named)), load_key(data)) == digest else None


def remember_case(data: Path, digest: str | None, case: str) -> None:
    """Note which scan a case is; None forgets it."""
    others = {known: name for known, name in case_names(data).items() if name != case}
    write_json(data / INDEX_NAME, others | ({digest: case} if digest else {}))


def find_imported(volume: Volume, data: Path) -> str | None:
    """The case that a scan is, where it is in the data folder already."""
    data = Path(data)
    return case_of(data, content_digest(volume, load_key(data))) if (data / "ct").is_dir() else None
