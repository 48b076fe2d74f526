"""The rules by which the slices of a series belong together: every count and gap derived by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ct_series import drawn_hu, item, slice_datasets, write_series, write_slices
from pulmoscope.core.errors import UnreadableError, UnsuitableError
from pulmoscope.core.types import Flag, FlagLevel
from pulmoscope.io import Entry, read_scan
from pulmoscope.io.ct.header import SliceHeader, Storage
from pulmoscope.io.ct.stack import Stack, geometry, spacing_flags, stack, usual_step
from refusals import figures, refused

STORAGE = Storage("1.2.840.10008.1.2.1", 64, 64, 16, 12, False, 1, 1000)  # type: ignore[arg-type]


def headers(heights: list[float], **fields: Any) -> list[SliceHeader]:
    """Axial slices at given heights, numbered downwards."""
    plain = SliceHeader(
        Entry("x", "x", Path("x")),
        storage=STORAGE,
        patient="SECRET",
        orientation=(1, 0, 0, 0, 1, 0),
        spacing_mm=(5, 5),
        slope=1,
        intercept=-1024,
        part="chest",
    )
    return [
        replace(plain, **{"position_mm": (10, 20, height), "instance": 100 - index} | fields)
        for index, height in enumerate(heights)
    ]


def steps(count: int, step: float = 2.0) -> list[float]:
    return [index * step for index in range(count)]


def flags_of(stacked: Stack) -> dict[str, Flag]:
    return {flag.code: flag for flag in stacked.flags}


def changed(count: int, places: list[int], change: Callable[[SliceHeader], SliceHeader]) -> list[SliceHeader]:
    return [
        change(header) if index in places else header for index, header in enumerate(headers(steps(count)))
    ]


def test_slices_are_put_in_order_and_nothing_is_said() -> None:
    given = headers(steps(12))
    stacked = stack("x", [given[place] for place in np.random.default_rng(0).permutation(12)])
    assert stacked.headers == tuple(given)
    assert stacked.heights_mm == tuple(steps(12))
    assert (stacked.step_mm, stacked.flags) == (2.0, ())


# Of slices every 2 mm these are missing; expected: count, gaps, the largest gap, and whether the study is referred.
@pytest.mark.parametrize(
    ("count", "missing", "found", "severity"),
    [
        (20, [5], (1, 1, 4), FlagLevel.WARN),
        (40, [5, 6, 20], (3, 2, 6), FlagLevel.WARN),
        (100, list(range(40, 49)), (9, 1, 20), FlagLevel.WARN),
        (100, list(range(40, 50)), (10, 1, 22), FlagLevel.REFUSE),
        # A tenth of all that should be there, and one more.
        (20, [5, 9], (2, 2, 4), FlagLevel.WARN),
        (20, [5, 9, 14], (3, 3, 4), FlagLevel.REFUSE),
    ],
)
def test_missing_slices(count: int, missing: list[int], found: tuple[int, ...], severity: FlagLevel) -> None:
    heights = [height for index, height in enumerate(steps(count)) if index not in missing]
    (flag,) = spacing_flags(heights, usual_step(heights))
    assert (flag.code, flag.level) == ("missing-slices", severity)
    assert figures(flag.finding) == found
    assert figures(flag.rule) == (2,)  # mm between slices


@pytest.mark.parametrize(
    ("shift", "codes", "severity"),
    [
        (0.19, [], None),  # a tenth of a step is rounding
        (0.21, ["uneven-spacing"], FlagLevel.WARN),
        (1.0, ["uneven-spacing"], FlagLevel.WARN),
        (17.5, ["uneven-spacing"], FlagLevel.WARN),  # 19.5 mm
        (18.5, ["uneven-spacing"], FlagLevel.REFUSE),  # 20.5 mm
        (2.0, ["missing-slices"], FlagLevel.WARN),
        (2.19, ["missing-slices"], FlagLevel.WARN),
        (2.21, ["uneven-spacing"], FlagLevel.WARN),
    ],
)
def test_uneven_spacing(shift: float, codes: list[str], severity: FlagLevel | None) -> None:
    heights = [height + shift * (index >= 10) for index, height in enumerate(steps(30))]
    found = spacing_flags(heights, 2.0)
    assert [flag.code for flag in found] == codes
    assert [flag.level for flag in found] == [severity] * len(codes)


def test_one_slice_half_a_step_off_is_uneven() -> None:
    heights = steps(20)
    heights[7] += 1.0
    (flag,) = spacing_flags(heights, usual_step(heights))
    assert flag.code == "uneven-spacing"
    assert figures(flag.finding) == (1, 3)  # mm, the least and the largest step


def test_positions_that_were_rounded_are_even() -> None:
    heights = [round(0.625 * index, 1) for index in range(100)]
    assert spacing_flags(heights, 0.625) != []  # 0.6 and 0.7 differ by more than a tenth of a step ...
    heights = [round(1.25 * index, 1) for index in range(100)]
    assert spacing_flags(heights, usual_step(heights)) == []  # ... and 1.2 and 1.3 do not


@pytest.mark.parametrize("count", [9, 10])
def test_at_least_ten_slices(count: int) -> None:
    if count == 10:
        assert len(stack("x", headers(steps(count))).headers) == 10
        return
    with refused(UnsuitableError, "too-few-slices") as caught:
        stack("x", headers(steps(count)))
    assert figures(caught.value.finding) == (9,)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda header: replace(header, storage=None), "incomplete-slices"),
        (lambda header: replace(header, position_mm=None), "incomplete-slices"),
        (lambda header: replace(header, orientation=None), "incomplete-slices"),
        (lambda header: replace(header, spacing_mm=None), "incomplete-slices"),
        (lambda header: replace(header, slope=None), "incomplete-slices"),
        (lambda header: replace(header, intercept=None), "incomplete-slices"),
        (lambda header: replace(header, storage=replace(STORAGE, rows=32)), "mixed-series"),
        (lambda header: replace(header, orientation=(0.96, 0.28, 0, -0.28, 0.96, 0)), "mixed-series"),
        (lambda header: replace(header, spacing_mm=(5, 5.001)), "mixed-series"),
        (lambda header: replace(header, slope=1.01), "mixed-series"),
        (lambda header: replace(header, intercept=-1000), "mixed-series"),
        (lambda header: replace(header, position_mm=(11.01, 20, header.height_mm)), "shifted-slices"),
        (lambda header: replace(header, position_mm=(10, 18.99, header.height_mm)), "shifted-slices"),
    ],
)
@pytest.mark.parametrize("places", [[0], [7], [19], [3, 8, 9, 10, 15]])
def test_slices_that_have_no_place_are_left_out(
    change: Callable[[SliceHeader], SliceHeader], code: str, places: list[int]
) -> None:
    given = changed(20, places, change)
    stacked = stack("x", given)
    assert [flag.code for flag in stacked.flags] == [code]
    assert figures(stacked.flags[0].finding)[0] == len(places)
    assert list(stacked.headers) == [header for index, header in enumerate(given) if index not in places]


def test_a_quarter_that_has_no_place_passes_and_more_is_refused() -> None:
    def shifted(header: SliceHeader) -> SliceHeader:
        return replace(header, position_mm=(40, 20, header.height_mm))

    for change in (
        lambda header: replace(header, slope=2),
        shifted,
        lambda header: replace(header, slope=None),
    ):
        assert len(stack("x", changed(20, [1, 5, 6, 12, 18], change)).headers) == 15
        with refused(UnreadableError, "too-many-bad-slices") as caught:
            stack("x", changed(20, [1, 5, 6, 12, 13, 18], change))
        assert figures(caught.value.finding) == (6, 20)


@pytest.mark.parametrize(
    "field", ["storage", "position_mm", "orientation", "spacing_mm", "slope", "intercept"]
)
def test_a_series_without_what_every_slice_needs_is_refused(field: str) -> None:
    with refused(UnreadableError, "missing-tags"):
        stack("x", headers(steps(20), **{field: None}))


def test_a_millimetre_beside_the_line_is_rounding() -> None:
    given = changed(20, [7], lambda header: replace(header, position_mm=(10.99, 20, header.height_mm)))
    assert stack("x", given).flags == ()


def test_small_differences_of_orientation_and_spacing_are_rounding() -> None:
    given = changed(
        20, [7], lambda h: replace(h, orientation=(1, 0.0002, 0, 0, 1, 0), spacing_mm=(5.00001, 5))
    )
    assert stack("x", given).flags == ()


def test_copies_and_other_slices_at_one_position() -> None:
    given = headers(steps(20))
    twice = replace(given[4], instance=200, entry=Entry("copy", "c", Path("c")))
    earlier = replace(given[9], instance=1, entry=Entry("earlier", "e", Path("e")))
    stacked = stack("x", [twice, *given, earlier])
    assert figures(flags_of(stacked)["duplicate-positions"].finding) == (2,)
    assert stacked.headers[4].entry.name == "x"
    assert stacked.headers[9].entry.name == "earlier"  # the lower number counts
    near = [replace(given[4], position_mm=(10, 20, 8.04)), replace(given[6], position_mm=(10, 20, 12.06))]
    assert len(stack("x", [*given, *near]).headers) == 21


def test_several_acquisitions() -> None:
    first = [replace(header, acquisition=1) for header in headers(steps(20))]
    second = [replace(header, acquisition=2, instance=header.instance + 40) for header in headers(steps(18))]
    stacked = stack("x", [*second, *first])
    assert stacked.headers == tuple(first)
    assert figures(flags_of(stacked)["several-acquisitions"].finding) == (18,)
    # Two acquisitions that follow each other are one series.
    after = [replace(header, acquisition=1 + index // 10) for index, header in enumerate(headers(steps(20)))]
    assert stack("x", after).flags == ()
    # Two positions of twenty that are there twice are a tenth; one is a duplicate.
    two = [replace(header, acquisition=2) for header in first[:2]]
    assert "several-acquisitions" in flags_of(stack("x", [*first, *two]))
    assert "duplicate-positions" in flags_of(stack("x", [*first, *two[:1]]))


@pytest.mark.parametrize("degrees", [0.5, 1.5, 15.0, 25.0])
def test_a_tilted_gantry(degrees: float, tmp_path: Path) -> None:
    # The table moves along z, the slices lean: their step is 4 mm along z, and across them 4 cos(tilt).
    tilt = math.radians(degrees)
    datasets = slice_datasets(
        drawn_hu(14), ImageOrientationPatient=[1, 0, 0, 0, round(math.cos(tilt), 6), round(math.sin(tilt), 6)]
    )
    write_slices(tmp_path, datasets)
    scan = read_scan(tmp_path)
    assert [flag.code for flag in scan.remarks] == (["gantry-tilt"] if degrees > 1 else [])
    assert scan.geometry is not None
    assert scan.geometry.tilt_deg == pytest.approx(degrees, abs=0.01)
    assert scan.geometry.slice_step_mm == pytest.approx((0, 0, 4))
    assert scan.spacing_mm == pytest.approx((4 * math.cos(tilt), 5, 5), abs=1e-5)
    assert scan.geometry.row_step_mm == pytest.approx((0, 5 * math.cos(tilt), 5 * math.sin(tilt)), abs=1e-5)
    np.testing.assert_array_equal(scan.pixels, drawn_hu(14))


def test_a_tilted_gantry_whose_positions_are_rounded() -> None:
    tilt = math.radians(15)
    # Along z 0.5 mm, so that one step moves the corner along the slice by 0.13 mm, of which 0.1 is left or 0.2.
    given = [
        replace(
            header,
            orientation=(1, 0, 0, 0, math.cos(tilt), math.sin(tilt)),
            position_mm=(10, round(20 + 0.134 * index, 1), round(0.5 * index, 1)),
        )
        for index, header in enumerate(headers(steps(200)))
    ]
    assert "shifted-slices" not in flags_of(stack("x", given))


def test_geometry_of_a_stack_with_gaps_is_that_of_the_whole() -> None:
    heights = [height for index, height in enumerate(steps(30)) if index not in (4, 5, 20)]
    placed = geometry(stack("x", headers(heights)))
    assert placed.origin_mm == (10, 20, 0)
    assert placed.slice_step_mm == pytest.approx((0, 0, 2))


def test_several_patients_are_refused_and_not_named() -> None:
    given = headers(steps(20))
    given[4] = replace(given[4], patient="ANOTHER")
    with refused(UnsuitableError, "several-patients") as caught:
        stack("x", given)
    assert "SECRET" not in str(caught.value)
    assert "ANOTHER" not in str(caught.value)
    given[4] = replace(given[4], patient="")
    assert len(stack("x", given).headers) == 20  # a slice that doesn't say is nobody else's


@pytest.mark.parametrize(
    ("count", "step", "fields", "code", "found"),
    [
        (20, 20.0, {}, "", ()),
        (20, 20.1, {}, "slices-far-apart", (20.1,)),
        (20, 2.0, {"spacing_mm": (1.25, 1.25)}, "", ()),
        (20, 2.0, {"spacing_mm": (1.2, 5)}, "field-of-view", (76.8, 320)),
        (
            20,
            2.0,
            {"spacing_mm": (5, 9.9), "storage": replace(STORAGE, columns=102)},
            "field-of-view",
            (320, 1010),
        ),
        (
            50,
            2.0,
            {"storage": replace(STORAGE, rows=4000, columns=4000), "spacing_mm": (0.1, 0.1)},
            "too-many-pixels",
            (50, 4000, 4000),
        ),
    ],
)
def test_sizes_that_no_chest_has(
    count: int, step: float, fields: dict[str, Any], code: str, found: tuple[float, ...]
) -> None:
    given = headers(steps(count, step), **fields)
    if not code:
        assert len(stack("x", given).headers) == count
        return
    with refused(UnsuitableError, code) as caught:
        stack("x", given)
    assert figures(caught.value.finding) == found


def test_two_slices_that_were_swapped_are_seen_by_their_numbers() -> None:
    given = headers(steps(20))
    given[4], given[11] = (
        replace(given[4], instance=given[11].instance),
        replace(given[11], instance=given[4].instance),
    )
    # 96 and 89 have changed places: …97 89 95… …90 96 88…, so that the numbers rise twice.
    flag = flags_of(stack("x", given))["numbering"]
    assert flag.level is FlagLevel.WARN
    assert figures(flag.finding) == (2,)  # steps against the others


@pytest.mark.parametrize(
    ("numbers", "found"),
    [
        (range(20), None),
        (range(20, 0, -1), None),
        ([0] * 20, None),  # not numbered
        (range(0, 40, 2), 2),  # the usual step: slices between are not there
        ([*range(8), *range(9, 21)], None),  # one is missing: its position tells
        ([*range(10, 20), *range(10)], 1),  # a step against the others
    ],
)
def test_numbering(numbers: list[int], found: int | None) -> None:
    given = [replace(header, instance=n) for header, n in zip(headers(steps(20)), numbers, strict=True)]
    flag = flags_of(stack("x", given)).get("numbering")
    assert (None if flag is None else figures(flag.finding)) == (None if found is None else (found,))


def test_frames_of_one_file_are_not_numbered() -> None:
    given = headers(list(reversed(steps(20))), storage=replace(STORAGE, frames=20))
    given[3] = replace(given[3], instance=7)
    assert stack("x", given).flags == ()


@pytest.mark.parametrize(
    ("elements", "code", "severity", "found"),
    [
        ({"ContrastBolusAgent": "SECRET agent"}, "contrast", FlagLevel.WARN, ()),
        ({"ContrastBolusAgentSequence": [item(CodeMeaning="SECRET")]}, "contrast", FlagLevel.WARN, ()),
        ({"ImagesInAcquisition": 13}, "partial", FlagLevel.WARN, (12, 13)),
        ({"SeriesDescription": "Synthetic chest CT SECRET"}, "synthetic", FlagLevel.INFO, ()),
    ],
)
def test_what_the_tags_say(
    elements: dict[str, Any], code: str, severity: FlagLevel, found: tuple[int, ...], tmp_path: Path
) -> None:
    write_series(tmp_path, drawn_hu(12), **elements)
    (flag,) = read_scan(tmp_path).remarks
    assert (flag.code, flag.level) == (code, severity)
    assert figures(flag.finding) == found
    assert "SECRET" not in flag.message


def test_as_many_images_as_the_acquisition_has_are_whole(tmp_path: Path) -> None:
    write_series(tmp_path, drawn_hu(12), ImagesInAcquisition=12)
    assert read_scan(tmp_path).remarks == ()


@pytest.mark.parametrize(
    "elements",
    [
        {"ImagePositionPatient": [0, 0]},
        {"ImagePositionPatient": [0, 0, 20_000]},
        {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
        {"ImageOrientationPatient": [2, 0, 0, 0, 1, 0]},
        {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]},
        {"PixelSpacing": [0, 5]},
        {"PixelSpacing": [-5, 5]},
        {"PixelSpacing": [5, 10]},
        {"RescaleSlope": 0},
        {"RescaleSlope": 1001},
        {"RescaleIntercept": 200_000},
        {"RescaleIntercept": None},
    ],
)
def test_tags_that_make_no_sense_cost_the_slice(elements: dict[str, Any], tmp_path: Path) -> None:
    hu = drawn_hu(14)
    datasets = slice_datasets(hu)
    for keyword, value in elements.items():
        if value is None:
            del datasets[0][keyword]
        else:
            setattr(datasets[0], keyword, value)
    write_slices(tmp_path, datasets)
    scan = read_scan(tmp_path)
    assert [flag.code for flag in scan.remarks] == ["incomplete-slices"]
    np.testing.assert_array_equal(scan.pixels, hu[1:])
