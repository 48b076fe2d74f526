"""An archive for tests: Orthanc on loopback ports, with a minimal configuration, gone when the test is over."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, RLELossless

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
AET = "ARCHIVE"
READY_S = 30
_PROPOSED = {ExplicitVRLittleEndian: "-xe", JPEGLSLossless: "-xt", RLELossless: "-xr"}
"""How dcmtk's storescu is asked to propose a transfer syntax."""

needs_orthanc = pytest.mark.skipif(
    not (shutil.which("Orthanc") and shutil.which("storescu") and PLUGIN.exists()),
    reason="Orthanc, its DICOMweb plugin or dcmtk is not installed",
)


@dataclass(frozen=True)
class Archive:
    """A running Orthanc."""

    http: int
    dicom: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http}"

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return bytes(answer.read())

    def instances(self) -> dict[str, bytes]:
        """SOP Instance UID → the file, of all that it holds."""
        files = [self.get(f"/instances/{one}/file") for one in json.loads(self.get("/instances"))]
        return {str(_read(content).SOPInstanceUID): content for content in files}

    def forget(self) -> None:
        """Remove all that it holds."""
        for patient in json.loads(self.get("/patients")):
            request = urllib.request.Request(f"{self.url}/patients/{patient}", method="DELETE")
            urllib.request.urlopen(request, timeout=60).close()

    def c_store(self, path: Path) -> None:
        """Send a file by dcmtk's storescu, in the transfer syntax that it has."""
        proposed = _PROPOSED[dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID]
        command = ["storescu", proposed, "-R", "-aec", AET, "127.0.0.1", str(self.dicom), str(path)]
        sent = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert sent.returncode == 0, sent.stderr

    def stow(self, *contents: bytes) -> dict[str, Any]:
        """Send files by STOW-RS (PS3.18, 10.5); the answer."""
        parts = [
            b"--part\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n" for content in contents
        ]
        request = urllib.request.Request(
            f"{self.url}/dicom-web/studies",
            data=b"".join((*parts, b"--part--")),
            headers={
                "Content-Type": 'multipart/related; type="application/dicom"; boundary=part',
                "Accept": "application/dicom+json",
            },
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return dict(json.loads(answer.read()))


@contextmanager
def orthanc(folder: Path) -> Iterator[Archive]:
    """Run Orthanc with its files in ``folder``."""
    archive = Archive(_free(), _free())
    settings = {
        "Name": "tests",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "Plugins": [str(PLUGIN)],
        "HttpPort": archive.http,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAet": AET,
        "DicomPort": archive.dicom,
        "DicomAlwaysAllowStore": True,
        "DicomCheckCalledAet": False,
        "OverwriteInstances": False,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["Orthanc", str(path)], stdout=log, stderr=log, cwd=folder)
        try:
            _wait(archive, process, folder / "log")
            yield archive
        finally:
            process.terminate()
            process.wait(timeout=30)


def _wait(archive: Archive, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until it answers."""
    end = time.monotonic() + READY_S
    while time.monotonic() < end and process.poll() is None:
        with suppress(urllib.error.URLError, ConnectionError):
            archive.get("/system")
            return
        time.sleep(0.05)  # asks again; nothing depends on how long
    raise AssertionError(f"Orthanc does not answer: {log.read_text()[-2000:]}")


def _free() -> int:
    """A port that nobody listens to."""
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _read(content: bytes) -> Dataset:
    return dcmread(BytesIO(content), stop_before_pixels=True)
