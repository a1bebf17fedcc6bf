"""A small public object store on this machine, and manifests of what lies in it."""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import numpy as np
import pydicom
import pytest
from pydicom.sr.coding import Code

from coronet.dataset.nlst.commons_index import DataSource
from coronet.dataset.nlst.manifest import Manifest, ManifestEntry, ManifestSeries, Request
from segmentations import write_segmentation

BUCKET = "idc-open-data"
PAGE = 50
"""Objects that one answer lists, fewer than a series holds: lists must be followed to their end."""

DOI = "10.0/test"
STRUCTURES = {
    "74281007": "Myocardium",
    "87878005": "Left ventricle of heart",
    "53085002": "Right ventricle of heart",
    "82471001": "Left atrium",
    "73829009": "Right atrium",
    "10200004": "Liver",
}


class ObjectStore:
    """Serves ``root/<bucket>/<uuid>/<name>.dcm`` as the Commons' buckets are served.

    Attributes:
        served: keys that were asked for, with the first byte asked for.
        damaged: keys whose bytes arrive changed, and how often still.
        cut: keys whose connection ends half-way, and how often still.
        down: answers 503 to everything.
        pace_s: pause before each object.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.served: list[tuple[str, int]] = []
        self.damaged: dict[str, int] = {}
        self.cut: dict[str, int] = {}
        self.down = False
        self.pace_s = 0.0
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                store.answer(self)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def put(self, files: list[Path], folder: str | None = None) -> ManifestSeries:
        """Copy files into a folder of the bucket under new names, and describe them as a manifest does."""
        folder = folder or str(uuid.uuid4())
        target = self.root / BUCKET / folder
        target.mkdir(parents=True)
        for file in files:
            (target / f"{uuid.uuid4()}.dcm").write_bytes(file.read_bytes())
        size = sum(file.stat().st_size for file in files)
        uid = str(pydicom.dcmread(files[0], stop_before_pixels=True).SeriesInstanceUID)
        return ManifestSeries(uid, BUCKET, folder, len(files), round(size / 1e6, 6), DOI)

    def manifest(self, *pairs: tuple[ManifestSeries, ManifestSeries | None]) -> Manifest:
        """A manifest of CT series, each with its heart segmentation or None."""
        return Manifest(
            request=Request(len(pairs), 0, ""),
            index="idc-index-data 0",
            rules=1,
            spacing_mm=(1.0, 2.5),
            sources=(DataSource(DOI, "CC BY 4.0", "https://creativecommons.org/licenses/by/4.0/", "Test."),),
            entries=tuple(
                ManifestEntry("LSS", "GE", "Test", "STANDARD", 2.5, ct, heart) for ct, heart in pairs
            ),
        )

    @staticmethod
    def segmentation(
        to: Path, ct: list[Path], drawn: np.ndarray, codes: tuple[str, ...] = tuple(STRUCTURES)
    ) -> Path:
        """Write a DICOM SEG; value i + 1 of ``drawn`` is the structure of ``codes[i]`` (SNOMED)."""
        segments = [(STRUCTURES[code], Code(code, "SCT", STRUCTURES[code])) for code in codes]
        return write_segmentation(to, ct, drawn, segments)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        if self.down:
            self._send(request, 503, b"")
            return
        address = urlsplit(request.path)
        query = {key: values[0] for key, values in parse_qs(address.query).items()}
        if "list-type" in query:
            self._send(request, 200, self._page(unquote(address.path).strip("/"), query))
            return
        path = self.root / unquote(address.path).lstrip("/")
        if not path.is_file():
            self._send(request, 404, b"")
            return
        self._send_file(request, path)

    def _page(self, bucket: str, query: dict[str, str]) -> bytes:
        paths = sorted(path for path in (self.root / bucket).rglob("*") if path.is_file())
        keys = [str(path.relative_to(self.root / bucket)) for path in paths]
        keys = [key for key in keys if key.startswith(query.get("prefix", ""))]
        start = int(query.get("continuation-token", "0"))
        page = keys[start : start + min(PAGE, int(query.get("max-keys", PAGE)))]
        more = start + len(page) < len(keys)
        items = []
        for key in page:
            content = (self.root / bucket / key).read_bytes()
            tag = hashlib.md5(content, usedforsecurity=False).hexdigest()
            items.append(
                f"<Contents><Key>{escape(key)}</Key><ETag>&quot;{tag}&quot;</ETag>"
                f"<Size>{len(content)}</Size></Contents>"
            )
        after = f"<NextContinuationToken>{start + len(page)}</NextContinuationToken>" if more else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{bucket}</Name><IsTruncated>{str(more).lower()}</IsTruncated>{after}"
            f"{''.join(items)}</ListBucketResult>"
        ).encode()

    def _send_file(self, request: BaseHTTPRequestHandler, path: Path) -> None:
        key = f"{path.parent.name}/{path.name}"
        content = path.read_bytes()
        start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.served.append((key, start))
        time.sleep(self.pace_s)
        if self.damaged.get(key, 0) > 0:
            self.damaged[key] -= 1
            content = content[:-1] + bytes([content[-1] ^ 1])
        body, sent = content[start:], len(content) - start
        if self.cut.get(key, 0) > 0:
            self.cut[key] -= 1
            body = body[: sent // 2]
        request.send_response(206 if start else 200)
        request.send_header("Content-Length", str(sent))
        request.end_headers()
        request.wfile.write(body)
        if len(body) < sent:
            request.close_connection = True

    def _send(self, request: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)


@pytest.fixture
def commons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """A running `ObjectStore`, reached without any proxy."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    store = ObjectStore(tmp_path / "store")
    (store.root / BUCKET).mkdir(parents=True)
    yield store
    store.server.shutdown()
    store.server.server_close()
