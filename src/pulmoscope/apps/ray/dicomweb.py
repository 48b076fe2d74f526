"""DICOMweb servers (PS3.18): QIDO-RS lists studies, WADO-RS gives their headers to the driver and their files to nodes.

``dicomweb+http://HOST/PATH`` or ``dicomweb+https://…`` names a server by the root of its service.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import IO, Any

from pulmoscope.apps.ray.retries import tried
from pulmoscope.core.errors import ResourceError, UnreadableError
from pulmoscope.io.inputs import Entry, slug_of, unique

SCHEMES = ("dicomweb+http://", "dicomweb+https://")
PAGE = 500
"""Studies that are asked for at a time."""
_NO_PIXELS = ("7FE00008", "7FE00009", "7FE00010")


@dataclass(frozen=True)
class Server:
    """A DICOMweb service.

    Attributes:
        url: with one of :data:`SCHEMES`.
    """

    url: str

    def entries(self, taken: set[str]) -> Iterator[Entry]:
        """Every instance of every study, study by study and series by series, in the order of their UIDs.

        Args:
            taken: the slugs that others have; added to.

        Raises:
            ResourceError: the server can't be reached.
        """
        for study in self._studies():
            if not study:
                shown = f"{self._named}/studies"
                unnamed = UnreadableError(
                    shown, "damaged", "the server lists studies without StudyInstanceUID"
                )
                yield Entry(shown, unique(slug_of("studies"), taken), unnamed)
                continue
            for series, instance in sorted(heads(self.url, study)):
                name = f"{self._named}/studies/{study}/series/{series}/instances/{instance}"
                source = Instance(self.url, study, series, instance)
                yield Entry(name, unique(slug_of(instance), taken), source, study)

    @property
    def _named(self) -> str:
        scheme, _, path = self.url.partition("://")
        return f"{scheme}:/{path}"

    def _studies(self) -> Iterator[str]:
        """The StudyInstanceUIDs, a page at a time; an empty one where the server does not tell it.

        A server may give fewer than it is asked for (PS3.18), or not know ``offset``: the last page is one without
        new ones.
        """
        listed: set[str] = set()
        offset = 0
        while True:
            found = tried(
                self.url,
                lambda: _client(self.url).search_for_studies(limit=PAGE, offset=offset),  # noqa: B023
            )
            new = {_value(study, "0020000D") for study in found} - listed
            if not new:
                return
            yield from sorted(new)
            listed |= new
            offset += len(found)


@dataclass(frozen=True)
class Instance:
    """An instance of a server as the source of an entry."""

    url: str
    study: str
    series: str
    uid: str

    @property
    def size(self) -> int | None:
        """Not known before it is fetched."""
        return None

    @property
    def stamp(self) -> str:
        """An instance of a UID never changes (PS3.5, 9)."""
        return self.uid

    def open(self) -> IO[bytes]:
        """Its header alone, as a DICOM file without pixels.

        Raises:
            ResourceError: the server can't be reached.
        """
        return io.BytesIO(heads(self.url, self.study).get((self.series, self.uid), b""))

    def read_bytes(self) -> bytes:
        """The instance as a DICOM file, in the transfer syntax that it is stored in.

        Raises:
            UnreadableError: the server has it no longer, does not tell its UIDs, or it is no DICOM file.
            ResourceError: the server can't be reached.
        """
        ids = self.study, self.series, self.uid
        if not all(ids):
            raise UnreadableError(self.uid, "damaged", "the server does not tell its UIDs")
        kept = (("application/dicom", "*"),)
        found = tried(
            self.url, lambda: _found(lambda: _client(self.url).retrieve_instance(*ids, media_types=kept))
        )
        if found is None:
            raise UnreadableError(self.uid, "not-found", "the server has this instance no longer")
        stream = io.BytesIO()
        try:
            found.save_as(stream, enforce_file_format=True)
        except Exception as error:  # of any class, as anything may be wrong
            raise UnreadableError(self.uid, "damaged", "the instance is no valid DICOM file") from error
        return stream.getvalue()


@lru_cache(maxsize=64)
def heads(url: str, study: str) -> dict[tuple[str, str], bytes]:
    """SeriesInstanceUID and SOPInstanceUID → the header as a file, of all instances of a study.

    Raises:
        ResourceError: the server can't be reached.
    """
    listed = tried(url, lambda: _found(lambda: _client(url).retrieve_study_metadata(study))) or []
    return {(_value(plain, "0020000E"), _value(plain, "00080018")): _head(plain) for plain in listed}


def _head(plain: dict[str, Any]) -> bytes:
    """The header of an instance as a file; empty where it is none: reading the instance tells what is wrong."""
    from pydicom.dataset import Dataset

    try:
        # What is not in the answer itself (pixels, other bulk data) has no part in what the file is.
        own = {
            tag: element
            for tag, element in plain.items()
            if "BulkDataURI" not in element and tag not in _NO_PIXELS and not tag.startswith("0002")
        }
        return _file(Dataset.from_json(own))
    except Exception:  # of any class, as anything may be wrong
        return b""


def _file(dataset: Any) -> bytes:
    """A dataset as a DICOM file."""
    from pydicom.uid import ExplicitVRLittleEndian

    stream = io.BytesIO()
    dataset.file_meta = _meta(dataset, ExplicitVRLittleEndian)
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _meta(dataset: Any, syntax: str) -> Any:
    from pydicom.dataset import FileMetaDataset

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", "")
    meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", "")
    return meta


def _value(plain: dict[str, Any], tag: str) -> str:
    """An element's first value; empty where there is none."""
    element = plain.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return str(values[0] or "") if values else ""


def _found(request: Any) -> Any:
    """The answer; None where the server says that there is nothing of that kind."""
    from requests.exceptions import HTTPError

    try:
        return request()
    except HTTPError as error:
        if error.response is not None and error.response.status_code == 404:
            return None
        raise


@cache
def _client(url: str) -> Any:
    """dicomweb-client's.

    Raises:
        ResourceError: it is not installed.
    """
    try:
        from dicomweb_client.api import DICOMwebClient
    except ImportError as error:
        raise ResourceError(f"{url}: needs dicomweb-client; pip install 'pulmoscope[scale]'") from error
    return DICOMwebClient(url.removeprefix("dicomweb+"))
