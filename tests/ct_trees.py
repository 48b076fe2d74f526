"""Small trees in the layouts of the published CT data sets: real but tiny DICOM, NIfTI and picture files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK
from openpyxl import Workbook
from pydicom.uid import CTImageStorage, generate_uid

from films import film, save
from pulmoscope.core.types import FloatArray
from radiographs import dicom_file


def series(folder: Path, slices: int, seed: int = 0) -> Path:
    """A folder of CT slices, 8 x 8; file names run against z, as in the real thing they may."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(slices):
        dicom_file(
            folder / f"IM{slices - number:04}.dcm",
            rng.integers(0, 100, (8, 8)).astype(np.int16),
            SOPClassUID=CTImageStorage,
            SOPInstanceUID=generate_uid(entropy_srcs=[str(folder), str(number)]),
            Modality="CT",
            ViewPosition=None,
            ImagePositionPatient=[0, 0, 2 * number],
        )
    return folder


def spreadsheet(path: Path, rows: Sequence[Sequence[object]]) -> Path:
    """A workbook with one sheet."""
    book = Workbook()
    for row in rows:
        book.active.append(list(row))
    book.save(path)
    return path


def volume(path: Path, voxels: np.ndarray, *, head_first: bool = False) -> Path:
    """A NIfTI file of voxels (slices, rows, columns), slices from the feet; stored from the head if asked for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = SimpleITK.GetImageFromArray(voxels[::-1] if head_first else voxels)
    if head_first:
        image.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, -1))
    SimpleITK.WriteImage(image, str(path))
    return path


def blotches(seed: int) -> FloatArray:
    """A picture that looks like no other: smooth noise, float32 (64, 64)."""
    noise = np.random.default_rng(seed).random((16, 16), dtype=np.float32)
    return np.repeat(np.repeat(noise, 4, axis=0), 4, axis=1)


def covid_ct_md(root: Path) -> Path:
    """Two COVID, one CAP, one Normal; P001 (5 slices) and cap001 (4) have labels; the index skips a row."""
    series(root / "COVID-19 subjects" / "P001", 5, 1)
    series(root / "COVID-19 subjects" / "P002", 3, 2)
    series(root / "Cap subjects" / "cap001", 4, 3)
    series(root / "Normal subjects" / "normal001", 3, 4)
    (root / "Index.csv").write_text(
        "Label Index,Diagnosis,Relative Path,Folder/ID\n0,COVID-19,./COVID-19/,P001\n2,CAP,./CAP/,cap001\n"
    )
    labels = np.zeros((3, 8))
    labels[0, [1, 3]] = 1  # P001: the second and the fourth from the head
    labels[2, 0] = 1  # cap001: the first from the head
    np.save(root / "Slice-level-labels.npy", labels)
    return root


def spgc(root: Path) -> Path:
    """Two sets of two patients; Test1's labels in a spreadsheet in it, Test2's in a CSV beside it."""
    for number in (1, 2):
        for patient in ("A", "B"):
            series(root / f"SPGC-COVID_Test{number}" / patient, 2, number)
    spreadsheet(
        root / "SPGC-COVID_Test1" / "labels.xlsx",
        [["Patient ID", "Label"], ["A", "COVID-19"], ["B", "Normal"]],
    )
    (root / "Test2_labels.csv").write_text("patient,diagnosis\nA,CAP\nB,Covid\n")
    return root


def mosmed(root: Path) -> Path:
    """Four studies; one mask, stored from the head."""
    for grade, name in (
        ("CT-0", "study_0001"),
        ("CT-1", "study_0255"),
        ("CT-1", "study_0256"),
        ("CT-4", "study_1109"),
    ):
        volume(root / "studies" / grade / f"{name}.nii.gz", np.zeros((4, 6, 6), np.int16))
    marked = np.zeros((4, 6, 6), np.uint8)
    marked[1, 2, 2] = marked[2, 3, 3] = 1
    volume(root / "masks" / "study_0255_mask.nii.gz", marked, head_first=True)
    spreadsheet(root / "dataset_registry.xlsx", [["study_file", "category"]])
    return root


def covidx_ct(root: Path, version: str = "2A") -> Path:
    """Seven slices in three splits, with the metadata of three of five patients; one listed slice is not there."""
    names = {
        "train": [
            "NCP_1_10_0001.png 2 0 1 60 50",
            "NCP_10_11_0002.png 2 0 1 60 50",
            "CP_7_3_0003.png 1 -2 1 60 50",
        ],
        "val": ["Normal_5_2_0001.png 0 0 1 60 50", "COVIDCTMD-P004-IM0007.png 2 0 1 60 50"],
        "test": [
            "HUST-Patient8-0004.png 2 0 1 60 50",
            "NCP_1_10_0009.png 2 0 0 1 1",
            "volume-covid19-A-0011-0034.png 2 0 0 1 1",
        ],
    }
    for number, (split, lines) in enumerate(names.items()):
        root.mkdir(parents=True, exist_ok=True)
        (root / f"{split}_COVIDx_CT-{version}.txt").write_text("\n".join(lines) + "\n")
        for place, line in enumerate(lines):
            name = line.split()[0]
            if name != "NCP_1_10_0009.png":
                save(root / f"{version}_images" / name, film(10 * number + place, 64))
    (root / "metadata.csv").write_text(
        "patient id,source,country,sex,age,finding,verified finding,slice selection,view,modality\n"
        "NCP_1,CNCB,China,,,COVID-19,Yes,Expert,Axial,CT\n"
        "NCP_10,CNCB,China,,,COVID-19,Yes,Expert,Axial,CT\n"
        "HUST-Patient8,iCTCF,China,F,41,COVID-19,Yes,Automatic,Axial,CT\n"
    )
    return root


def ucsd_covid_ct(root: Path) -> Path:
    """Three pictures a class; one of each is in no listing."""
    for kind, names in (
        ("COVID", ["2020.02.10.p6-52%0.png", "b.png", "c.png"]),
        ("NonCOVID", ["0.jpg", "1%2.jpg", "2.jpg"]),
    ):
        for place, name in enumerate(names):
            save(root / "Images-processed" / f"CT_{kind}" / name, film(len(kind) + place, 64))
        lists = root / "Data-split" / kind
        lists.mkdir(parents=True)
        (lists / f"trainCT_{kind}.txt").write_text(names[0] + "\n")
        (lists / f"valCT_{kind}.txt").write_text("gone.png\n")
        (lists / f"testCT_{kind}.txt").write_text(names[1] + " \n\n")
    spreadsheet(
        root / "COVID-CT-MetaInfo.xlsx",
        [
            ["File name", "Patient ID", "Age"],
            ["2020.02.10.p6-52%0.png", "Patient 1", 50],
            ["b", "Patient  1", None],
            [None, None, None],
        ],
    )
    (root / "NonCOVID-CT-MetaInfo.csv").write_text("image name,patient id\n0.jpg,Patient 1\n")
    return root


def sars_cov2_ct(root: Path, count: int = 6) -> Path:
    """As many slices a class, no two alike; numbers as in the original."""
    for number in range(1, count + 1):
        save(root / "COVID" / f"Covid ({number}).png", blotches(number))
        save(root / "non-COVID" / f"Non-Covid ({number}).png", blotches(500 + number))
    return root


TREES = {
    "covid-ct-md": covid_ct_md,
    "spgc-covid": spgc,
    "mosmeddata": mosmed,
    "covidx-ct": covidx_ct,
    "ucsd-covid-ct": ucsd_covid_ct,
    "sars-cov-2-ct": sars_cov2_ct,
}
