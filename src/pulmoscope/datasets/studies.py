"""CT studies in a table: what counts as one, and how single slices become studies.

A study is a folder of DICOM slices or a volume's file; its sample says in ``infected`` which slices show infection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath

from pulmoscope.core.errors import DatasetError
from pulmoscope.core.files import sha256_of, sha256_of_file
from pulmoscope.datasets.infected import infected_text
from pulmoscope.datasets.manifest import read_csv
from pulmoscope.datasets.table import Sample, SampleTable

VOLUME_SUFFIXES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd")
DICOM_SUFFIXES = (".dcm", ".dicom")
SLICE_LABELS = "slice_labels.csv"


def is_volume(name: str) -> bool:
    """Is this, by its name, a file that holds a whole volume?"""
    return name.lower().endswith(VOLUME_SUFFIXES)


def is_study(path: Path) -> bool:
    """Is this a CT study: a folder, or a volume's file (by its name, there or not)?"""
    return is_volume(path.name) or path.is_dir()


def slices_in(folder: Path) -> list[Path]:
    """The DICOM files directly in a folder, by name; hidden ones are none."""
    return files_in(folder, DICOM_SUFFIXES)


def files_in(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """The files directly in a folder with one of these suffixes, by name; hidden ones are none."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    )


def size_of(path: Path) -> tuple[int, ...]:
    """The sizes in bytes of a study's files, in order; empty where it is missing or an empty folder."""
    files = path.iterdir() if path.is_dir() else (path,)
    return tuple(sorted(file.stat().st_size for file in files if file.is_file()))


def study_checksum(path: Path) -> str:
    """SHA-256 of a study: of a volume's file, or of the contents of a folder's files, whatever their names.

    Raises:
        OSError: a file can't be read.
    """
    if not path.is_dir():
        return sha256_of_file(path)
    contents = sorted(sha256_of_file(file) for file in path.iterdir() if file.is_file())
    return sha256_of("\n".join(contents).encode())


def holds_studies(table: SampleTable) -> bool:
    """Whether a table is of CT studies, or of their single DICOM slices, by its first row."""
    sample = table.samples[0]
    return is_study(table.path(sample)) or sample.file.lower().endswith(DICOM_SUFFIXES)


def as_studies(table: SampleTable) -> SampleTable:
    """One sample a study: rows that are single DICOM slices are joined by their folder.

    Such a study's file is the folder; ``infected`` comes from ``slice_labels.csv`` beside the table, if there is one,
    with the columns ``file``, ``slice_index`` (from 0 at the feet) and ``infected`` (1 or 0). Rows that are folders or
    volumes stay as they are.

    Raises:
        DatasetError: a row is a picture; the slices of a folder differ in label, split, patient or source, or are not
            all of the folder's; or ``slice_labels.csv`` does not count a study's slices from 0 without a gap.
    """
    studies: dict[str, Sample] = {}
    slices: dict[str, list[Sample]] = defaultdict(list)
    for sample in table:
        if is_study(table.path(sample)):
            studies[sample.file] = sample
        elif sample.file.lower().endswith(DICOM_SUFFIXES):
            folder = str(PurePosixPath(sample.file).parent)
            slices[folder].append(sample)
            studies.setdefault(folder, sample)  # keeps the order of the table
        else:
            raise DatasetError(
                f"{table.path(sample)}: a study is a folder of DICOM slices or a volume's file "
                f"({', '.join(VOLUME_SUFFIXES)}) (found: {Path(sample.file).suffix or 'no suffix'})"
            )
    labels = _slice_labels(table.root / SLICE_LABELS) if slices else {}
    for folder, members in slices.items():
        studies[folder] = _joined(table.root, folder, members, labels)
    return SampleTable(table.root, table.layout, tuple(studies.values()), table.warnings)


def _joined(
    root: Path, folder: str, members: Sequence[Sample], labels: Mapping[str, tuple[int, bool]]
) -> Sample:
    for name in ("label", "split", "patient", "source"):
        values = sorted({getattr(sample, name) for sample in members})
        if len(values) > 1:
            shown = (
                f"{len(values)} patients"
                if name == "patient"
                else ", ".join(value or "none" for value in values)
            )
            raise DatasetError(f"{root / folder}: all slices of a study have one {name} (found: {shown})")
    there = len(slices_in(root / folder)) if (root / folder).is_dir() else len(members)
    if there != len(members):
        raise DatasetError(
            f"{root / folder}: a study is all slices of its folder (found: {len(members)} of {there} in the table)"
        )
    first = members[0]
    infected = _infected(root, folder, members, labels)
    return Sample(folder, first.label, first.split, first.patient, first.source, infected=infected)


def _infected(
    root: Path, folder: str, members: Sequence[Sample], labels: Mapping[str, tuple[int, bool]]
) -> str:
    known = [labels[sample.file] for sample in members if sample.file in labels]
    if not known:
        return ""
    if sorted(number for number, _ in known) != list(range(len(members))):
        raise DatasetError(
            f"{root / SLICE_LABELS}: slice_index counts the {len(members)} slices of {folder} from 0 without a gap "
            f"(found: {infected_text(number for number, _ in known)})"
        )
    return infected_text(number for number, infected in known if infected)


def _slice_labels(file: Path) -> dict[str, tuple[int, bool]]:
    """A slice's file → (its number from the feet, infected?); nothing where the file is not there."""
    if not file.is_file():
        return {}
    labels = {}
    for line, row in read_csv(file, ("file", "slice_index", "infected")):
        if not row["slice_index"].isdecimal() or row["infected"] not in ("0", "1"):
            raise DatasetError(
                f"{file}, line {line}: slice_index must be a whole number and infected 0 or 1 "
                f"(found: {row['slice_index']}, {row['infected']})"
            )
        labels[row["file"]] = (int(row["slice_index"]), row["infected"] == "1")
    return labels
