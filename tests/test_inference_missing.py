from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest
import SimpleITK

from bundles import slice_model
from chests import SPACING_MM, chest
from ct_series import write_series
from pulmoscope.core.errors import InputError, UnsuitableError
from pulmoscope.core.types import Diagnosis, Flag, FlagLevel, FloatArray, Modality, Scan, SourceFile, Units
from pulmoscope.inference import look
from pulmoscope.inference.missing import imputed, missing_flags
from pulmoscope.io import entries, read_scan, studies
from pulmoscope.io.studies import paths
from pulmoscope.pipeline.choice import Models
from pulmoscope.pipeline.diagnose import diagnose_many
from pulmoscope.pipeline.diagnose_ct import diagnose_ct
from pulmoscope.pipeline.outputs import save
from pulmoscope.pipeline.pictures.ct import ct_pictures, slice_files
from pulmoscope.pipeline.pictures.xray import IMPUTED, outlined
from pulmoscope.pipeline.runs.run import Run
from pulmoscope.quality.filled import fill_missing
from pulmoscope.runtime.model import Model
from pulmoscope.segment.ct_lungs import LungMask
from pulmoscope.segment.lungs import lungs_of
from refusals import refused

SCHEMAS = Path(__file__).resolve().parents[1] / "docs" / "schemas"
HOLE = np.s_[40:80, 20:60]
"""Over the right lung of the drawn chest."""


def hu(*damaged: int, value: float = -1024) -> FloatArray:
    """The drawn chest, a hole in some slices."""
    drawn = np.rint(chest().hu).clip(-1024, 3071).astype(np.float32)
    for index in damaged:
        drawn[index][HOLE] = value
    return drawn


def scan_of(pixels: FloatArray, *remarks: Flag) -> Scan:
    files = (SourceFile("chest.nii.gz", "0" * 64),)
    return Scan("chest", Modality.CT, pixels, files, SPACING_MM, Units.HU, remarks=remarks)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return slice_model(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def damaged(model: Model) -> Diagnosis:
    return diagnose_ct(scan_of(hu(28, 29, 35, value=0)), model)


def codes(own: Diagnosis) -> dict[str, FlagLevel]:
    return {flag.code: flag.level for flag in own.quality.flags}


def test_what_is_missing_is_filled_and_the_rest_stays() -> None:
    pixels = hu(28, 29, 35)
    own = fill_missing(scan_of(pixels))
    assert own.missing is not None
    assert own.missing.slices == (28, 29, 35)
    assert own.mask is not None
    assert int(own.mask.sum()) == 3 * 40 * 40
    np.testing.assert_array_equal(own.scan.pixels[~own.mask], pixels[~own.mask])
    whole = hu()
    # One slice from its two neighbours; of two in a row, each by thirds.
    between = (whole[34][HOLE] + whole[36][HOLE]) / 2
    np.testing.assert_allclose(own.scan.pixels[35][HOLE], between, atol=0.01)
    thirds = (2 * whole[27][HOLE] + whole[30][HOLE]) / 3
    np.testing.assert_allclose(own.scan.pixels[28][HOLE], thirds, atol=0.01)


def test_a_whole_scan_stays_what_it_is() -> None:
    scan = scan_of(hu())
    own = fill_missing(scan)
    assert own.scan is scan
    assert (own.missing, own.mask, own.slice_fraction(3)) == (None, None, 0.0)
    assert missing_flags(own, lungs_of(scan)) == ()
    assert imputed(own, None) is None


def test_lungs_of_a_damaged_scan_are_looked_for_once_as_it_is_and_once_filled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def counted(scan: Scan) -> LungMask | None:
        asked.append(scan)
        return lungs_of(scan)

    monkeypatch.setattr(look, "lungs_of", counted)
    scan = scan_of(hu(28, 29, 35))
    seen = look.look_at(scan)
    expected, found = lungs_of(scan), seen.raw_lungs
    assert expected is not None
    assert found is not None
    assert seen.lungs is not None
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert (found.labels != seen.lungs.labels).any()
    assert [one is scan for one in asked] == [True, False]


def test_pictures_are_not_fill_missing() -> None:
    grey = replace(scan_of(np.zeros((3, 64, 64), dtype=np.float32)), units=Units.GREY, spacing_mm=None)
    own = fill_missing(grey)
    assert own.scan is grey
    assert own.slice_fraction(0) is None


def test_the_flag_tells_what_how_much_and_with_what_it_was_filled() -> None:
    own = fill_missing(scan_of(hu(28, 29, 35)))
    lungs = lungs_of(own.scan)
    assert lungs is not None
    (flag,) = missing_flags(own, lungs)
    assert (flag.code, flag.level) == ("missing-data", FlagLevel.WARN)
    shows_lung = lungs.labels.any(axis=(1, 2))
    share = 3 * 1600 / (shows_lung.sum() * chest().body[30].sum())
    told = re.search(r"3 of 60 .* dark block in 3; (\d\.\d) % .* imputer linear", flag.finding)
    assert told is not None
    assert float(told[1]) == pytest.approx(100 * share, abs=0.1)
    found = imputed(own, lungs)
    assert found is not None
    assert found.fraction == pytest.approx(share, rel=0.05)
    assert (found.slices, found.imputer) == (3, "linear")


def test_slices_that_are_not_there_are_told_besides() -> None:
    gap = Flag("missing-slices", FlagLevel.WARN, "1 slice is missing")
    (alone,) = missing_flags(fill_missing(scan_of(hu(30))), None)
    (besides,) = missing_flags(fill_missing(scan_of(hu(30), gap)), None)
    assert (besides.code, besides.rule) == (alone.code, alone.rule)
    assert besides.finding.startswith(alone.finding)
    assert besides.finding != alone.finding


@pytest.mark.parametrize(
    ("slices", "found"),
    [
        (tuple(range(10, 50, 3)), None),  # holes in 14 of 49 slices with lung
        (tuple(range(10, 50, 4)), ()),  # in 10 of them
    ],
)
def test_too_many_holes_are_refused(slices: tuple[int, ...], found: tuple[str, ...] | None) -> None:
    own = fill_missing(scan_of(hu(*slices)))
    refused = [flag for flag in missing_flags(own, lungs_of(own.scan)) if flag.level is FlagLevel.REFUSE]
    assert (refused == []) == (found == ())
    if refused:
        assert refused[0].code == "too-much-missing"
        # 14 x 1,600 of 49 slices' body; 14 / 49
        assert re.search(r"6\.\d %.* 29 %", refused[0].finding)
        assert re.search(r"10 % .* 25 %", refused[0].rule)


def test_too_much_of_the_body_is_refused() -> None:
    pixels = hu()
    pixels[20:27] = 0  # 7 of 51 slices, whole
    own = fill_missing(scan_of(pixels))
    flags = {flag.code: flag.finding for flag in missing_flags(own, lungs_of(own.scan))}
    assert "constant slice in 7" in flags["missing-data"]
    assert re.search(r"1\d\.\d %.* 1\d %", flags["too-much-missing"])


def test_a_diagnosis_says_what_was_filled(damaged: Diagnosis, model: Model) -> None:
    assert codes(damaged)["missing-data"] is FlagLevel.WARN
    assert "too-much-missing" not in codes(damaged)
    assert damaged.imputed is not None
    assert damaged.imputed.slices == 3
    shares = [own.missing_fraction for own in damaged.slices]
    assert [index for index, share in enumerate(shares) if share] == [28, 29, 35]
    assert shares[29] == pytest.approx(1600 / chest().body[29].sum(), rel=0.05)
    whole = diagnose_ct(scan_of(hu()), model)
    assert whole.imputed is None
    assert {own.missing_fraction for own in whole.slices} == {0.0}
    # The block of water is not taken for disease, nor for a hole in the lungs.
    for before, after in zip(whole.slices, damaged.slices, strict=True):
        assert after.lung_fraction == pytest.approx(before.lung_fraction, abs=0.01)
        assert after.dense_fraction == pytest.approx(before.dense_fraction, abs=0.02)
    assert whole.severity is not None
    assert damaged.severity is not None
    assert damaged.severity.percent_affected == pytest.approx(whole.severity.percent_affected, abs=1)
    assert any("of the lung was not observed" in limit for limit in damaged.severity.limits)


def test_files_and_page_tell_it(damaged: Diagnosis, tmp_path: Path) -> None:
    plain = save(damaged, tmp_path)
    jsonschema.validate(plain, json.loads((SCHEMAS / "diagnosis.schema.json").read_text()))
    assert damaged.imputed is not None
    assert plain["quality"]["imputed"] == {
        "fraction": damaged.imputed.fraction,
        "slices": 3,
        "imputer": "linear",
    }
    assert plain["slices"][35]["missing_fraction"] > 0.1
    assert plain["slices"][34]["missing_fraction"] == 0
    page = (tmp_path / "report.html").read_text()
    assert "3 of 60 slices lack data" in page
    assert page.count("Outlined in green: not measured, but filled in, which is a guess.") >= 3
    assert page.count('<rect class="imputed"') == 3
    assert "of it filled in" in page
    row = (tmp_path / "slices.csv").read_text().splitlines()[1 + 35].split(",")
    header = (tmp_path / "slices.csv").read_text().splitlines()[0].split(",")
    assert float(row[header.index("missing_fraction")]) == pytest.approx(
        plain["slices"][35]["missing_fraction"]
    )


def test_a_slice_without_observed_lung_has_no_share_of_lesion(model: Model, tmp_path: Path) -> None:
    pixels = hu()
    pixels[30] = -1024
    found = diagnose_ct(scan_of(pixels), model, wanted=lambda _: False)
    assert found.slices[30].lung_fraction  # of what was filled in
    lacking = [own.index for own in found.slices if own.lesion_fraction is None]
    assert lacking == [own.index for own in found.slices if own.index == 30 or not own.lung_fraction]
    plain = save(found, tmp_path)
    jsonschema.validate(plain, json.loads((SCHEMAS / "diagnosis.schema.json").read_text()))
    assert plain["slices"][30]["lesion_fraction"] is None
    assert plain["slices"][29]["lesion_fraction"] == found.slices[29].lesion_fraction
    rows = list(csv.DictReader((tmp_path / "slices.csv").read_text().splitlines()))
    assert (rows[30]["lesion_fraction"], rows[30]["missing_fraction"]) == ("", "1.000000")
    assert rows[29]["lesion_fraction"] != ""
    page = (tmp_path / "report.html").read_text()
    assert "nan %" not in page


def test_pictures_show_what_was_filled_by_its_outline(damaged: Diagnosis) -> None:
    shown = replace(damaged, explanations=tuple(replace(own, index=35) for own in damaged.explanations[:1]))
    for content in dict(slice_files(shown)).values():
        picture = cv2.cvtColor(
            cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB
        )
        green = (picture == IMPUTED).all(axis=2)
        np.testing.assert_array_equal(np.argwhere(green).min(axis=0), [40, 20])
        np.testing.assert_array_equal(np.argwhere(green).max(axis=0), [79, 59])
        assert not green[42:78, 22:58].any()
        assert green[40, 20:60].all()
    assert ct_pictures(replace(damaged, imputed=None)).imputed == ""
    assert ct_pictures(damaged).imputed


@pytest.mark.parametrize("side", [512, 100])
def test_dropped_rows_have_one_line_around_them(side: int) -> None:
    rows = np.zeros((512, 512), dtype=bool)
    rows[100:400:4] = True
    marked = (outlined(np.zeros((side, side), dtype=np.uint8), rows) == IMPUTED).all(axis=2)
    lines = np.flatnonzero(marked[:, side // 2])
    assert lines.min() == pytest.approx(100 * side / 512, abs=1)
    assert lines.max() == pytest.approx(396 * side / 512, abs=1)
    assert len(lines) < 0.1 * side
    whole = (outlined(np.zeros((8, 8), dtype=np.uint8), np.ones((8, 8), dtype=bool)) == IMPUTED).all(axis=2)
    assert whole[0].all()
    assert not whole[1:7, 1:7].any()
    grey = np.zeros((4, 4), dtype=np.uint8)
    assert outlined(grey, None) is grey
    assert outlined(grey, np.zeros((4, 4), dtype=bool)) is grey


def write(path: Path, pixels: FloatArray) -> Path:
    image = SimpleITK.GetImageFromArray(pixels.astype(np.int16))
    image.SetSpacing(SPACING_MM[::-1])
    SimpleITK.WriteImage(image, str(path))
    return path


def test_ruined_volumes_end_in_one_line_or_in_a_referral(model: Model, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 400, (20, 64, 64)).clip(-1024, 3071)
    half = hu()
    half[::2] = -1024
    volumes = {
        "empty": np.full((20, 64, 64), -1024),
        "zero": np.zeros((20, 64, 64)),
        "noise": noise,
        "halves": np.where(np.arange(64) < 32, -1000, 40) * np.ones((20, 64, 1)),
        "every-other": half,
        "slab": hu()[:4],
    }
    for name, pixels in volumes.items():
        write(tmp_path / f"{name}.nii.gz", np.asarray(pixels, dtype=np.float32))
    listed = list(entries([tmp_path]))
    outcomes = {
        Path(own.path).name.split(".")[0]: own
        for own in diagnose_many(studies(listed), Run(Models.only(model), tmp_path / "out"), paths(listed))
    }
    assert set(outcomes) == set(volumes)
    for name, outcome in outcomes.items():
        if outcome.error is not None:
            assert isinstance(outcome.error, InputError), name
            assert "\n" not in str(outcome.error)
            assert name in str(outcome.error)
        else:
            assert outcome.plain is not None
            assert outcome.plain["prediction"]["decision"] == "refer", name
            assert outcome.plain["quality"]["flags"], name
    found = outcomes["every-other"].plain
    assert found is not None
    refusing = [flag for flag in found["quality"]["flags"] if flag["level"] == "refuse"]
    assert refusing[-1]["code"] == "too-much-missing"
    assert refusing[0]["finding"] in found["prediction"]["reason"]
    for name in ("empty", "zero"):
        assert outcomes[name].error is not None


def test_a_scan_of_which_nothing_is_left_is_refused(model: Model) -> None:
    nothing = scan_of(np.full((8, 64, 64), 40, dtype=np.float32))
    with refused(UnsuitableError, "blank") as caught:
        diagnose_ct(nothing, model)
    assert caught.value.file == "chest.nii.gz"


def test_a_dicom_series_with_a_hole_is_filled(model: Model, tmp_path: Path) -> None:
    pixels = hu()
    pixels[30, 50:66, 25:41] = -1024
    tags = {"PixelSpacing": [2.5, 2.5], "SliceThickness": 5.0}
    write_series(tmp_path / "chest", pixels.astype(np.int16), **tags)
    found = diagnose_ct(read_scan(tmp_path / "chest"), model, wanted=lambda _: False)
    assert [own.index for own in found.slices if own.missing_fraction] == [30]
    assert "missing-data" in codes(found)
