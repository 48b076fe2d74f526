"""What all objects of one diagnosis share: their sources, UIDs, dates and device; and how an object becomes a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from typing import Any

import pydicom
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from pulmoscope.core.change import CtChange, SinceReport, XrayChange
from pulmoscope.core.results import MANUFACTURER
from pulmoscope.core.types import Diagnosis
from pulmoscope.core.version import VERSION
from pulmoscope.report.dicom.earlier import EarlierReport, predecessors, since
from pulmoscope.report.dicom.sources import Sources
from pulmoscope.report.dicom.uids import uid

NO_DATE, NO_TIME = "19000101", "000000"
"""Of an object whose sources say no date: its own is of type 1, and the clock would differ from run to run."""
_RANDOM = "1.2.826.0.1.3680043.10.511.3."
"""highdicom's root of random UIDs."""


@dataclass(frozen=True)
class Common:
    """What the objects of a diagnosis are made of.

    Attributes:
        diagnosis: what they say.
        sources: the images that they refer to.
        reports: earlier ones of ours.
    """

    diagnosis: Diagnosis
    sources: Sources
    reports: tuple[EarlierReport, ...] = field(default=(), repr=False)

    @cached_property
    def before(self) -> tuple[Dataset, ...]:
        """The documents that the report takes the place of."""
        return predecessors(self.reports, self.diagnosis, self.sources)

    @cached_property
    def since(self) -> tuple[EarlierReport, SinceReport] | None:
        """The last earlier report of the patient, and what has changed since; None where a scan was compared."""
        return (
            None if self.diagnosis.change is not None else since(self.reports, self.diagnosis, self.sources)
        )

    @property
    def report_uid(self) -> str:
        """The UID of the report, which also names earlier reports."""
        last = () if self.since is None else (self.since[0].uid,)
        return uid("report", self.uid("report"), *(str(one.SOPInstanceUID) for one in self.before), *last)

    def uid(self, kind: str) -> str:
        """The UID of an object, a series or another thing of this diagnosis, by its kind: ``segmentation`` …"""
        return uid(kind, VERSION, *self._models, *self._compared, *self.sources.instances)

    def tracking_uid(self, what: str) -> str:
        """The UID of what is measured, ``right lung`` say: the same in every report of the study."""
        return uid("tracking", str(self.sources.first.StudyInstanceUID), what)

    def series_number(self, number: int) -> int:
        """Of a series of ours, counted from 1: behind those of a scanner."""
        return 9700 + number

    @property
    def equipment(self) -> dict[str, Any]:
        """What made the objects, as highdicom's constructors take it; the serial number is the model's checksum."""
        return {
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": MANUFACTURER,
            "software_versions": VERSION,
            "device_serial_number": self.diagnosis.model["sha256"],
        }

    @cached_property
    def moment(self) -> tuple[str, str]:
        """Content date (DA) and time (TM): those of the latest source, :data:`NO_DATE` where none has a date."""
        moments = [
            (str(date), str(image.get(f"{kind}Time") or NO_TIME))
            for image in self.sources.images
            for kind in ("Content", "Acquisition", "Series", "Study")
            if (date := image.get(f"{kind}Date"))
        ]
        return max(moments, default=(NO_DATE, NO_TIME))

    @cached_property
    def known_uids(self) -> frozenset[str]:
        """Every UID of the sources."""
        return frozenset(str(element.value) for image in self.sources.images for element in _uids(image))

    @property
    def _models(self) -> tuple[str, ...]:
        """Checksums of the models that had a say."""
        scored = self.diagnosis.xray_severity
        return (self.diagnosis.model["sha256"], *(() if scored is None else (scored.model["sha256"],)))

    @property
    def _compared(self) -> tuple[str, ...]:
        """Checksums of the files of the scan that this one is compared with."""
        change = self.diagnosis.change
        earlier = change.earlier.scan.files if isinstance(change, CtChange | XrayChange) else ()
        return tuple(file.sha256 for file in earlier)


def finished(dataset: Dataset, common: Common) -> Dataset:
    """An object as highdicom made it, with what would differ from run to run replaced by what follows from its sources.

    Its content date and time are theirs, and UIDs that highdicom drew follow from the object's own. Text is in UTF-8.
    """
    dataset.ContentDate, dataset.ContentTime = common.moment
    for keyword in ("InstanceCreationDate", "InstanceCreationTime"):
        if keyword in dataset:
            del dataset[keyword]
    for item in dataset.get("ContributingEquipmentSequence", ()):
        if "ContributionDateTime" in item:
            del item.ContributionDateTime
    dataset.SpecificCharacterSet = "ISO_IR 192"
    replaced: dict[str, str] = {}
    for element in _uids(dataset):
        value = str(element.value)
        if value.startswith(_RANDOM) and value not in common.known_uids:
            element.value = replaced.setdefault(
                value, uid("part", str(dataset.SOPInstanceUID), str(len(replaced)))
            )
    return dataset


def file_bytes(dataset: Dataset) -> bytes:
    """An object as a DICOM file (PS3.10)."""
    stream = BytesIO()
    pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def _uids(dataset: Dataset) -> Iterator[DataElement]:
    """Every element of VR UI with one value, those of sequences included."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _uids(item)
        elif element.VR == "UI" and isinstance(element.value, str):
            yield element
