"""Recognising a data set's layout and reading it as one table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets import manifest
from pulmoscope.datasets.layouts import (
    covid_chestxray,
    covid_ct_md,
    covidx_ct,
    folders,
    mosmed,
    radiography,
    sars_cov2_ct,
    spgc,
    ucsd_covid_ct,
)
from pulmoscope.datasets.studies import is_study
from pulmoscope.datasets.table import Sample, SampleTable

SEED = 0
"""Splits that a layout does not have are drawn with this seed, so that they are the same everywhere."""

UNSETTLED = (
    "drawn splits are drawn anew by every command, from all images, and an added image can move another; "
    "to settle them: pulmoscope datasets show DATA -o DATA/manifest.csv"
)
"""The warning that goes with drawn splits, until they are written down."""


class LayoutModule(Protocol):
    """A module that knows one layout."""

    def recognise(self, path: Path) -> bool:
        """Is the data set at this path of this layout?"""

    def read(self, path: Path) -> SampleTable:
        """The table; samples have empty splits where the layout has none."""


@dataclass(frozen=True)
class Layout:
    """One way in which a data set lies on disk.

    Attributes:
        looks_like: what a user sees in the folder, in a line or two.
        module: recognises and reads it.
        together: for each sample the name of what drawn splits must keep together beside patients and near-duplicates,
            or an empty name; None where the layout knows of nothing.
    """

    looks_like: str
    module: LayoutModule
    together: Callable[[Sequence[Sample]], list[str]] | None = None


LAYOUTS: dict[str, Layout] = {
    "manifest": Layout(
        "manifest.csv with the columns file,label,split,patient,source (and mask, if there are lung masks)",
        manifest,
    ),
    "covid-chestxray-dataset": Layout(
        "metadata.csv with patientid, finding, view, modality, folder, filename; pictures in images/",
        covid_chestxray,
    ),
    "radiography-database": Layout(
        "COVID/images/, Normal/images/, Lung_Opacity/images/, Viral Pneumonia/images/; masks/ beside images/ and "
        "<class>.metadata.xlsx where there are any",
        radiography,
    ),
    "covid-ct-md": Layout(
        "COVID-19 subjects/P001/, Cap subjects/cap001/, Normal subjects/normal001/ with DICOM slices; Index.csv and "
        "Slice-level-labels.npy where there are any",
        covid_ct_md,
    ),
    "spgc-covid": Layout(
        "SPGC-COVID_Test1/, …_Test2/, …_Test3/ with a folder of DICOM slices a patient; "
        "a .csv or .xlsx with their labels",
        spgc,
    ),
    "mosmeddata": Layout(
        "studies/CT-0/study_0001.nii.gz, … studies/CT-4/; masks/study_0255_mask.nii.gz", mosmed
    ),
    "covidx-ct": Layout(
        "train_COVIDx_CT-2A.txt, val_…, test_… that list slices; 2A_images/, 3A_images/ or images/; metadata.csv",
        covidx_ct,
    ),
    "ucsd-covid-ct": Layout(
        "Images-processed/CT_COVID/ and CT_NonCOVID/; Data-split/ and COVID-CT-MetaInfo.xlsx where there are any",
        ucsd_covid_ct,
    ),
    "sars-cov-2-ct": Layout(
        "COVID/Covid (1).png, … and non-COVID/Non-Covid (1).png, …", sars_cov2_ct, sars_cov2_ct.runs
    ),
    "class-folders": Layout(
        "a folder per class with its pictures, or train/<class>/, val/<class>/, test/<class>/", folders
    ),
}
"""Every layout by its name, in the order of recognition: a manifest goes before all, plain class folders come last."""


def load(
    path: Path, layout: str | None = None, progress: Callable[[int, int], None] | None = None
) -> SampleTable:
    """Read a data set: a folder in one of the layouts, or a ``manifest.csv``.

    Splits that a folder does not have are drawn, with one patient's images and near-duplicates together: without any,
    70 % train, 15 % val, 15 % test of every class; with train but no val, 15 % of train as val. That reads the images.
    The same images get the same splits wherever they lie; see :func:`~pulmoscope.datasets.splits.assign_splits` for
    what one image more changes. A manifest that has splits is taken as it is.

    Args:
        layout: a name in :data:`LAYOUTS`; default: recognised.
        progress: called with (images read, images to read) where splits are drawn.

    Raises:
        DatasetError: nothing is there, the layout is unknown, or the data set breaks one of its rules.
    """
    if not path.exists():
        raise DatasetError(f"{path}: there is no such data set (a folder, or a manifest.csv)")
    if layout is None:
        layout = next((name for name, known in LAYOUTS.items() if known.module.recognise(path)), None)
        if layout is None:
            raise DatasetError(f"{path}: is in none of the layouts {', '.join(LAYOUTS)}; see `datasets list`")
    if layout not in LAYOUTS:
        raise DatasetError(f"{layout}: is no layout (there are: {', '.join(LAYOUTS)})")
    table = LAYOUTS[layout].module.read(path)
    if not table.samples:
        raise DatasetError(f"{path}: a data set has at least one image (found: none in layout {layout})")
    splits = set(table.splits)
    if splits == {""}:
        return draw(table, "", progress, whole=True)
    if "train" in splits and "val" not in splits and layout != "manifest":
        return draw(table, "train", progress, whole=False)
    return table


def draw(
    table: SampleTable, split: str, progress: Callable[[int, int], None] | None, *, whole: bool
) -> SampleTable:
    """Share out the samples of one split: into all three, or (``whole`` False) into train and val."""
    # cv2 and the image readers are only needed here, and take time to import
    from pulmoscope.datasets.splits import FRACTIONS, VAL_FROM_TRAIN, assign_splits, image_groups

    fractions = FRACTIONS if whole else VAL_FROM_TRAIN
    pool = [sample for sample in table if sample.split == split]
    together = LAYOUTS[table.layout].together
    groups = image_groups(table.root, pool, progress, together(pool) if together else None)
    splits = iter(assign_splits(pool, fractions, SEED, groups))
    samples = tuple(next(splits) if sample.split == split else sample for sample in table)
    what = "no splits: drawn here" if whole else "no val: drawn here from train"
    if whole and split:
        what = f"all in {split}: shared out here"
    sizes = ", ".join(f"{fraction * 100:.0f} % {name}" for name, fraction in fractions.items())
    if all(is_study(table.path(sample)) for sample in pool):
        kept = "one patient's studies"
    else:
        kept = "one patient's images and near-duplicates" + (" and neighbouring numbers" if together else "")
    drawn_here = f"{what} ({sizes}; {kept} stay together)"
    # A data set that has a split would have it again in a manifest made of it.
    warnings = (drawn_here,) if whole and split else (drawn_here, UNSETTLED)
    return dataclasses.replace(table, samples=samples, warnings=(*table.warnings, *warnings))
