"""What is asked: which bundle, about which image or study, by which command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

from golden import answers
from golden.answers import Answer
from golden.simulated import Asked

OLD_BUNDLES = Path(__file__).parents[1] / "data" / "old_bundles"
XRAY_MODELS = ("xray-covid", "xray-covid-1.2")
CT_MODEL = "ct-slice-covid"
XRAYS = (
    "COVID/images/COVID-0001.png",
    "Normal/images/Normal-0001.png",
    "Viral Pneumonia/images/Viral Pneumonia-0002.png",
)
STUDIES = ("studies/p0001.nii.gz", "studies/p0002.nii.gz")
GRADED = (
    "studies/CT-0/study_0001.nii.gz",
    "studies/CT-2/study_0003.nii.gz",
    "studies/CT-3/study_0004.nii.gz",
)
SLICES = ("p0001/009.png", "p0002/012.png")

SHARED_XRAYS = (
    "xray4/COVID/images/COVID-0010.jpg",
    "xray4/Normal/images/Normal-0010.jpg",
    "xray4/Tuberculosis/images/Tuberculosis-0010.jpg",
    "xray4/Viral Pneumonia/images/Viral Pneumonia-0010.jpg",
    "xray_siim/Typical/images/Typical-0010.jpg",
    "xray_siim/Atypical/images/Atypical-0010.jpg",
    "xray_siim/Negative/images/Negative-0010.jpg",
    "xray_external/COVID/images/COVID-0010.jpg",
    "xray_external/Normal/images/Normal-0010.jpg",
    "xray_external/Pneumonia/images/Pneumonia-0010.jpg",
    "xray_dicom/pydicom_data/RG1_J2KI.dcm",
    "xray_dicom/torchxrayvision/Fake_MONOHR1.dcm",
)
SHARED_SERIES = ("ct_series/COVID/P001", "ct_series/Normal/normal001")
SHARED_SLICES = tuple(
    f"ct_slices/{source}/{label}/{label}-{number}.jpg"
    for source in ("sars_cov2_ct", "ucsd_covid_ct")
    for label, number in (("COVID", "0010"), ("COVID", "0020"), ("non-COVID", "0010"))
)


@dataclass(frozen=True)
class Folders:
    """Where a case finds what it needs.

    Attributes:
        asked: simulated images and studies.
        scratch: for what commands write.
        shared: the folder of real data; None: there is none.
    """

    asked: Asked
    scratch: Path
    shared: Path | None


Cases = Mapping[str, Callable[[Folders], Answer]]


def old(name: str) -> str:
    """An archived bundle's folder."""
    return str(OLD_BUNDLES / "0.1" / name)


def simulated() -> Cases:
    """The cases on simulated images and studies, by name."""
    cases: dict[str, Callable[[Folders], Answer]] = {}
    for models, data, files in (
        ((*XRAY_MODELS, old("xray"), old("xray-one-logit")), "xrays", XRAYS),
        ((*XRAY_MODELS, old("xray-one-logit")), "negatives", XRAYS[:2]),
        ((CT_MODEL, old("ct-slice")), "slices", SLICES),
        ((CT_MODEL, old("ct-slice"), old("ct-three-level"), old("ct-severity")), "studies", STUDIES),
        ((CT_MODEL, old("ct-three-level")), "graded", GRADED[1:2]),
        ((old("ct-severity"),), "graded", GRADED),
    ):
        for model, file in product(models, files):
            cases[f"diagnose {_title(model)} {data}/{file}"] = partial(_diagnosed, model, data, file)
    cases["lungs and view xray-covid"] = _lungs_and_view
    return cases | _commands()


def _commands() -> Cases:
    """Evaluation, audit, calibration and check."""
    cases: dict[str, Callable[[Folders], Answer]] = {}
    for model, data, split in (
        ("xray", "xrays", "val"),
        ("xray-one-logit", "negatives", "val"),
        ("ct-slice", "slices", "all"),
        ("ct-slice", "studies", "all"),
        ("ct-three-level", "studies", "all"),
        ("ct-severity", "graded", "all"),
    ):
        cases[f"evaluate {model} on {data}"] = partial(_evaluated, model, data, split)
    for model, data, split in (
        ("xray", "xrays", "val"),
        ("xray-one-logit", "negatives", "val"),
        ("ct-slice", "slices", "all"),
    ):
        cases[f"audit {model}"] = partial(_audited, model, data, split)
    for model, data in (("xray", "xrays"), ("xray-one-logit", "negatives"), ("ct-slice", "slices")):
        cases[f"calibrate {model}"] = partial(_calibrated, model, data)
    for model in sorted(OLD_BUNDLES.glob("*/*/")):
        cases[f"check {model.parent.name}/{model.name}"] = partial(_checked, str(model))
    return cases


def shared() -> Cases:
    """The cases on real images and series, by name."""
    cases: dict[str, Callable[[Folders], Answer]] = {}
    for model in XRAY_MODELS:
        cases |= {
            f"diagnose {model} {file}": partial(_of_shared, model, file, "auto") for file in SHARED_XRAYS
        }
    for files, modality in ((SHARED_SERIES, "auto"), (SHARED_SLICES, "ct")):
        cases |= {
            f"diagnose {CT_MODEL} {file}": partial(_of_shared, CT_MODEL, file, modality) for file in files
        }
    return cases


def _title(model: str) -> str:
    """A bundle's name; of an archived one its version, too."""
    return "/".join(Path(model).parts[-2:])


def _diagnosed(model: str, data: str, file: str, folders: Folders) -> Answer:
    """``data``: which of the simulated data; a picture of ``slices`` is one of a CT."""
    modality = "ct" if data == "slices" else "auto"
    return answers.diagnosed(getattr(folders.asked, data) / file, model, modality)


def _of_shared(model: str, file: str, modality: str, folders: Folders) -> Answer:
    assert folders.shared is not None
    return answers.diagnosed(folders.shared / "data" / file, model, modality)


def _lungs_and_view(folders: Folders) -> Answer:
    return {file: answers.lungs_and_view(folders.asked.xrays / file, "xray-covid") for file in XRAYS}


def _evaluated(model: str, data: str, split: str, folders: Folders) -> Answer:
    out = folders.scratch / f"evaluate-{model}-{data}"
    return answers.evaluated(old(model), getattr(folders.asked, data), split, out)


def _audited(model: str, data: str, split: str, folders: Folders) -> Answer:
    return answers.audited(
        old(model), getattr(folders.asked, data), split, folders.scratch / f"audit-{model}"
    )


def _calibrated(model: str, data: str, folders: Folders) -> Answer:
    out = folders.scratch / f"calibrate-{model}"
    return answers.calibrated(old(model), getattr(folders.asked, data), "all", out)


def _checked(model: str, folders: Folders) -> Answer:
    return answers.checked(model)
