"""Objects in an S3 store, by ``pyarrow.fs``: read, written, listed, with patience for a store that restarts.

``AWS_ENDPOINT_URL`` names a store other than Amazon's; credentials come from the usual variables and files of
each machine and are never passed on.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from coronet.errors import InputError, Unreachable

if TYPE_CHECKING:
    from pyarrow.fs import S3FileSystem

logger = logging.getLogger("coronet")

SCHEME = "s3://"
MANIFEST_SCHEME = "nlst:"
"""How a place begins that is a manifest of series in the Commons' store."""

PATIENCE_S = 120.0
"""How long a store may be absent, for a restart, before its caller gives up."""
_FINAL = ("ACCESS_DENIED", "NO_SUCH_BUCKET", "INVALID_ACCESS_KEY", "SIGNATURE", "HTTP status 403")
_Answer = TypeVar("_Answer")


@dataclasses.dataclass(frozen=True)
class StoredObject:
    """One object below a place in a store."""

    name: str  # below the place, with its folders
    size: int  # bytes
    changed: float  # seconds since 1970


@dataclasses.dataclass(frozen=True)
class Bucket:
    """A place in a store; it can be sent to other processes.

    Attributes:
        url: ``s3://BUCKET`` or ``s3://BUCKET/PREFIX``.
        endpoint: address of the store; empty for Amazon's.
    """

    url: str
    endpoint: str = dataclasses.field(default_factory=lambda: os.environ.get("AWS_ENDPOINT_URL", ""))

    def __post_init__(self) -> None:
        """Refuse what is no place in a store."""
        if not self.url.startswith(SCHEME) or not self.path:
            raise InputError(f"{self.url} is no place in a store; it looks like s3://BUCKET/PREFIX.")

    @property
    def path(self) -> str:
        """Bucket and prefix, without a slash at the end."""
        return self.url.removeprefix(SCHEME).strip("/")

    def exists(self, name: str) -> bool:
        """Whether an object is there."""
        return self.info(name) is not None

    def info(self, name: str) -> StoredObject | None:
        """Size and time of an object; None where it is absent."""
        from pyarrow.fs import FileType

        found = self._retried(lambda store: store.get_file_info(self._at(name)))
        return (
            StoredObject(name, found.size, found.mtime.timestamp()) if found.type == FileType.File else None
        )

    def read(self, name: str) -> bytes | None:
        """The bytes of an object; None where it is absent."""

        def ask(store: S3FileSystem) -> bytes:
            with store.open_input_stream(self._at(name)) as stream:
                return bytes(stream.read())

        try:
            return self._retried(ask)
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Write an object; others see it whole or not at all."""

        def ask(store: S3FileSystem) -> None:
            with store.open_output_stream(self._at(name)) as stream:
                stream.write(content)

        self._retried(ask)

    def fetch(self, name: str, path: Path) -> None:
        """Download an object into a file.

        Raises:
            FileNotFoundError: it is absent.
        """

        def ask(store: S3FileSystem) -> None:
            with store.open_input_stream(self._at(name)) as stream, path.open("wb") as file:
                while piece := stream.read(1 << 20):
                    file.write(piece)

        self._retried(ask)

    def list(self) -> tuple[StoredObject, ...]:
        """All objects below the place, sorted by name."""
        from pyarrow.fs import FileSelector, FileType

        selector = FileSelector(self.path, recursive=True, allow_not_found=True)
        found = self._retried(lambda store: store.get_file_info(selector))
        return tuple(
            StoredObject(item.path[len(self.path) + 1 :], item.size, item.mtime.timestamp())
            for item in sorted(found, key=lambda item: item.path)
            if item.type == FileType.File
        )

    def _at(self, name: str) -> str:
        return f"{self.path}/{name}"

    def _retried(self, ask: Callable[[S3FileSystem], _Answer]) -> _Answer:
        store = _connect(self.endpoint)
        ends, wait = time.monotonic() + PATIENCE_S, 0.5
        while True:
            try:
                return ask(store)
            except FileNotFoundError:
                raise
            except OSError as error:
                if any(mark in str(error) for mark in _FINAL):
                    raise InputError(f"{self.url} refuses access; check bucket and credentials.") from error
                if time.monotonic() + wait > ends:
                    raise Unreachable(
                        f"{self.url} does not answer; the same command goes on once it does."
                    ) from error
                logger.debug("%s does not answer; asking again in %.1f s", self.url, wait)
                time.sleep(wait)
                wait = min(2 * wait, 8.0)


@functools.lru_cache
def _connect(endpoint: str) -> S3FileSystem:
    try:
        from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem
    except ImportError as error:
        raise InputError('S3 needs pyarrow: pip install "coronet[scale]".') from error
    return S3FileSystem(
        endpoint_override=endpoint or None,
        region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
        connect_timeout=5,
        request_timeout=60,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=3),
    )
