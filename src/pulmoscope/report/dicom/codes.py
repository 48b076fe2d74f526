"""Coded terms of the report: of SNOMED CT, DICOM and UCUM where there are such, of our own scheme where there are not.

SNOMED CT's codes are those that DICOM may use without a licence of one's own where DICOM's tables have them, and of the
Global Patient Set; a code's meaning has at most 64 characters (PS3.3 8.3).
"""

from __future__ import annotations

import re

from pydicom.sr.coding import Code

SCHEME = "99PULMO"
"""Of our own codes; the report tells its name and version (PS3.3 C.12.1.1.2)."""
_VALUE, _LONGEST = 16, 64
"""Characters of a code's value and meaning."""


def own(value: str, meaning: str) -> Code:
    """A term of our own; its value has at most 16 characters."""
    return Code(value, SCHEME, meaning[:_LONGEST])


def of_class(name: str) -> Code:
    """What a model's class says of the lungs."""
    value = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:_VALUE]
    return OF_CLASS.get(name.lower()) or own(value or "class", name)


LUNG = Code("39607008", "SCT", "Lung")
RIGHT = Code("24028007", "SCT", "Right")
LEFT = Code("7771000", "SCT", "Left")
BOTH = Code("51440002", "SCT", "Right and left")
SIDES = {"right": RIGHT, "left": LEFT, "both": BOTH}

COVID = Code("840539006", "SCT", "Disease caused by SARS-CoV-2")
SUSPECTED_COVID = Code("840544004", "SCT", "Suspected disease caused by SARS-CoV-2")
PNEUMONIA = Code("233604007", "SCT", "Pneumonia")
VIRAL_PNEUMONIA = Code("75570004", "SCT", "Viral pneumonia")
CAP = Code("385093006", "SCT", "Community acquired pneumonia")
VOLUME = Code("118565006", "SCT", "Volume")

SOURCE = Code("260753009", "SCT", "Source")
FINDING = Code("121071", "DCM", "Finding")
PROBABILITY = Code("122157", "DCM", "Probability")
COMMENT = Code("121106", "DCM", "Comment")
QUALITY = Code("111101", "DCM", "Image Quality")
QUALITY_FINDING = Code("111052", "DCM", "Quality Finding")
FAILURE = Code("114006", "DCM", "Measurement failure")
CT_PROCEDURE = Code("24627-2", "LN", "CT Chest")
XRAY_PROCEDURE = Code("36554-4", "LN", "XR Chest Single view")

ML = Code("mL", "UCUM", "milliliter")
PERCENT = Code("%", "UCUM", "Percent")
POINTS = Code("{score}", "UCUM", "Score")
RATIO = Code("1", "UCUM", "no units")
DAYS = Code("d", "UCUM", "day")

OF_CLASS = {
    "covid": COVID,
    "covid-19": COVID,
    "pneumonia": PNEUMONIA,
    "viral pneumonia": VIRAL_PNEUMONIA,
    "cap": CAP,
}
"""What a model's class says of the lungs, by its name in lower case."""
