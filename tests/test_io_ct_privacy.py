"""Whatever stands in a CT's files and however they are damaged: nothing of it is shown."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.datadict import dictionary_VR, keyword_dict, tag_for_keyword
from pydicom.dataset import Dataset

from ct_series import drawn_hu, encoded, enhanced, file_bytes, slice_datasets
from pulmoscope.io import entries, read, read_study, studies

# What would name a patient, in every way in which it could be written; digits for the elements that take only these.
WORDS = ("GEHEIM", "geheim", "4711081547110815")
UID = "1.2.4711081547110815"
TEXTS = ("LO", "SH", "LT", "ST", "UT", "PN", "AE", "UC")
KEPT = ("Modality", "BodyPartExamined", "PhotometricInterpretation", "SpecificCharacterSet")
# Groups 0008 to 0040 of the standard: below are messages, the file's own header and a DICOMDIR.
TELLING = [
    keyword
    for keyword in filter(None, keyword_dict)
    if 0x00080000 < tag_for_keyword(keyword) < 0x00420000  # type: ignore[operator]
    and dictionary_VR(keyword) in TEXTS
    and keyword not in KEPT
]


def telling(dataset: Dataset) -> Dataset:
    """Every text element of the standard's dictionary, and private ones, with what must not be shown."""
    for keyword in TELLING:
        if keyword not in dataset:
            setattr(dataset, keyword, "GEHEIM")
    dataset.PatientName = "GEHEIM^geheim"
    dataset.PatientID = dataset.AccessionNumber = "4711081547110815"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = UID, f"{UID}.1"
    dataset.StudyDescription = dataset.SeriesDescription = "Chest GEHEIM"
    dataset.ContrastBolusAgent = "GEHEIM"
    block = dataset.private_block(0x0029, "GEHEIM", create=True)
    block.add_new(0x10, "LO", "GEHEIM")
    block.add_new(0x11, "OB", b"GEHEIM")
    return dataset


def damaged(files: list[bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """The series, and others of it."""
    rng = np.random.default_rng(0)
    yield "whole", files
    for share in (0.1, 0.4, 0.95):
        yield f"cut {share}", [data[: int(share * len(data))] for data in files]
        yield f"one cut {share}", [*files[:5], files[5][: int(share * len(files[5]))], *files[6:]]
    for round_ in range(6):
        flipped = []
        for data in files:
            buffer = bytearray(data)
            for place in rng.integers(132, len(data), 12):
                buffer[place] = rng.integers(256)
            flipped.append(bytes(buffer))
        yield f"flipped {round_}", flipped
    # Elements that are shown, where they are one of the standard's terms.
    for tag, value in (
        (b"CT", b"XQ"),
        (b"MONOCHROME2 ", b"GEHEIM4711  "),
        (b"1.2.840.10008.1.2.1\0", b"1.2.47110815.47110\0\0"),
        (b"1.2.840.10008.5.1.4.1.1.2\0", b"1.2.47110815.4711.1.1.2.2\0"),
        (b"CHEST ", b"GEHEIM"),
        (b"ORIGINAL", b"LOCALIZE"),
        (b"-1024 ", b"GEHEIM"),
    ):
        yield f"{tag!r}", [data.replace(tag, value) for data in files]
    yield (
        "other patients",
        [data.replace(WORDS[2].encode(), b"%016d" % place) for place, data in enumerate(files)],
    )


def check(found: str, place: str) -> None:
    for word in WORDS:
        assert word not in found, f"{place}: {found[:300]}"


@pytest.mark.parametrize("syntax", ["", "1.2.840.10008.1.2.4.70"])
def test_nothing_of_a_series_is_shown(
    syntax: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    datasets = [telling(dataset) for dataset in slice_datasets(drawn_hu(12))]
    files = [file_bytes(encoded(dataset, syntax) if syntax else dataset) for dataset in datasets]
    assert WORDS[0].encode() in files[0]
    capfd.readouterr()
    caplog.clear()
    for number, (kind, variant) in enumerate(damaged(files)):
        folder = tmp_path / str(number)
        folder.mkdir()
        for place, data in enumerate(variant):
            (folder / f"{place:02}").write_bytes(data)
        for study in studies(entries([folder])):
            result = read_study(study)
            told = str(result.error)
            if result.scan is not None:
                told = f"{[asdict(flag) for flag in result.scan.remarks]} {result.scan.facts}"
            check(f"{result.name} {result.content} {told} {result.error!r}", kind)
            check(str(read_study(study, series=f"{UID}.7").error), kind)
    check("".join(capfd.readouterr()), "printed")
    check(caplog.text, "logged")


def test_nothing_of_other_files_is_shown(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    hu = drawn_hu(12)
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing((5, 5, 4))
    for key in ("descrip", "aux_file", "intent_name", "db_name", "content", "GEHEIM"):
        image.SetMetaData(key, "GEHEIM 4711081547110815")
    files = {"enhanced": file_bytes(telling(enhanced(hu, range(12))))}
    for name in ("a.nii", "a.mha", "a.nrrd"):
        sitk.WriteImage(image, str(tmp_path / name))
        files[name] = (tmp_path / name).read_bytes()
    files["a.mha"] = files["a.mha"].replace(
        b"ObjectType = Image\n", b"ObjectType = Image\nComment = GEHEIM\n"
    )
    files["b.mha"] = files["a.mha"].replace(b"DimSize = 64", b"DimSize = GEHEIM")
    files["c.mha"] = files["a.mha"].replace(b"MET_SHORT", b"GEHEIM")
    files["d.mha"] = files["a.mha"].replace(b"LOCAL", b"GEHEIM")
    files["b.nrrd"] = files["a.nrrd"].replace(b"type: short", b"type: GEHEIM")
    files["c.nrrd"] = files["a.nrrd"].replace(b"encoding: ", b"encoding: GEHEIM")
    files["d.nrrd"] = files["a.nrrd"].replace(b"sizes: 64", b"sizes: GEHEIM")
    assert all(b"GEHEIM" in data for data in files.values())
    rng = np.random.default_rng(0)
    folder = tmp_path / "in"
    folder.mkdir()
    for name, data in files.items():
        variants = [data, data[:200], data[:1000], data[:-5000]]
        for _ in range(12):
            buffer = bytearray(data)
            for place in rng.integers(0, 1500, 6):
                buffer[place] = rng.integers(256)
            variants.append(bytes(buffer))
        for place, variant in enumerate(variants):
            (folder / f"{name}.{place}").write_bytes(variant)
    with zipfile.ZipFile(folder / "z.zip", "w") as archive:
        archive.writestr("x", files["enhanced"][:-2000])
        archive.comment = b"GEHEIM"
    results = list(read([folder]))
    assert len(results) > 100  # those that are slices of one study are one result
    for result in results:
        flags = [asdict(flag) for flag in result.scan.remarks] if result.scan else []
        facts = result.scan.facts if result.scan else None
        check(f"{result.content} {flags} {facts} {result.error!r} {result.error}", result.name)
    assert capfd.readouterr() == ("", "")
    check(caplog.text, "logged")
