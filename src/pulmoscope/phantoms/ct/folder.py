"""Writing synthetic chest CT studies as a data set: series, masks, the truth about each, and a manifest."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np

from pulmoscope.core.errors import DatasetError
from pulmoscope.core.files import claim_folder, csv_text, write_text
from pulmoscope.core.synthetic import SYNTHETIC_SOURCE
from pulmoscope.datasets import manifest
from pulmoscope.datasets.infected import infected_text
from pulmoscope.datasets.splits import assign_splits
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.phantoms.ct.acquisition import NUISANCES, draw_nuisances
from pulmoscope.phantoms.ct.draw import CtPhantom, draw
from pulmoscope.phantoms.ct.files import dicom_series, write_nifti
from pulmoscope.phantoms.ct.jobs import RECORDS, Job, all_drawn, drawn_once, write_whole
from pulmoscope.phantoms.ct.lesions import LABELS

Layout = Literal["dicom", "nifti"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
FRACTIONS: Mapping[str, float] = MappingProxyType({"train": 0.60, "val": 0.15, "test": 0.25})
TRUTH = "truth.csv"
TIE_ALL = "all"


@dataclass(frozen=True)
class _Job(Job):
    label: str
    slices: int
    layout: Layout
    masks: bool

    @property
    def file(self) -> str:
        """The study's folder or file, relative to ``out``."""
        return f"studies/{self.name}" + (".nii.gz" if self.layout == "nifti" else "")


@dataclass(frozen=True)
class Tied:
    """What goes with the class: a network may learn it in place of the lungs.

    Attributes:
        nuisances: by name, or ``all``.
        splits: those in which they go with the class; elsewhere they are drawn freely.
    """

    nuisances: Sequence[str] = ()
    splits: Sequence[str] = ("train", "val")


UNTIED = Tied()


def write_ct_phantoms(
    out: Path,
    count: int = 1,
    classes: Sequence[str] = LABELS,
    *,
    seed: int = 0,
    size: int = 256,
    slices: int = 60,
    layout: Layout = "dicom",
    tied: Tied = UNTIED,
    masks: bool = False,
    force: bool = False,
    processes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SampleTable:
    """Draw ``count`` synthetic chest CT studies, the classes by turns, with ``manifest.csv`` and ``truth.csv``.

    A study is ``studies/p0001/0001.dcm`` … or ``studies/p0001.nii.gz``; neither its name nor, where nothing is tied,
    its scan says its class. Each is a patient of its own, from the source ``phantom``. Studies that an interrupted
    call has finished are kept when it is called again with the same arguments.

    Args:
        tied: what of the scan goes with the class: a data set with shortcuts.
        masks: write the truth masks as ``masks/p0001-lungs.nii.gz`` (1 right, 2 left) and ``-lesions.nii.gz``.
        processes: how many draw at once; default: one a processor, but one for very few studies.
        progress: called with (studies done, studies in all).

    Raises:
        DatasetError: no study or class is asked for, or an unknown class, layout, nuisance or split, or a size that
            can't be drawn.
        OutputExistsError: the folder has a manifest, or another's study, already, and ``force`` is not given.
        ResourceError: it can't be written.
    """
    names = _checked(count, classes, layout, tied, (slices, size))
    claim_folder(out, manifest.NAME, force)
    labels = _turns(count, classes, seed)
    samples = assign_splits([_sample(index, label) for index, label in enumerate(labels)], FRACTIONS, seed)
    ties = [names if sample.split in tied.splits else () for sample in samples]
    scans = [
        draw_nuisances(np.random.default_rng([seed, index, 1]), names, classes.index(label), len(classes))
        for index, (label, names) in enumerate(zip(labels, ties, strict=True))
    ]
    jobs = [
        _Job(str(out), sample.patient, (seed, index), size, force, scan, sample.label, slices, layout, masks)
        for index, (sample, scan) in enumerate(zip(samples, scans, strict=True))
    ]
    truths = all_drawn(_draw, jobs, processes, progress)
    samples = tuple(_settled(*one) for one in zip(samples, jobs, truths, strict=True))
    write_text(out / TRUTH, _truth_table(samples, jobs, truths, ties))
    manifest.write(out / manifest.NAME, samples)
    shutil.rmtree(out / RECORDS, ignore_errors=True)
    return SampleTable(out, "manifest", samples)


def _checked(
    count: int,
    classes: Sequence[str],
    layout: str,
    tied: Tied,
    shape: tuple[int, int],
) -> tuple[str, ...]:
    """Refuse what can't be drawn before anything is written; the tied nuisances by name."""
    if count < 1:
        raise DatasetError(f"the number of phantoms must be at least 1 (found: {count})")
    if not classes:
        raise DatasetError("a phantom needs a class (found: none)")
    named: Sequence[tuple[str, Sequence[str], Sequence[str]]] = (
        ("a CT phantom's class", classes, LABELS),
        ("a CT phantom's format", [layout], LAYOUTS),
        ("what can be tied to the class", tied.nuisances, (*NUISANCES, TIE_ALL)),
        ("a split whose nuisances are tied", tied.splits, tuple(FRACTIONS)),
    )
    for what, asked, known in named:
        for name in asked:
            if name not in known:
                raise DatasetError(f"{what} is one of {', '.join(known)} (found: {name})")
    if len(set(classes)) < len(classes):
        raise DatasetError(f"a phantom's classes are named once each (found: {', '.join(classes)})")
    if shape[0] < 8 or shape[1] < 64:
        raise DatasetError(f"a CT phantom has at least 8 slices of 64 px (found: {shape[0]} of {shape[1]})")
    return (
        NUISANCES
        if TIE_ALL in tied.nuisances
        else tuple(name for name in NUISANCES if name in tied.nuisances)
    )


def _turns(count: int, classes: Sequence[str], seed: int) -> list[str]:
    """The classes in turn, each round in another order: a study's number doesn't tell its class."""
    labels: list[str] = []
    for number in range(-(-count // len(classes))):
        labels += np.random.default_rng([seed, number, 2]).permutation(list(classes)).tolist()
    return labels[:count]


def _sample(index: int, label: str) -> Sample:
    name = f"p{index + 1:04d}"
    return Sample(name, label, "", name, SYNTHETIC_SOURCE)


def _settled(sample: Sample, job: _Job, truth: Mapping[str, str]) -> Sample:
    """The sample as the manifest has it."""
    settled = dataclasses.replace(sample, file=job.file, infected=truth["infected"])
    if not job.masks:
        return settled
    lungs, lesions = (f"masks/{job.name}-{kind}.nii.gz" for kind in ("lungs", "lesions"))
    return dataclasses.replace(settled, mask=lungs, lesions=(lesions,))


def _draw(job: _Job) -> dict[str, str]:
    """Draw and write one study, unless an earlier call has; what is true of it."""
    out = Path(job.out)

    def drawn() -> CtPhantom:
        return draw(job.label, job.seed, slices=job.slices, size=job.size, nuisances=job.nuisances)

    def write(phantom: CtPhantom, unfinished: Path) -> dict[str, str]:
        if job.masks:
            _write_masks(out, job.name, phantom)
        if job.layout == "dicom":
            unfinished.mkdir()
            for number, content in enumerate(dicom_series(phantom, job.name), start=1):
                (unfinished / f"{number:04d}.dcm").write_bytes(content)
        else:
            write_nifti(unfinished, phantom.hu, phantom)
        return {
            "infected": infected_text(index for index, ill in enumerate(phantom.infected) if ill),
            "affected_left": f"{phantom.affected_left:.3f}",
            "affected_right": f"{phantom.affected_right:.3f}",
        }

    record = out / RECORDS / f"{job.name}.json"
    return drawn_once(out / job.file, record, job, drawn, write)


def _write_masks(out: Path, name: str, phantom: CtPhantom) -> None:
    for kind, mask in (("lungs", phantom.lungs), ("lesions", phantom.lesions.astype(np.uint8))):
        write_whole(out / "masks" / f"{name}-{kind}.nii.gz", mask, phantom)


def _truth_table(
    samples: Sequence[Sample],
    jobs: Sequence[_Job],
    truths: Sequence[Mapping[str, str]],
    ties: Sequence[Sequence[str]],
) -> str:
    """One row a study: its class, how much of each lung is affected, how it was scanned, what was tied."""
    rows = []
    fractions = ("affected_left", "affected_right", "infected")
    for sample, job, truth, tied in zip(samples, jobs, truths, ties, strict=True):
        scan = [job.nuisances[name] for name in NUISANCES]
        shown = [truth[name] for name in fractions]
        rows.append([sample.file, sample.label, sample.split, *shown, *scan, " ".join(tied)])
    return csv_text(["file", "label", "split", *fractions, *NUISANCES, "tied"], rows)
