"""The layout of the COVID-19 Radiography Database: ``<class>/images``, ``<class>/masks``, ``<class>.metadata.xlsx``.

Chowdhury et al., IEEE Access 8 (2020), and Rahman et al., Computers in Biology and Medicine 132 (2021).
"""

from __future__ import annotations

import re
from pathlib import Path

from pulmoscope.core.errors import DatasetError
from pulmoscope.datasets.layouts.folders import images_in, subfolders
from pulmoscope.datasets.layouts.sheets import read_xlsx, stem_of
from pulmoscope.datasets.manifest import patient_warnings
from pulmoscope.datasets.table import Sample, SampleTable

FILE_COLUMN, URL_COLUMN = "FILE NAME", "URL"
# On these sites a collection is a path below the host; these words of the path say nothing about which.
_COLLECTION_SITES = ("github.com", "kaggle.com")
_PATH_WORDS = frozenset({"", "c", "competitions", "datasets", "data", "tree", "blob", "master", "main"})


def recognise(path: Path) -> bool:
    """At least one class folder with ``images/`` in it."""
    return any((folder / "images").is_dir() for folder in subfolders(path))


def read(path: Path) -> SampleTable:
    """Read every class; the label is the folder's name, the source comes from the class's spreadsheet.

    Raises:
        DatasetError: no class folder has ``images/``, or a spreadsheet is damaged or lacks a column.
    """
    classes = [folder for folder in subfolders(path) if (folder / "images").is_dir()]
    if not classes:
        raise DatasetError(f"{path}: must hold folders like COVID/images (found: none)")
    samples: list[Sample] = []
    warnings: list[str] = []
    for folder in classes:
        images = images_in(folder / "images")
        sheet = path / f"{folder.name}.metadata.xlsx"
        sources = read_sources(sheet) if sheet.is_file() else {}
        warnings += _sheet_warnings(sheet, sources, [image.stem.lower() for image in images])
        for image in images:
            mask = folder / "masks" / f"{image.stem}.png"
            samples.append(
                Sample(
                    file=image.relative_to(path).as_posix(),
                    label=folder.name,
                    source=sources.get(image.stem.lower(), ""),
                    mask=mask.relative_to(path).as_posix() if mask.is_file() else "",
                )
            )
    return SampleTable(path, "radiography-database", tuple(samples), (*patient_warnings(samples), *warnings))


def _sheet_warnings(sheet: Path, sources: dict[str, str], stems: list[str]) -> list[str]:
    if not sheet.is_file():
        return [f"no sources: {sheet.name} is not there"]
    unlisted = sum(stem not in sources for stem in stems)
    absent = len(sources.keys() - set(stems))
    warnings = []
    if unlisted:
        warnings.append(f"no sources: {unlisted} of {len(stems)} images are not in {sheet.name}")
    if absent:
        warnings.append(f"{sheet.name}: {absent} of {len(sources)} rows name an image that is not there")
    return warnings


def read_sources(sheet: Path) -> dict[str, str]:
    """File name in lower case, without suffix → collection. (The sheets write NORMAL-1 for Normal-1.png.)

    Raises:
        DatasetError: not a spreadsheet, or without the columns FILE NAME and URL.
    """
    rows = read_xlsx(sheet)
    header = [str(value or "").strip().upper() for value in rows[0]] if rows else []
    missing = [name for name in (FILE_COLUMN, URL_COLUMN) if name not in header]
    if missing:
        raise DatasetError(
            f"{sheet}, row 1: needs column {', '.join(missing)} (found: {', '.join(header) or 'an empty sheet'})"
        )
    name_at, url_at = header.index(FILE_COLUMN), header.index(URL_COLUMN)
    return {
        stem_of(str(row[name_at])): collection(str(row[url_at] or "")) for row in rows[1:] if row[name_at]
    }


def collection(url: str) -> str:
    """The collection that a URL points at: its host, with owner and name on sites that host many.

    >>> collection("https://www.kaggle.com/c/rsna-pneumonia-detection-challenge/data")
    'kaggle.com/rsna-pneumonia-detection-challenge'
    """
    match = re.match(r"\s*(?:[a-z]+://)?(?:www\.)?([^/\s?#]+)/?([^?#\s]*)", url, re.IGNORECASE)
    if not match:
        return ""
    host, path = match.group(1).lower(), match.group(2)
    if host not in _COLLECTION_SITES:
        return host
    return "/".join([host, *[word for word in path.split("/") if word.lower() not in _PATH_WORDS][:2]])
