"""A public object store (S3's protocol, without an account): what lies in a folder, and its bytes.

Addresses are path-style, ``<endpoint>/<bucket>/<key>``, which Amazon's and other stores understand alike.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

from coronet.errors import InputError, Unreachable
from coronet.files import md5_file

if TYPE_CHECKING:
    from requests import Response

_Answer = TypeVar("_Answer")

ENDPOINT = "https://s3.amazonaws.com"
CONNECT_S = 5
_READ_S = 60
ATTEMPTS = 4
"""Of one request or file, with 0, 1, 2 and 4 seconds before them."""

_CHUNK = 1 << 16
_MD5 = re.compile(r"[0-9a-f]{32}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Stopped(Exception):
    """The download was given up because something else failed."""


@dataclasses.dataclass(frozen=True)
class StoredFile:
    """One object."""

    bucket: str  # that it lies in
    key: str  # its whole name
    size: int  # bytes
    md5: str  # hexadecimal, or empty where the store does not say it (files that were sent in parts)

    @property
    def name(self) -> str:
        """Its name without folders."""
        return self.key.rpartition("/")[2]


class Store:
    """A store at an address; one may be used by several threads.

    Args:
        endpoint: ``http`` or ``https`` address without bucket.

    Raises:
        InputError: that is no such address.
    """

    def __init__(self, endpoint: str = ENDPOINT) -> None:
        import requests

        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"--endpoint {endpoint} is no address; it looks like {ENDPOINT}.")
        self.endpoint = endpoint.rstrip("/")
        self.host = parts.netloc.rpartition("@")[2]
        self.stop = threading.Event()
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=32))

    def probe(self, bucket: str) -> None:
        """Ask once, briefly, whether the store answers.

        Raises:
            Unreachable: it does not.
            InputError: it knows no such bucket, or keeps it from the public.
        """
        failure: list[Exception] = []

        def ask() -> None:
            try:
                self._list(bucket, {"prefix": "-", "max-keys": "1"})
            except (_TransientError, InputError) as error:
                failure.append(error)

        # A name server that is silent holds up its caller for longer than any timeout that one can set.
        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(2 * CONNECT_S)
        if failure and isinstance(failure[0], InputError):
            raise failure[0]
        if failure or asking.is_alive():
            reason = failure[0] if failure else "no answer in time"
            raise Unreachable(
                f"{self.host} does not answer ({reason}): there is no network, or it is blocked. "
                "Nothing was downloaded; the manifest stays, and the same command goes on from it."
            )

    def files(self, bucket: str, folder: str) -> tuple[StoredFile, ...]:
        """All objects in a folder, sorted by key.

        Raises:
            Unreachable: the store does not answer.
            InputError: it answers something else.
        """
        found: list[StoredFile] = []
        token = ""
        while True:
            asked = {"prefix": f"{folder}/"} | ({"continuation-token": token} if token else {})
            answer = self._retried(functools.partial(self._list, bucket, asked)).content
            try:
                page = ElementTree.fromstring(answer)
                for item in page.findall("{*}Contents"):
                    etag = item.findtext("{*}ETag", "").strip('"').lower()
                    key, size = item.findtext("{*}Key", ""), int(item.findtext("{*}Size", ""))
                    found.append(StoredFile(bucket, key, size, etag if _MD5.fullmatch(etag) else ""))
            except (ElementTree.ParseError, ValueError) as error:
                raise InputError(f"{self.host} lists {bucket}/{folder} in no form that is known.") from error
            token = page.findtext("{*}NextContinuationToken", "")
            if page.findtext("{*}IsTruncated", "false") != "true" or not token:
                break
        if not all(_NAME.fullmatch(file.name) for file in found):
            raise InputError(f"{self.host}: {bucket}/{folder} holds a file with a name that is not taken.")
        return tuple(sorted(found, key=lambda file: file.key))

    def fetch(self, file: StoredFile, path: Path, *, progress: Callable[[int], None]) -> None:
        """Download an object to ``path``, which holds it whole or is not there.

        What an interrupted download left behind (``<path>.part``) is continued, not repeated. ``progress`` is
        called with the bytes of each piece, below zero where some were given up.

        Raises:
            Unreachable: the store does not answer.
            InputError: what it sends is not what it lists, twice.
        """
        part = path.with_name(f"{path.name}.part")
        meter = _Meter(progress)
        for _ in range(2):
            self._retried(lambda: self._continue(file, part, meter))
            # What the store calls ETag tells damage, and need not withstand an attacker.
            if part.stat().st_size == file.size and file.md5 in ("", md5_file(part)):
                with part.open("rb") as written:
                    os.fsync(written.fileno())
                part.replace(path)
                return
            part.unlink()
            meter.reach(0)
        raise InputError(f"{file.bucket}/{file.key} arrives damaged from {self.host}.")

    def _continue(self, file: StoredFile, part: Path, meter: _Meter) -> None:
        import requests

        there = part.stat().st_size if part.exists() else 0
        if there > file.size:
            part.unlink()
            there = 0
        meter.reach(there)
        if there == file.size and part.exists():
            return
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={there}-"} if there else {})
        url = f"{self.endpoint}/{file.bucket}/{quote(file.key)}"
        try:
            with self._get(url, headers=headers, stream=True) as answer:
                there = there if answer.status_code == 206 else 0
                meter.reach(there)
                with part.open("ab" if there else "wb") as stream:
                    for piece in answer.iter_content(_CHUNK):
                        if self.stop.is_set():
                            raise Stopped
                        there += stream.write(piece)
                        meter.reach(there)
        except requests.RequestException as error:
            raise _TransientError("the connection broke") from error
        if there < file.size:
            raise _TransientError("the connection ended early")

    def _list(self, bucket: str, parameters: dict[str, str]) -> Response:
        return self._get(f"{self.endpoint}/{bucket}", params={"list-type": "2", **parameters})

    def _get(self, url: str, **options) -> Response:
        import requests

        try:
            answer = self._session.get(url, timeout=(CONNECT_S, _READ_S), **options)
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
            raise InputError(f"--endpoint {self.endpoint} is no address.") from error
        except requests.RequestException as error:
            # The library's own messages are long and name the whole address.
            raise _TransientError(type(error).__name__) from error
        if answer.status_code == 429 or answer.status_code >= 500:
            answer.close()
            raise _TransientError(f"answer {answer.status_code}")
        if answer.status_code not in (200, 206):
            answer.close()
            raise InputError(f"{self.host} refuses {urlsplit(url).path.lstrip('/')} ({answer.status_code}).")
        return answer

    def _retried(self, ask: Callable[[], _Answer]) -> _Answer:
        for attempt in range(ATTEMPTS):
            if self.stop.wait(2 ** (attempt - 1) if attempt else 0):
                raise Stopped
            try:
                return ask()
            except _TransientError as error:
                failure = error
        raise Unreachable(
            f"{self.host} no longer answers ({failure}). What was downloaded is kept; "
            "the same command goes on from there."
        ) from failure


class _TransientError(Exception):
    """A failure that may pass; the message says it in a few words."""


class _Meter:
    """Reports how far a file has come, by differences."""

    def __init__(self, progress: Callable[[int], None]) -> None:
        self._progress = progress
        self._at = 0

    def reach(self, count: int) -> None:
        self._progress(count - self._at)
        self._at = count
