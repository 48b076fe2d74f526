"""What a series' headers say of how it was made, put together for all its slices."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from pulmoscope.core.facts import Facts, patient_sum
from pulmoscope.io.ct.header import SliceHeader

_KERNELS = re.compile(
    r"LUNG|CHEST|BONE(PLUS)?|SOFT|STANDARD|STND|DETAIL|EDGE|ULTRA"  # GE
    r"|([BDHTUI]|BF|BL|BR|BV|HC|HR|HP|HV|QR|SA|UB)\d\d[A-Z]?"  # Siemens
    r"|[A-EL]|Y[A-E]|U[BC]"  # Philips
    r"|F[CL]\d\d"  # Canon
)
"""Vendors' names of kernels; nothing else is shown of an element that may hold any text."""


def series_facts(headers: Sequence[SliceHeader]) -> Facts:
    """The facts of a series' slices, from the feet to the head; of what differs, what most slices say."""
    kernel, name, thickness_mm, date = Counter(
        (header.kernel, header.kernel_name, header.thickness_mm, header.study_date) for header in headers
    ).most_common(1)[0][0]
    instances = tuple(header.instance for header in headers)
    frames = any(header.storage is not None and header.storage.frames > 1 for header in headers)
    numbered = not frames and min(instances) > 0 and len(set(instances)) == len(instances)
    return Facts(
        kernel,
        name if _KERNELS.fullmatch(name) else "",
        thickness_mm,
        instances if numbered else (),
        date,
        next(filter(None, (patient_sum(header.patient) for header in headers)), ""),
    )
