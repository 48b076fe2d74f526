"""Which series of a study is read, by the stated rules, and what is told of the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from ct_series import drawn_hu, enhanced, file_bytes, item, slice_datasets, write_slices
from pulmoscope.core.errors import UnsuitableError
from pulmoscope.io import Entry, read, read_scan
from pulmoscope.io.ct.choice import choose
from pulmoscope.io.ct.header import SliceHeader, Storage
from refusals import figures, refused

HU = drawn_hu(12)
SR, CAPTURE = "1.2.840.10008.5.1.4.1.1.88.67", "1.2.840.10008.5.1.4.1.1.7"


def series(number: int, seed: int = 0, **elements: Any) -> list[Dataset]:
    """A series of the same study whose pixels are its own."""
    hu = drawn_hu(12, seed=seed)
    return slice_datasets(hu, SeriesNumber=number, SeriesInstanceUID=f"1.2.3.{number}", **elements)


def object_of(sop_class: str, modality: str) -> Dataset:
    """A small object of the same study that is no CT image."""
    dataset = slice_datasets(HU[:1], SeriesInstanceUID="1.2.9")[0]
    dataset.SOPClassUID, dataset.Modality, dataset.SOPInstanceUID = sop_class, modality, generate_uid()
    return dataset


def written(folder: Path, *parts: list[Dataset]) -> Path:
    for number, datasets in enumerate(parts):
        write_slices(folder, datasets, seed=number, prefix=f"{number}_")
    return folder


def chosen_seed(folder: Path, uid: str = "") -> int:
    pixels = read_scan(folder, series=uid).pixels
    return next(seed for seed in range(4) if np.array_equal(pixels, drawn_hu(12, seed=seed)))


ABDOMEN = {"BodyPartExamined": "ABDOMEN"}
CONTRAST = {"ContrastBolusAgent": "Secret agent"}


def with_contrast_sequence() -> list[Dataset]:
    return series(1, 0, ContrastBolusAgentSequence=[item(CodeValue="SECRET")])


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        (series(1, 0, **CONTRAST), series(2, 1, ConvolutionKernel="SOFT")),  # contrast comes first of all
        (with_contrast_sequence(), series(2, 1)),
        (series(1, 0, ConvolutionKernel="B31f"), series(2, 1)),
        (series(1, 0), series(2, 1, ConvolutionKernel="B70f")),
        (series(1, 0, ConvolutionKernel="SOFT"), series(2, 1, ConvolutionKernel="LUNG")),
        (series(2, 0), series(1, 1)),  # all else equal: the lower number
        (series(1, 0, **ABDOMEN), series(2, 1)),
        (series(1, 0)[:9], series(2, 1)),  # nine slices are no series
        (series(1, 0, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), series(2, 1)),
        (series(1, 0, ImageOrientationPatient=[1, 0, 0, 0, 0, -1]), series(2, 1)),  # coronal
        (series(1, 0, ImageOrientationPatient=[0, 1, 0, 0, 0, -1]), series(2, 1)),  # sagittal
        (series(1, 0, BitsAllocated=32), series(2, 1)),
        (series(1, 0, ImageType=["DERIVED", "PRIMARY", "AXIAL", "CT_SOM5 MIP"]), series(2, 1, **CONTRAST)),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_the_better_of_two_is_read(
    worse: list[Dataset], better: list[Dataset], turned: bool, tmp_path: Path
) -> None:
    written(tmp_path, *((better, worse) if turned else (worse, better)))
    assert chosen_seed(tmp_path) == 1
    (flag,) = (flag for flag in read_scan(tmp_path).remarks if flag.code == "other-series")
    assert figures(flag.finding) == (1,)


STORAGE = Storage("1.2.840.10008.1.2.1", 64, 64, 16, 12, False, 1, 1000)  # type: ignore[arg-type]


def headers(uid: str, count: int, step: float, **fields: Any) -> list[SliceHeader]:
    """Headers of an axial series."""
    plain = SliceHeader(
        Entry("x", "x", Path("x")),
        storage=STORAGE,
        series=uid,
        orientation=(1, 0, 0, 0, 1, 0),
        spacing_mm=(5, 5),
        slope=1,
        intercept=0,
        part="chest",
        series_number=1,
    )
    return [replace(plain, position_mm=(0, 0, index * step), **fields) for index in range(count)]


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        # 149 mm of the body against 150 mm, though more slices.
        (headers("a", 150, 1), headers("b", 61, 2.5)),
        # A distance of 0.9 to 3 mm, though fewer slices.
        (headers("a", 400, 0.89), headers("b", 168, 0.9)),
        (headers("a", 100, 3.1), headers("b", 60, 3.0)),
        (headers("a", 160, 1), headers("b", 161, 1)),
        # A lung kernel, though thick.
        (headers("a", 200, 1, kernel="soft"), headers("b", 50, 5, kernel="lung")),
        (headers("a", 200, 1, contrast=True), headers("b", 12, 1)),
        # Slices twice at one position do not count twice.
        (headers("a", 160, 1) * 2, headers("b", 161, 1)),
    ],
)
def test_rules_at_their_borders(worse: list[SliceHeader], better: list[SliceHeader]) -> None:
    for together in (worse + better, better + worse):
        chosen, flags = choose("x", together)
        assert {header.series for header in chosen} == {"b"}
        assert (flags[0].code, figures(flags[0].finding)) == ("other-series", (1,))


def test_axial_to_37_degrees() -> None:
    def tilted(cosine: float) -> list[SliceHeader]:
        return headers("a", 20, 5, orientation=(1, 0, 0, 0, cosine, (1 - cosine**2) ** 0.5))

    assert choose("x", tilted(0.8 + 1e-9))[0]
    with refused(UnsuitableError, "no-chest-series"):
        choose("x", tilted(0.79))


def test_the_users_series_overrides_all_rules(tmp_path: Path) -> None:
    written(tmp_path, series(1, 0), series(2, 1, **ABDOMEN))
    assert chosen_seed(tmp_path) == 0
    assert chosen_seed(tmp_path, "1.2.3.2") == 1
    with refused(UnsuitableError, "series-not-found") as caught:
        read_scan(tmp_path, series="1.2.3.77")
    assert figures(caught.value.finding) == (2,)
    assert "1.2.3" not in str(caught.value)


def test_what_else_a_study_holds_is_counted(tmp_path: Path) -> None:
    localizer = series(1, 0, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])[:2]
    others = [object_of(SR, "SR"), object_of(CAPTURE, "OT"), object_of(CAPTURE, "CT")]
    written(tmp_path, localizer, series(2, 1), series(3, 0, **ABDOMEN), others)
    (flag,) = read_scan(tmp_path).remarks
    assert flag.code == "other-series"
    assert figures(flag.finding) == (1, 1, 3)  # localizers; of another part of the body; no images of the CT


def test_a_localizer_in_the_series_of_its_slices(tmp_path: Path) -> None:
    localizer = series(2, 0, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])[:2]
    for dataset in localizer:
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
        dataset.InstanceNumber = 0
    written(tmp_path, localizer, series(2, 1))
    scan = read_scan(tmp_path)
    assert scan.remarks == ()
    np.testing.assert_array_equal(scan.pixels, drawn_hu(12, seed=1))


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ([series(1, ImageType=["X", "SCOUT"])], (1,)),
        ([series(1)[:4]], (1,)),
        ([series(1, **ABDOMEN)], (1,)),
        ([series(1, BodyPartExamined=None, StudyDescription="Head, Secret^Name")], (1,)),
        (
            [series(1)[:4], series(2)[:5], series(3, **ABDOMEN)],
            (2, 1),
        ),  # too short; of another part of the body
        ([series(1, ImageOrientationPatient=[1, 0, 0, 0, 0, -1])], (1,)),
    ],
)
def test_a_study_without_a_series_that_will_do_is_refused(
    parts: list[list[Dataset]], found: tuple[int, ...], tmp_path: Path
) -> None:
    (result,) = read([written(tmp_path, *parts)])
    assert isinstance(result.error, UnsuitableError)
    assert result.error.code == "no-chest-series"
    assert figures(result.error.finding) == found
    assert "Secret" not in str(result.error)


@pytest.mark.parametrize(
    ("elements", "codes"),
    [
        ({"BodyPartExamined": None, "SeriesDescription": "Thorax 2.0"}, []),
        ({"BodyPartExamined": None}, ["body-part-unknown"]),
        ({"BodyPartExamined": "ABDOMEN CHEST"}, []),
    ],
)
def test_the_part_of_the_body(elements: dict[str, Any], codes: list[str], tmp_path: Path) -> None:
    scan = read_scan(written(tmp_path, series(1, **elements)))
    assert [flag.code for flag in scan.remarks] == codes


@pytest.mark.parametrize(
    ("image_type", "kind"),
    [
        ("DERIVED\\PRIMARY\\AXIAL\\CT_SOM5 MIP", "maximum"),
        ("DERIVED\\SECONDARY\\MIP", "maximum"),
        ("DERIVED\\PRIMARY\\VOLUME\\MAXIMUM", "maximum"),
        ("DERIVED\\SECONDARY\\AXIAL\\MINIP", "minimum"),
        ("DERIVED\\SECONDARY\\MIN_IP", "minimum"),
        ("DERIVED\\SECONDARY\\MIN IP", "minimum"),
        ("DERIVED\\SECONDARY\\REFORMATTED\\AVERAGE", "average"),
        ("DERIVED\\PRIMARY\\VOLUME\\MEAN", "average"),
        ("DERIVED\\PRIMARY\\AXIAL\\CT_SOM5 MPR", "reformat"),
        ("derived\\secondary\\mpr", "reformat"),
        ("DERIVED\\SECONDARY\\REFORMATTED", "reformat"),
        ("DERIVED\\SECONDARY\\VRT", "rendering"),
    ],
)
def test_projections_and_reformats_are_refused(image_type: str, kind: str, tmp_path: Path) -> None:
    written(tmp_path, series(1, ImageType=image_type.split("\\")))
    for uid in ("", "1.2.3.1"):
        with refused(UnsuitableError, "projection") as caught:
            read_scan(tmp_path, series=uid)
        assert kind in caught.value.finding


@pytest.mark.parametrize(
    ("image_type", "codes"),
    [
        ("ORIGINAL\\PRIMARY\\AXIAL\\CT_SOM5 SPI", []),
        ("ORIGINAL\\PRIMARY\\AXIAL\\HELIX", []),
        ("DERIVED\\PRIMARY\\AXIAL", ["derived"]),
        ("DERIVED\\SECONDARY\\AXIAL\\COMPRESSED", ["derived"]),
        ("DERIVED\\SECONDARY\\AXIAL\\SIMPLE", ["derived"]),  # MPLE is no MIP
    ],
)
def test_derived_alone_is_a_remark(image_type: str, codes: list[str], tmp_path: Path) -> None:
    scan = read_scan(written(tmp_path, series(1, ImageType=image_type.split("\\"))))
    assert [(flag.code, flag.level.value) for flag in scan.remarks] == [(code, "info") for code in codes]


@pytest.mark.parametrize(
    "elements",
    [
        {"FrameType": ["DERIVED", "PRIMARY", "VOLUME", "MAXIMUM"]},
        {
            "FrameType": ["DERIVED", "PRIMARY", "VOLUME", "NONE"],
            "VolumeBasedCalculationTechnique": "MPR",
        },
    ],
)
def test_the_frame_type_of_an_enhanced_ct(elements: dict[str, Any], tmp_path: Path) -> None:
    dataset = enhanced(HU, range(12))
    for groups in (dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence):
        for group in groups:
            if "CTImageFrameTypeSequence" in group:
                group.CTImageFrameTypeSequence = [item(**elements)]
    (tmp_path / "a.dcm").write_bytes(file_bytes(dataset))
    with refused(UnsuitableError, "projection"):
        read_scan(tmp_path / "a.dcm")
