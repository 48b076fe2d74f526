"""What the files of a scan say of how and when it was made."""

from __future__ import annotations

from dataclasses import dataclass, field

from pulmoscope.core.files import sha256_of


@dataclass(frozen=True)
class Facts:
    """What a DICOM series, or a DICOM radiograph, says of itself.

    Attributes:
        kernel: of a CT, what the reconstruction kernel is made for: ``lung``, ``soft``, or empty where its name says
            neither.
        kernel_name: what the vendor calls it; empty for anything that no vendor calls a kernel, as the element is free
            text and may hold anything.
        thickness_mm: how thick a slice is; None where the files don't say.
        instances: each slice's InstanceNumber, from the feet to the head; empty where not every slice has one of its
            own, as in a multi-frame file.
        study_date: as ``2020-03-14``; empty where the files don't say. It may identify a patient, and is written
            nowhere unless the user asks for it.
        patient: a checksum of PatientID; empty where the files don't say. For comparing only, and written nowhere.
    """

    kernel: str = ""
    kernel_name: str = ""
    thickness_mm: float | None = None
    instances: tuple[int, ...] = ()
    study_date: str = field(default="", repr=False)
    patient: str = field(default="", repr=False)


def patient_sum(patient_id: str) -> str:
    """A checksum of a patient's id, which tells patients apart and names none; empty for an empty id."""
    plain = patient_id.strip()
    return (
        sha256_of(plain.encode(errors="surrogatepass")) if plain else ""
    )  # JSON may hold half of a character
