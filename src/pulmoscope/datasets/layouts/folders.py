"""The layout ``class-folders``: a folder per class, perhaps below a folder per split."""

from __future__ import annotations

from pathlib import Path

from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets.manifest import patient_warnings
from pulmoscope.datasets.studies import files_in
from pulmoscope.datasets.table import Sample, SampleTable

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".dcm", ".dicom"})
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def images_in(folder: Path) -> list[Path]:
    """The image files directly in a folder, by name."""
    return files_in(folder, SUFFIXES)


def subfolders(folder: Path) -> list[Path]:
    """The folders directly in a folder, by name, without hidden ones."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def recognise(path: Path) -> bool:
    """At least one class folder with an image in it."""
    return any(images_in(folder) for _, folder in _class_folders(path))


def read(path: Path) -> SampleTable:
    """Read the class folders; the label is the folder's name.

    Raises:
        DatasetError: it is not a folder, or has no class folder.
    """
    class_folders = _class_folders(path)
    if not class_folders:
        raise DatasetError(f"{path}: must hold a folder per class (found: none)")
    samples = [
        Sample(file=image.relative_to(path).as_posix(), label=folder.name, split=split)
        for split, folder in class_folders
        for image in images_in(folder)
    ]
    return SampleTable(path, "class-folders", tuple(samples), tuple(patient_warnings(samples)))


def _class_folders(path: Path) -> list[tuple[str, Path]]:
    """(split or empty, class folder). Splits count only when every folder at the top is a split's."""
    top = subfolders(path)
    if top and all(folder.name.lower() in SPLIT_NAMES for folder in top):
        return [(SPLIT_NAMES[split.name.lower()], folder) for split in top for folder in subfolders(split)]
    return [("", folder) for folder in top]
