"""From files to what is read as one scan: an X-ray's file, a CT study's many, a volume's one.

Studies are found folder by folder, by their StudyInstanceUID, so that the first is ready before the last is looked at.
One whose files lie in several folders is kept together where these follow each other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from pulmoscope.core.errors import InputError, ResourceError
from pulmoscope.core.files import sha256_of
from pulmoscope.core.types import Flag
from pulmoscope.io.formats import HEAD, PICTURES, format_of, volume_of
from pulmoscope.io.inputs import Entry, slug_of, unique
from pulmoscope.io.slice_pictures import slice_flag
from pulmoscope.io.stored import from_root

if TYPE_CHECKING:  # pydicom takes a fifth of a second
    from pydicom.dataset import Dataset

    from pulmoscope.io.ct.header import SliceHeader

Kind = Literal["image", "series", "volume", "pictures"]
Wanted = Literal["auto", "xray", "ct"]
"""What pictures are: ``auto`` and ``xray``: each a radiograph; ``ct``: those of a folder are slices of one CT. With
``auto`` a folder of what looks like slices is remarked."""

_RADIOGRAPHS = ("CR", "DX", "RG")
_MAYBE_RADIOGRAPHS = (*_RADIOGRAPHS, "OT", "SC")


@dataclass(frozen=True)
class Study:
    """What becomes one scan.

    Attributes:
        name: as the user named it: a file, or the folder of its files.
        slug: a file-system-safe name, unique within a run, the same for the same inputs.
        kind: ``image``: one file, read as an X-ray; ``series``: DICOM slices; ``volume``: one file; ``pictures``:
            slices that were saved as pictures.
        entries: its files.
        headers: of a series, one per slice of every series of the study.
        others: how many objects of the study are no CT images.
        broken: how many files beside its slices can't be read.
        remarks: of an image, what its folder says.
        film: of a radiograph in DICOM, which others belong to it. For comparing only: never shown.
        device: of an image in DICOM, a checksum of the names of the device that made it; empty where it has none. For
            comparing only.
    """

    name: str
    slug: str
    kind: Kind
    entries: tuple[Entry, ...]
    headers: tuple[SliceHeader, ...] = ()
    others: int = 0
    broken: int = 0
    remarks: tuple[Flag, ...] = ()
    film: Film | None = field(default=None, repr=False)
    device: str = field(default="", repr=False)


@dataclass(frozen=True)
class Film:
    """Which study a film is of, and which film of it. For comparing only: never shown.

    Attributes:
        study: StudyInstanceUID and PatientID: where either differs, so does the study.
        instance: SOPInstanceUID; empty where the file has none.
    """

    study: tuple[str, str]
    instance: str


@dataclass
class _Pending:
    """A DICOM study whose files are being found."""

    headers: list[SliceHeader] = field(default_factory=list)
    others: list[_Look] = field(default_factory=list)
    broken: int = 0


@dataclass(frozen=True)
class _Look:
    """What a file is, by its content."""

    entry: Entry
    kind: Literal["image", "series", "volume", "picture", "broken", "own"]
    study: str = ""
    headers: tuple[SliceHeader, ...] = ()
    film: Film | None = None
    device: str = ""


def studies(
    entries: Iterable[Entry], wanted: Wanted = "auto", own: Callable[[Sequence[Entry]], None] = lambda _: None
) -> Iterator[Study]:
    """Put files together to studies, in the order in which they are found.

    A file of unknown kind, or that is an image of another kind, is a study of its own: reading it says what is
    wrong. Beside the slices of a CT study it is counted instead: as broken, or as something else. The DICOM objects
    that Pulmoscope wrote are left out where there is anything else.

    Args:
        own: called with these in the end.
    """
    found: list[Entry] = []
    nothing = True
    for study in _studies(entries, wanted, found):
        nothing = False
        yield study
    if nothing:
        yield from (Study(entry.name, entry.slug, "image", (entry,)) for entry in found)
    elif found:
        own(found)


def _studies(entries: Iterable[Entry], wanted: Wanted, own: list[Entry]) -> Iterator[Study]:
    """The same, with our own objects put into ``own``."""
    taken = {"index.json"}
    pending: dict[str, _Pending] = {}
    for _, folder in groupby(entries, key=lambda entry: _parent(entry)):
        looked = [_look(entry) for entry in folder]
        own += [look.entry for look in looked if look.kind == "own"]
        seen = [look for look in looked if look.kind != "own"]
        seen = _without_cut_off(seen)
        here = {look.study for look in seen if look.kind == "series"}
        for uid in [uid for uid in pending if uid not in here]:
            yield from _finished(pending.pop(uid), taken)
        for look in seen:
            if look.kind == "series":
                study = pending.setdefault(look.study, _Pending())
                study.headers += look.headers
                study.others += [] if look.headers else [look]
        yield from _besides([look for look in seen if look.kind != "series"], here, pending, wanted, taken)
    for study in pending.values():
        yield from _finished(study, taken)


def is_of_ct(entry: Entry) -> bool:
    """Whether a file is a slice or a volume of a CT, or part of a series that may be one, by a look at it alone."""
    return _look(entry).kind in ("series", "volume")


def is_slice_of_ct(entry: Entry) -> bool:
    """Whether a file is for sure a slice or a volume of a CT, by a look at it alone."""
    look = _look(entry)
    return look.kind == "volume" or bool(look.headers)


def paths(entries: Iterable[Entry]) -> set[str]:
    """Every path that a study of these files may have, from the root: the files, and the folders that they lie in."""
    unique: set[str] = set()
    for entry in entries:
        path = from_root(entry.name)
        while path not in unique:
            unique.add(path)
            path = str(Path(path).parent)
    return unique


def _look(entry: Entry) -> _Look:
    """Tell what a file is."""
    try:
        with entry.open() as stream:
            head = stream.read(HEAD)
            if volume_of(head):
                return _Look(entry, "volume")
            kind = format_of(head)
            if kind != "DICOM":
                return _Look(entry, "picture" if kind in PICTURES else "broken")
            from pulmoscope.io.ct import header as ct_header
            from pulmoscope.io.dicom_rules import code, is_own

            stream.seek(0)
            dataset, offset = ct_header.read_dataset(stream, entry.name)
            if is_own(dataset):
                return _Look(entry, "own")
            uid = str(dataset.get("StudyInstanceUID", ""))
            if ct_header.is_ct(dataset):
                # Without a UID the files of one folder still belong together.
                headers = tuple(ct_header.slice_headers(dataset, offset, entry))
                return _Look(entry, "series", uid or _no_uid(entry), headers)
            radiograph = (
                _film(dataset, uid) if uid and code(dataset, "Modality") in _MAYBE_RADIOGRAPHS else None
            )
            if uid and code(dataset, "Modality") not in _RADIOGRAPHS:
                return _Look(entry, "series", uid, film=radiograph, device=_device(dataset))
            return _Look(entry, "image", film=radiograph, device=_device(dataset))
    except ResourceError:  # of a store that can't be reached
        raise
    except (InputError, OSError):
        return _Look(entry, "broken")
    except (
        Exception
    ):  # pydicom and zipfile meet damaged bytes with errors of any class; reading it says what is wrong
        return _Look(entry, "broken")


def _film(dataset: Dataset, uid: str) -> Film:
    return Film((uid, str(dataset.get("PatientID", ""))), str(dataset.get("SOPInstanceUID", "")))


def _device(dataset: Dataset) -> str:
    """What tells a device from another, as a checksum: its names may be those of a hospital."""
    maker, *own = (
        str(dataset.get(keyword) or "").strip()
        for keyword in ("Manufacturer", "StationName", "DeviceSerialNumber")
    )
    return sha256_of("\0".join((maker, *own)).encode()) if any(own) else ""


def _no_uid(entry: Entry) -> str:
    """What stands for the UID of a study without: its folder."""
    return f"/{_parent(entry)}"


def _without_cut_off(seen: Sequence[_Look]) -> list[_Look]:
    """Slices without a StudyInstanceUID are broken where all others of the folder are of one study that has one."""
    named = {look.study for look in seen if look.headers and not look.study.startswith("/")}
    if len(named) != 1:
        return list(seen)
    return [
        replace(look, kind="broken", study="", headers=()) if look.study.startswith("/") else look
        for look in seen
    ]


def _besides(
    seen: Sequence[_Look], here: set[str], pending: dict[str, _Pending], wanted: Wanted, taken: set[str]
) -> Iterator[Study]:
    """What lies in a folder besides DICOM: studies of their own; beside a single CT study, what belongs to it."""
    with_slices = [pending[uid] for uid in here if pending[uid].headers]
    only = with_slices[0] if len(with_slices) == 1 else None
    pictures = []
    remarks = _remarks(seen) if wanted == "auto" and only is None else ()
    for look in seen:
        entry = look.entry
        if only is not None and look.kind == "broken":
            only.broken += 1
        elif only is not None and look.kind == "picture":
            only.others.append(look)
        elif look.kind == "picture" and wanted == "ct":
            pictures.append(entry)
        else:
            kind: Kind = "volume" if look.kind == "volume" else "image"
            also = remarks if look.kind == "picture" else ()
            study = Study(
                entry.name, entry.slug, kind, (entry,), remarks=also, film=look.film, device=look.device
            )
            yield _named(study, taken)
    if pictures:
        yield _named(Study(_folder(pictures), slug_of(_place(pictures)), "pictures", tuple(pictures)), taken)


def _remarks(seen: Sequence[_Look]) -> tuple[Flag, ...]:
    """What a folder's pictures tell of each other."""
    pictures = [look.entry for look in seen if look.kind == "picture"]
    flag = slice_flag(pictures)
    return () if flag is None else (flag,)


def _finished(pending: _Pending, taken: set[str]) -> Iterator[Study]:
    """A DICOM study as one; objects without any CT image beside them each as what they are."""
    if not pending.headers:
        for other in pending.others:
            entry = other.entry
            study = Study(entry.name, entry.slug, "image", (entry,), film=other.film, device=other.device)
            yield _named(study, taken)
        return
    entries = list({header.entry.name: header.entry for header in pending.headers}.values())
    name = _folder(entries) if len(entries) > 1 else entries[0].name
    slug = slug_of(_place(entries)) if len(entries) > 1 else entries[0].slug
    study = Study(
        name, slug, "series", tuple(entries), tuple(pending.headers), len(pending.others), pending.broken
    )
    yield _named(study, taken)


def _named(study: Study, taken: set[str]) -> Study:
    return replace(study, slug=unique(study.slug, taken))


def _parent(entry: Entry) -> str:
    return str(PurePosixPath(entry.name).parent)


def _folder(entries: Sequence[Entry]) -> str:
    """The folder that holds all files, as the user named it."""
    return _common([_parent(entry) for entry in entries]) or entries[0].name


def _place(entries: Sequence[Entry]) -> str:
    """The same, relative to what was given."""
    return _common([entry.folder for entry in entries]) or entries[0].folder


def _common(folders: Sequence[str]) -> str:
    """The folder that all lie in; the first where there is none."""
    try:
        return os.path.commonpath(folders)
    except ValueError:  # some are named from the root and some from where the user is
        return folders[0]
