"""Writing synthetic chest CT studies of the grades CT-0 … CT-4 in the layout of MosMedData, with the truth about each.

As there, studies are numbered grade by grade. Every file's description says that a program drew it, by which the
layout's reader knows them from patients'.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from pulmoscope.core.errors import DatasetError, OutputExistsError
from pulmoscope.core.files import claim_folder, csv_text, write_bytes, write_text
from pulmoscope.datasets import manifest
from pulmoscope.datasets.infected import infected_text
from pulmoscope.datasets.layouts import mosmed
from pulmoscope.datasets.table import SampleTable
from pulmoscope.io.ct.nifti import is_phantom
from pulmoscope.phantoms.ct.acquisition import NUISANCES, draw_nuisances
from pulmoscope.phantoms.ct.damage import Defect, apply, draw_defects
from pulmoscope.phantoms.ct.draw import CtPhantom, draw
from pulmoscope.phantoms.ct.files import write_nifti
from pulmoscope.phantoms.ct.grades import GRADES, Grade
from pulmoscope.phantoms.ct.jobs import RECORDS, Job, all_drawn, drawn_once, write_whole

COUNTS: Mapping[Grade, int] = MappingProxyType({"CT-0": 254, "CT-1": 684, "CT-2": 125, "CT-3": 45, "CT-4": 2})
"""How many studies of each grade MosMedData has (Morozov et al., arXiv 2005.06465)."""
STEP_MM = 8.0
"""How far MosMedData's slices are apart."""
REGISTRY = "dataset_registry.xlsx"
_COLUMNS = ("study_id", "category", "study_file", "mask_file")
_DRAWN = ("slices", "infected", "affected", "affected_left", "affected_right", "damaged", "damage")


def counts_of_fraction(fraction: float) -> dict[Grade, int]:
    """So many studies of each grade as this fraction of MosMedData has, rounded, of each at least one.

    Raises:
        DatasetError: the fraction is not above 0 and at most 1.
    """
    if not 0 < fraction <= 1:
        raise DatasetError(
            f"the fraction of the data set must be above 0 and at most 1 (found: {fraction:g})"
        )
    return {grade: max(1, int(count * fraction + 0.5)) for grade, count in COUNTS.items()}


def counts_of_total(count: int) -> dict[Grade, int]:
    """This many studies in MosMedData's proportions, of each grade at least one.

    Raises:
        DatasetError: there are more grades than studies.
    """
    if count < len(GRADES):
        raise DatasetError(
            f"of {len(GRADES)} grades at least one study each is drawn (found: {count} in all)"
        )
    exact = {grade: count * of / sum(COUNTS.values()) for grade, of in COUNTS.items()}
    counts = {grade: max(1, int(expected)) for grade, expected in exact.items()}
    while (missing := count - sum(counts.values())) != 0:
        step = 1 if missing > 0 else -1
        free = [grade for grade in GRADES if step > 0 or counts[grade] > 1]
        counts[max(free, key=lambda grade: step * (exact[grade] - counts[grade]))] += step
    return counts


@dataclass(frozen=True)
class _Job(Job):
    grade: Grade
    slices: int | None
    damage: float

    @property
    def study(self) -> str:
        """The study's file, relative to ``out``."""
        return f"{mosmed.STUDIES}/{self.grade}/{self.name}.nii.gz"

    @property
    def mask(self) -> str:
        """The lesions' file; empty where there are none."""
        return "" if self.grade == "CT-0" else f"{mosmed.MASKS}/{self.name}_mask.nii.gz"

    @property
    def lungs(self) -> str:
        """The lungs' file."""
        return f"{mosmed.TRUTH}/{self.name}_lungs.nii.gz"

    @property
    def missing(self) -> str:
        """The missing voxels' file; empty where nothing is to be damaged."""
        return f"{mosmed.TRUTH}/{self.name}_missing.nii.gz" if self.damage else ""

    @property
    def files(self) -> set[str]:
        """All that belongs to the study."""
        return {self.study, self.mask, self.lungs, self.missing}


def write_mosmed_phantoms(
    out: Path,
    counts: Mapping[Grade, int],
    *,
    seed: int = 0,
    size: int = 256,
    slices: int | None = None,
    damage: float = 0.0,
    force: bool = False,
    processes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SampleTable:
    """Draw synthetic chest CT studies of each grade as a data set in the layout of MosMedData.

    That is ``studies/CT-0/study_0001.nii.gz`` (int16, HU), ``masks/study_0255_mask.nii.gz`` (the true lesions: 1) for
    every study that has lesions, and ``dataset_registry.xlsx``. Beyond it, ``truth/study_0001_lungs.nii.gz`` (1 right,
    2 left), where slices are damaged ``truth/study_0001_missing.nii.gz`` (1 missing), and ``truth.csv``, a row a study.
    The truth is that of the undamaged study. How a study is scanned and damaged never goes with its grade. Studies that
    an interrupted call has finished are kept when it is called again with the same arguments.

    Args:
        counts: grade → how many studies (see :func:`counts_of_fraction`, :func:`counts_of_total`).
        slices: how many in each study; default: as many as 8 mm steps need, about 36.
        damage: which fraction of each study's slices is damaged (see :mod:`pulmoscope.phantoms.ct.damage`).
        processes: how many draw at once; default: one a processor, but one for very few studies.
        progress: called with (studies done, studies in all).

    Raises:
        DatasetError: no study is asked for, or an unknown grade, or a size or a fraction that can't be drawn; or a
            study that is in the way is no phantom: those are never replaced.
        OutputExistsError: the folder holds a data set, or another's study, already, and ``force`` is not given.
        ResourceError: it can't be written.
    """
    jobs = _jobs(out, counts, seed, (slices, size), damage, force)
    _check_room(out, jobs, force)
    claim_folder(out, REGISTRY, force)
    claim_folder(out, manifest.NAME, force)  # the folder would be read as the manifest says
    for path in _leftovers(out, jobs):
        path.unlink()
    truths = all_drawn(_draw, jobs, processes, progress)
    write_text(out / f"{mosmed.TRUTH}.csv", _truth_table(jobs, truths))
    write_bytes(out / REGISTRY, _registry(jobs))
    shutil.rmtree(out / RECORDS, ignore_errors=True)
    return mosmed.read(out)


def _jobs(
    out: Path,
    counts: Mapping[Grade, int],
    seed: int,
    shape: tuple[int | None, int],
    damage: float,
    force: bool,
) -> list[_Job]:
    """The studies to draw, numbered grade by grade."""
    slices, size = shape
    if not 0 <= damage <= 1:
        raise DatasetError(f"the fraction of damaged slices lies in 0 to 1 (found: {damage:g})")
    for grade, count in counts.items():
        if grade not in GRADES:
            raise DatasetError(f"a grade is one of {', '.join(GRADES)} (found: {grade})")
        if count < 0:
            raise DatasetError(f"the number of phantoms must be at least 0 (found: {count} of {grade})")
    if (slices is not None and slices < 8) or size < 64:
        shown = f"{slices} of {size}" if slices is not None else f"{size} px"
        raise DatasetError(f"a CT phantom has at least 8 slices of 64 px (found: {shown})")
    grades = [grade for grade in GRADES for _ in range(counts.get(grade, 0))]
    if not grades:
        raise DatasetError("the number of phantoms must be at least 1 (found: 0)")
    return [
        _Job(
            out=str(out),
            name=f"study_{index + 1:04d}",
            grade=grade,
            seed=(seed, index),
            slices=slices,
            size=size,
            damage=damage,
            force=force,
            nuisances=draw_nuisances(np.random.default_rng([seed, index, 1])),
        )
        for index, grade in enumerate(grades)
    ]


def _leftovers(out: Path, jobs: Sequence[_Job]) -> Iterator[Path]:
    """Files that are laid out as this data set's and belong to none of its studies."""
    wanted = set().union(*(job.files for job in jobs))
    for pattern in (
        f"{mosmed.STUDIES}/CT-*/*.nii*",
        f"{mosmed.MASKS}/*_mask.nii*",
        f"{mosmed.TRUTH}/*.nii.gz",
    ):
        for path in sorted(out.glob(pattern)):
            if path.relative_to(out).as_posix() not in wanted:
                yield path


def _check_room(out: Path, jobs: Sequence[_Job], force: bool) -> None:
    """Refuse a folder with what is not ours to replace, before anything in it changes."""
    leftovers = list(_leftovers(out, jobs))
    if leftovers and not force:
        raise OutputExistsError(leftovers[0])
    there = (path for job in jobs for file in job.files - {""} if (path := out / file).exists())
    for path in (*leftovers, *there):
        if not is_phantom(path):
            raise DatasetError(
                f"{path}: phantoms replace phantoms only (found: a file that does not say it is one)"
            )


def _draw(job: _Job) -> dict[str, str]:
    """Draw and write one study, unless an earlier call has; what is true of it."""
    out = Path(job.out)

    def drawn() -> CtPhantom:
        step_mm = None if job.slices else STEP_MM
        return draw(
            job.grade, job.seed, slices=job.slices, step_mm=step_mm, size=job.size, nuisances=job.nuisances
        )

    def write(phantom: CtPhantom, unfinished: Path) -> dict[str, str]:
        if job.mask:
            write_whole(out / job.mask, phantom.lesions.astype(np.uint8), phantom)
        write_whole(out / job.lungs, phantom.lungs, phantom)
        defects = draw_defects(phantom.hu.shape, np.random.default_rng([*job.seed, 3]), job.damage)
        hu, missing = apply(phantom.hu, defects)
        if defects:
            write_whole(out / job.missing, missing.astype(np.uint8), phantom)
        elif job.missing:  # so few slices that the fraction comes to none of them
            (out / job.missing).unlink(missing_ok=True)
        write_nifti(unfinished, hu, phantom)
        return {
            "slices": str(len(phantom.hu)),
            "infected": infected_text(index for index, ill in enumerate(phantom.infected) if ill),
            "affected": f"{phantom.affected:.3f}",
            "affected_left": f"{phantom.affected_left:.3f}",
            "affected_right": f"{phantom.affected_right:.3f}",
            "damaged": infected_text(defect.index for defect in defects),
            "damage": "; ".join(_in_words(defect) for defect in defects),
        }

    record = out / RECORDS / f"{job.name}.json"
    return drawn_once(out / job.study, record, job, drawn, write)


def _in_words(defect: Defect) -> str:
    """A defect in words: ``12 block medium``."""
    return " ".join(map(str, filter(None, (str(defect.index), defect.kind, defect.size))))


def _truth_table(jobs: Sequence[_Job], truths: Sequence[Mapping[str, str]]) -> str:
    """One row a study: its grade, how much of the lungs is affected (percent), what is damaged, how it was scanned."""
    rows = [
        [
            job.study,
            job.grade,
            *(truth[name] for name in _DRAWN),
            *(job.nuisances[name] for name in NUISANCES),
        ]
        for job, truth in zip(jobs, truths, strict=True)
    ]
    return csv_text(["file", "grade", *_DRAWN, *NUISANCES], rows)


def _registry(jobs: Sequence[_Job]) -> bytes:
    """The spreadsheet that repeats what the folders say, as MosMedData has it."""
    from openpyxl import Workbook

    book = Workbook()
    book.active.append(_COLUMNS)
    for job in jobs:
        book.active.append([job.name, job.grade, job.study, job.mask or None])
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()
