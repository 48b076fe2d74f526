"""The layout of MosMedData COVID19_1110: ``studies/CT-0/study_0001.nii.gz``, ``masks/study_0255_mask.nii.gz``.

Morozov et al., arXiv 2005.06465. CT-0 … CT-4 is the fraction of the lungs that is affected: none, up to 25, 50, 75 %,
or more. 50 studies of CT-1 have masks of the infection (ground glass and consolidation). ``dataset_registry.xlsx``
repeats what the folders say and is not read. Studies that say in their header that a program drew them are phantoms,
which :mod:`pulmoscope.phantoms.ct.mosmed` writes in this layout, with masks of the lungs in ``truth/``.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from pulmoscope.core.errors import DatasetError
from pulmoscope.core.synthetic import SYNTHETIC_SOURCE
from pulmoscope.datasets.infected import infected_text
from pulmoscope.datasets.layouts.folders import subfolders
from pulmoscope.datasets.studies import is_volume
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.io.ct.nifti import is_phantom

STUDIES, MASKS, TRUTH = "studies", "masks", "truth"
SOURCE = "MosMedData"
_GRADE = re.compile(r"CT-[0-4]", re.IGNORECASE)


def recognise(path: Path) -> bool:
    """A folder ``studies`` with a folder ``CT-0`` … ``CT-4``."""
    return bool(_grades(path))


def read(path: Path) -> SampleTable:
    """Read one sample a study, its masks where there are any, and from that of the lesions the infected slices.

    Of studies only the header is read; masks are few and pack to a few kB. One study is one patient. CT-0 shows no
    infection, so its slices are known, too; those of other studies without a mask are unknown. The source is
    ``MosMedData``, of simulated studies ``phantom``.

    Raises:
        DatasetError: there is no folder ``studies/CT-0`` … ``CT-4``, or a mask can't be read.
    """
    grades = _grades(path)
    if not grades:
        raise DatasetError(f"{path}: must hold folders like studies/CT-0 (found: none)")
    samples = []
    for folder in grades:
        for study in sorted(file for file in folder.iterdir() if is_volume(file.name)):
            name = study.name.split(".")[0]
            lesions = _beside(path, MASKS, f"{name}_mask.nii*")
            infected = _infected(path / lesions[0]) if lesions else ""
            samples.append(
                Sample(
                    file=study.relative_to(path).as_posix(),
                    label=folder.name.upper(),
                    patient=name,
                    source=SYNTHETIC_SOURCE if is_phantom(study) else SOURCE,
                    infected=infected or ("none" if folder.name.upper() == "CT-0" else ""),
                    mask="".join(_beside(path, TRUTH, f"{name}_lungs.nii*")),
                    lesions=lesions,
                )
            )
    return SampleTable(path, "mosmeddata", tuple(samples), tuple(_warnings(path, samples)))


def _warnings(path: Path, samples: list[Sample]) -> list[str]:
    unknown = sum(not sample.infected for sample in samples)
    warnings = [f"no slice labels: {unknown} of {len(samples)} studies"] if unknown else []
    masks = len(list((path / MASKS).glob("*_mask.nii*")))
    used = sum(bool(sample.lesions) for sample in samples)
    if used < masks:
        warnings.append(f"{MASKS}: {masks - used} of {masks} masks belong to no study that is there")
    return warnings


def _grades(path: Path) -> list[Path]:
    return [folder for folder in subfolders(path / STUDIES) if _GRADE.fullmatch(folder.name)]


def _beside(root: Path, folder: str, pattern: str) -> tuple[str, ...]:
    """The first file of this name in a folder beside the studies, relative to the data set; none where it is not."""
    file = next((root / folder).glob(pattern), None)
    return () if file is None else (file.relative_to(root).as_posix(),)


def _infected(mask: Path) -> str:
    """The slices with a marked voxel, counted from the feet whatever the file's own order."""
    import SimpleITK

    try:
        # identity in DICOM's axes: to the left, to the back, to the head
        volume = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(mask)), "LPS")
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise DatasetError(f"{mask}: must be a NIfTI volume (found: {reason})") from error
    marked = np.any(SimpleITK.GetArrayViewFromImage(volume), axis=(1, 2))
    return infected_text(int(number) for number in np.flatnonzero(marked))
