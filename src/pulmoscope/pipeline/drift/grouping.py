"""Which images of a run are of one place: those of one device, by DICOM; else those of one folder."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import PurePosixPath

from pulmoscope.io.inputs import Entry
from pulmoscope.io.studies import Study, Wanted, is_slice_of_ct, studies
from pulmoscope.quality.drift import LEAST_IMAGES


def images_of(entries: Iterable[Entry], wanted: Wanted = "auto") -> list[Study]:
    """The inputs that may be X-rays, by a look at their headers.

    Folders that begin and end with a slice of a CT are passed over, so that its many headers are not read twice.
    """
    kept: list[Entry] = []
    for _, folder in groupby(entries, key=lambda entry: PurePosixPath(entry.name).parent):
        files = list(folder)
        if not (is_slice_of_ct(files[0]) and is_slice_of_ct(files[-1])):
            kept += files
    return [study for study in studies(kept, wanted) if study.kind == "image"]


def grouped(images: Sequence[Study]) -> list[list[Study]]:
    """The images of each place, in the order of their first.

    A device whose names stand in the file (Manufacturer and StationName or DeviceSerialNumber) is a place, in whatever
    folders its images lie. Images without are of the place that is their folder; folders with too few images to be
    compared count to the folder that they lie in, as exports often have a folder for each patient. So do images of a
    device with too few.
    """
    of_device = Counter(study.device for study in images if study.device)
    known = {device for device, count in of_device.items() if count >= LEAST_IMAGES}
    folders = _folders(Counter(_parent(study) for study in images if study.device not in known))
    places: defaultdict[tuple[str, str], list[Study]] = defaultdict(list)
    for study in images:
        by_device = study.device in known
        place = ("device", study.device) if by_device else ("folder", folders[_parent(study)])
        places[place].append(study)
    return list(places.values())


def folder_of(images: Sequence[Study]) -> str:
    """The folder that all of a place's images lie in; that of the first where there is none."""
    return _common({_parent(study) for study in images}) or _parent(images[0])


def _folders(counts: Mapping[str, int]) -> dict[str, str]:
    """Folder → the folder that its images count to, by how many each holds itself."""
    root, sums = _common(counts), Counter(counts)
    moved: dict[str, str] = {}
    for folder in sorted(_with_parents(counts, root), key=lambda one: (-one.count("/"), one)):
        if root and folder != root and sums[folder] < LEAST_IMAGES:
            moved[folder] = str(PurePosixPath(folder).parent)
            sums[moved[folder]] += sums.pop(folder)
    places = {}
    for folder in counts:
        place = folder
        while place in moved:
            place = moved[place]
        places[folder] = place
    return places


def _with_parents(folders: Iterable[str], root: str) -> set[str]:
    """The folders, and all between them and the root."""
    everything: set[str] = set()
    for folder in folders:
        while folder not in everything:
            everything.add(folder)
            folder = folder if folder == root or not root else str(PurePosixPath(folder).parent)
    return everything


def _common(folders: Iterable[str]) -> str:
    """The folder that all lie in; empty where there is none."""
    try:
        return os.path.commonpath(list(folders))
    except ValueError:  # there is none, or some are named from the root and some from where the user is
        return ""


def _parent(study: Study) -> str:
    return str(PurePosixPath(study.name).parent)
