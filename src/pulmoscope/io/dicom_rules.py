"""Which DICOM files are chest X-rays, by their tags.

Messages name a tag and, where it is one of the standard's own terms, its value; never a description, and nothing
else that stands in a coded element: where a tag is misused, it may be a name or a number of a patient.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from pulmoscope.core.errors import UnreadableError, UnsuitableError
from pulmoscope.core.results import MANUFACTURER
from pulmoscope.core.types import Flag, FlagLevel

if TYPE_CHECKING:  # pydicom takes a fifth of a second
    from pydicom.dataset import Dataset

_STORAGE = "1.2.840.10008.5.1.4.1.1."
# Computed Radiography, Digital X-Ray (for presentation, for processing), Secondary Capture of any kind.
_SOP_CLASSES = ("1", "1.1", "1.1.1", "7", "7.1", "7.2", "7.3", "7.4")
_XRAY = ("CR", "DX", "RG")
_ANY = ("OT", "SC")  # may be anything, so only what says that it shows a chest
CHEST = re.compile(r"CHEST|THORAX|TORAX|TORACE|THORAC|LUNG|PULMO|POUMON", re.IGNORECASE)
ELSEWHERE = re.compile(
    r"ABDOM|PELVI|SPINE|LUMBAR|CERVIC|SKULL|HEAD|KNEE|ANKLE|FOOT|HAND|WRIST|ELBOW|SHOULDER|HIP|FEMUR|TIBIA|"
    r"HUMERUS|FOREARM|FINGER|EXTREMIT|BREAST|MAMMO|KUB",
    re.IGNORECASE,
)
_LATERAL = re.compile(r"\b(LAT|LATERAL)\b", re.IGNORECASE)
# Defined terms of Modality (PS3.3 C.7.3.1.1.1), Body Part Examined (PS3.16 annex L) and Photometric Interpretation
# (PS3.3 C.7.6.3.1.2).
_LISTED = """
    AR ASMT AU BDUS BI BMD CR CT DG DX ECG EPS ES GM HC HD IO IOL IVOCT IVUS KER KO LEN LS MG MR NM OAM OCT OP OPM OPT
    OPV OSS OT PLAN PR PT PX REG RESP RF RG RTDOSE RTIMAGE RTPLAN RTRECORD RTSTRUCT RWV SC SEG SM SMR SR SRF STAIN TG
    US VA XA XC
    ABDOMEN ABDOMENPELVIS ADRENAL ANKLE AORTA ARM AXILLA BACK BLADDER BRAIN BREAST BRONCHUS BUTTOCK CALCANEUS CALF
    CAROTID CEREBELLUM CERVIX CHEEK CHEST CHESTABDOMEN CHESTABDPELVIS CLAVICLE COCCYX COLON CORNEA CORONARYARTERY
    CSPINE CTSPINE DUODENUM EAR ELBOW ESOPHAGUS EXTREMITY EYE EYELID FACE FEMUR FINGER FOOT FOREARM GALLBLADDER HAND
    HEAD HEADNECK HEART HIP HUMERUS IAC ILEUM ILIUM JAW JEJUNUM KIDNEY KNEE LARYNX LEG LIVER LLEG LSPINE LSSPINE LUNG
    MANDIBLE MAXILLA MEDIASTINUM MOUTH NECK NECKCHEST NECKCHESTABDOMEN NECKCHESTABDPELV NOSE ORBIT OVARY PANCREAS
    PAROTID PATELLA PELVIS PENIS PHARYNX PROSTATE RECTUM RIB SCALP SCAPULA SCLERA SCROTUM SHOULDER SKULL SPINE SPLEEN
    SSPINE STERNUM STOMACH TESTIS THIGH THORAX THUMB THYMUS THYROID TIBIA TLSPINE TOE TONGUE TRACHEA TSPINE URETER
    URETHRA UTERUS VAGINA VULVA WHOLEBODY WRIST ZYGOMA
    MONOCHROME1 MONOCHROME2 RGB HSV ARGB CMYK YBR_FULL YBR_FULL_422 YBR_PARTIAL_422 YBR_PARTIAL_420 YBR_ICT YBR_RCT
"""
_TERMS = frozenset(_LISTED.split()) | {"PALETTE COLOR"}
_VIEWS = ("PA", "AP", "LL", "RL", "LLD", "RLD", "LLO", "RLO", "LATERAL", "LAT")
_NOT_FRONTAL = ("LL", "RL", "LLO", "RLO", "LATERAL", "LAT")
_DESCRIPTIONS = ("StudyDescription", "SeriesDescription", "ProtocolName")


def code(dataset: Dataset, keyword: str) -> str:
    """A coded element's first value, in capitals; empty where it is absent."""
    value = next(iter(values(dataset, keyword)), "")
    return str(value).strip().upper()


def shown(text: str) -> str:
    """A term, name or UID of the standard for a message; for anything else, that it is none."""
    known = (
        text in _TERMS or text in _standard_names() or re.fullmatch(r"1\.2\.840\.10008\.[0-9.]{1,50}", text)
    )
    return text if known else "no term of the standard"


@cache
def _standard_names() -> frozenset[str]:
    """The names that the standard has for its UIDs."""
    from pydicom.uid import UID_dictionary

    return frozenset(entry[0] for entry in UID_dictionary.values())


def values(dataset: Dataset, keyword: str) -> list[Any]:
    """An element's values; none where it is absent or empty."""
    value = dataset.get(keyword)
    if value is None or value == "":
        return []
    return list(value) if not isinstance(value, str | bytes) and hasattr(value, "__iter__") else [value]


def is_own(dataset: Dataset) -> bool:
    """Whether Pulmoscope itself wrote an object: a result, and no image of a patient."""
    return code(dataset, "Manufacturer") == MANUFACTURER.upper()


def check_kind(dataset: Dataset, name: str) -> None:
    """Refuse what is no single X-ray image.

    Raises:
        UnreadableError: there are no pixels.
        UnsuitableError: one of our own objects; by modality, SOP class, image type, frames, or because it is raw
            detector data.
    """
    if is_own(dataset):
        finding = "a DICOM object that Pulmoscope wrote"
        raise UnsuitableError(name, "own-result", finding, "a result is no image of a patient")
    modality = code(dataset, "Modality")
    if modality not in _XRAY + _ANY:
        if modality == "CT":
            rule = "a CT is read from several files of SOPClassUID CT Image Storage, or one of Enhanced CT"
            raise UnsuitableError(name, "lone-ct-object", "a single object of a CT study", rule)
        finding = f"Modality is {shown(modality)}" if modality else "the file names no Modality"
        raise UnsuitableError(name, "unsupported-modality", finding, "CR, DX, RG and CT are read")
    from pydicom.uid import UID

    kind = UID(str(dataset.get("SOPClassUID", "")))
    if kind and kind not in [_STORAGE + known for known in _SOP_CLASSES]:
        finding = f"SOPClassUID is {shown(kind.name)}"
        raise UnsuitableError(name, "unsupported-object", finding, "that of an X-ray image is read")
    for word in values(dataset, "ImageType"):
        if str(word).strip().upper() in ("LOCALIZER", "SCOUT", "TOPOGRAM"):
            finding = f"a localizer, by ImageType {str(word).strip().upper()}"
            raise UnsuitableError(name, "localizer", finding)
    if code(dataset, "PresentationIntentType") == "FOR PROCESSING":
        finding = "raw detector data: PresentationIntentType is FOR PROCESSING"
        raise UnsuitableError(name, "raw-data", finding, "FOR PRESENTATION is read")
    frames = int(code(dataset, "NumberOfFrames") or 1)
    if frames != 1:
        raise UnsuitableError(name, "several-images", f"NumberOfFrames is {frames}", "an X-ray is one image")
    if "PixelData" not in dataset:
        raise UnreadableError(name, "no-pixels", "the file holds no pixels: it is cut short, or is no image")


def check_body_part(dataset: Dataset, name: str) -> tuple[Flag, ...]:
    """Refuse what does not show a chest; a flag where the file does not say.

    BodyPartExamined decides; where it is empty, the descriptions of study, series and protocol do.

    Raises:
        UnsuitableError: another part of the body, or an image of any kind that does not say that it is a chest.
    """
    rule = "a chest is read: CHEST, THORAX or LUNG"
    part = code(dataset, "BodyPartExamined")
    if part:
        if not CHEST.search(part) or ELSEWHERE.search(part):
            raise UnsuitableError(name, "other-body-part", f"BodyPartExamined is {shown(part)}", rule)
        return ()
    modality = code(dataset, "Modality")
    if modality in _ANY:
        finding = f"the file does not say which part of the body it shows, and Modality is {modality}"
        raise UnsuitableError(name, "body-part-unknown", finding, rule)
    described = list(descriptions(dataset))
    if any(CHEST.search(text) for text in described):
        return ()
    if any(ELSEWHERE.search(text) for text in described):
        raise UnsuitableError(name, "other-body-part", "the description names another part of the body", rule)
    finding = "the file does not say which part of the body it shows"
    return (Flag("body-part-unknown", FlagLevel.WARN, finding, "a chest is expected"),)


def check_view(dataset: Dataset) -> tuple[str | None, tuple[Flag, ...]]:
    """The projection where the file says, and a flag that refers the image where it is not frontal."""
    view = code(dataset, "ViewPosition")
    sideways = view in _NOT_FRONTAL or code(dataset, "PatientOrientation")[:1] in ("A", "P")
    if not view and any(_LATERAL.search(text) for text in descriptions(dataset)):
        sideways = True
    flags: tuple[Flag, ...] = ()
    if sideways:
        source = f"ViewPosition {view}" if view in _VIEWS else "PatientOrientation or a description"
        finding = f"a lateral view, by {source}"
        flags = (Flag("lateral", FlagLevel.REFUSE, finding, "frontal views are read, PA or AP"),)
    return (view if view in _VIEWS else None), flags


def descriptions(dataset: Dataset) -> Iterator[str]:
    """Free texts that may name the part of the body. They may name the patient too: never shown."""
    return (str(dataset.get(keyword, "")) for keyword in _DESCRIPTIONS)


def spacing(dataset: Dataset) -> tuple[float, float] | None:
    """(row, column) distance in mm: in the patient where calibrated, else on the detector; None where not said."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        steps = [float(value) for value in values(dataset, keyword)]
        if len(steps) == 2 and all(0 < value < 100 for value in steps):
            return steps[0], steps[1]
    return None


def pixel_shape(dataset: Dataset) -> float:
    """A pixel's height / its width: by the distances of :func:`spacing`, else by PixelAspectRatio (PS3.3 C.7.6.3.1.7).

    1 where the file does not say, or says what is no ratio.
    """
    distances = spacing(dataset)
    if distances is not None:
        return distances[0] / distances[1]
    try:
        along = [float(value) for value in values(dataset, "PixelAspectRatio")]
    except (TypeError, ValueError):
        return 1.0
    if len(along) != 2 or not all(0 < value < 1e6 for value in along):
        return 1.0
    return along[0] / along[1]


def turns(dataset: Dataset) -> tuple[bool, bool, bool] | None:
    """What brings the image upright, by PatientOrientation: transpose first, then flip rows, flip columns.

    Upright means that rows run to the patient's left and columns to the feet (``L\\F``); in a lateral view only
    that columns run to the feet. None where the file does not say, or says what no upright patient can be.
    """
    along = [str(value).strip().upper()[:1] for value in values(dataset, "PatientOrientation")]
    if len(along) != 2 or not all(along):
        return None
    transpose = along[0] in "HF"
    row, column = reversed(along) if transpose else along
    if row not in "LRAP" or column not in "HF":
        return None
    return transpose, column == "H", row == "R"


def upright(dataset: Dataset) -> tuple[str, str]:
    """Where rows and columns run after :func:`turns`: ``L\\F``, in a lateral view ``A\\F`` or ``P\\F``.

    ``L\\F`` where the file does not say, as the image is taken then.
    """
    turned = turns(dataset)
    if turned is None:
        return "L", "F"
    row = str(values(dataset, "PatientOrientation")[turned[0]]).strip().upper()[:1]
    return row.replace("R", "L"), "F"
