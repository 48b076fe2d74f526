"""A DICOMweb server of a folder, on loopback: QIDO-RS of studies, WADO-RS of metadata and instances (PS3.18)."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from pydicom import dcmread

_BOUNDARY = "boundary"


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server of all DICOM files of a folder, as ``diagnose`` takes it."""
    from werkzeug.serving import make_server

    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            dataset = dcmread(path, stop_before_pixels=True)
            files[dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID] = path
    server = make_server("127.0.0.1", 0, _application(files), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"dicomweb+http://127.0.0.1:{server.server_port}/dicom-web"
    finally:
        server.shutdown()
        thread.join()


def _application(files: dict[tuple[str, str, str], Path]) -> Callable[..., Iterable[bytes]]:
    def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        asked = parse_qs(environ.get("QUERY_STRING", ""))
        kind, content = _answer(files, environ["PATH_INFO"].strip("/").split("/")[1:], asked)
        start("200 OK" if content else "404 Not Found", [("Content-Type", kind)])
        return [content]

    return application


def _answer(
    files: dict[tuple[str, str, str], Path], parts: list[str], asked: dict[str, list[str]]
) -> tuple[str, bytes]:
    """Content type and content of what a path below the service's root names; empty where there is nothing."""
    if parts == ["studies"]:
        first, most = int(asked.get("offset", ["0"])[0]), int(asked.get("limit", ["10"])[0])
        uids = sorted({study for study, _, _ in files})[first : first + most]
        found: list[Any] = [{"0020000D": {"vr": "UI", "Value": [uid]}} for uid in uids]
        return "application/dicom+json", json.dumps(found).encode()
    if len(parts) == 3 and parts[2] == "metadata":
        found = [_metadata(path) for ids, path in files.items() if ids[0] == parts[1]]
        return "application/dicom+json", json.dumps(found).encode()
    path = files.get((parts[1], parts[3], parts[5])) if len(parts) == 6 else None
    head = f"--{_BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    kind = f'multipart/related; type="application/dicom"; boundary={_BOUNDARY}'
    return kind, b"" if path is None else head + path.read_bytes() + f"\r\n--{_BOUNDARY}--\r\n".encode()


def _metadata(path: Path) -> dict[str, Any]:
    dataset = dcmread(path)
    del dataset.PixelData
    plain: dict[str, Any] = dataset.to_json_dict()
    plain["7FE00010"] = {"vr": "OW", "BulkDataURI": "https://example.invalid/bulk"}
    return plain
