"""How much of a heat map lies within the lungs that a model's lung finder sees, and what a diagnosis says of it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from bundles import lung_preprocess, tiny_bundle
from pulmoscope.core.types import FloatArray
from pulmoscope.explain.lungs import mass_within, seen_lungs
from pulmoscope.pipeline.diagnose import diagnose
from pulmoscope.pipeline.outputs import save
from pulmoscope.runtime.maps import Maps
from pulmoscope.runtime.model import Model

ROWS, COLUMNS = 120, 160


def film() -> FloatArray:
    """Bright tissue with two dark lungs: rows 15 to 104, columns 20 to 69 and 90 to 139."""
    pixels = np.full((ROWS, COLUMNS), 0.8, dtype=np.float32)
    pixels[15:105, 20:70] = pixels[15:105, 90:140] = 0.1
    return pixels


def test_mass_within_a_region_of_the_same_and_of_another_size() -> None:
    heat = np.zeros((8, 12), dtype=np.float32)
    heat[:, :4], heat[:, 4:8] = 0.25, 0.5
    left = np.zeros((8, 12), dtype=bool)
    left[:, :6] = True
    # Of 4 * 0.25 + 4 * 0.5 a row, the left half has 4 * 0.25 + 2 * 0.5.
    assert mass_within(heat, left) == pytest.approx(2 / 3)
    assert mass_within(heat, left[::2, ::2]) == pytest.approx(2 / 3)
    assert math.isnan(mass_within(np.zeros_like(heat), left))


def test_the_lungs_are_those_of_the_finder_at_the_image_s_aspect(tmp_path: Path) -> None:
    model = Model(tiny_bundle(tmp_path, preprocess=lung_preprocess()))
    lungs = seen_lungs(model.prepare(film()), ROWS, COLUMNS)
    assert lungs is not None
    expected = film() < 0.5
    assert lungs.shape == expected.shape
    assert (lungs != expected).mean() < 0.03  # the finder sees half as many pixels a side
    large = seen_lungs(model.prepare(film()), 10 * ROWS, 10 * COLUMNS)
    assert large is not None
    assert large.shape == (384, 512)


def test_without_lungs_or_without_a_finder_none_are_known(tmp_path: Path) -> None:
    finds = Model(tiny_bundle(tmp_path / "finds", preprocess=lung_preprocess()))
    bright = np.full((ROWS, COLUMNS), 0.8, dtype=np.float32)
    bright[:20] = 0.1  # too flat for lungs
    assert seen_lungs(finds.prepare(bright), ROWS, COLUMNS) is None
    without = Model(tiny_bundle(tmp_path / "without"))
    assert seen_lungs(without.prepare(film()), ROWS, COLUMNS) is None


@pytest.mark.parametrize("kind", ["grad-cam", "rise"])
def test_a_diagnosis_says_how_much_of_the_evidence_lies_in_the_lungs(tmp_path: Path, kind: str) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", preprocess=lung_preprocess(), gain=10)
    model = Model(replace(bundle, explanation=Maps(kind)).save())
    picture = tmp_path / "film.png"
    cv2.imwrite(str(picture), np.rint(film() * 255).astype(np.uint8))
    found = diagnose(picture, model)
    assert {shown.kind for shown in found.explanations} == {kind}
    assert found.lungs is not None
    shown = found.explanations[0]
    assert shown.in_lungs == pytest.approx(mass_within(shown.heat, found.lungs))
    assert 0 < shown.in_lungs < 1
    plain = save(found, tmp_path / "out")
    assert plain["explanations"][0]["in_lungs"] == round(shown.in_lungs, 6)
    assert json.loads((tmp_path / "out" / "diagnosis.json").read_text(encoding="utf-8")) == plain
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert f"{100 * shown.in_lungs:.0f} %".replace(" ", "\u00a0") in page.replace(" %", "\u00a0%")
    assert 'id="map-lungs"' in page
    # The outline is drawn into the picture with the heat map: it is the only blue there is.
    overlaid = cv2.imread(str(tmp_path / "out" / f"heat-{shown.target}.png"))
    blue = np.argwhere((overlaid[..., 0] > 250) & (overlaid[..., 2] < 70))
    assert len(blue) > 300
    assert set(np.unique(blue[:, 1] // 80)) == {0, 1}


def test_a_model_without_a_finder_has_no_outline(tmp_path: Path) -> None:
    model = Model(tiny_bundle(tmp_path / "bundle"))
    picture = tmp_path / "film.png"
    cv2.imwrite(str(picture), np.rint(film() * 255).astype(np.uint8))
    found = diagnose(picture, model)
    assert found.lungs is None
    assert all(shown.in_lungs is None for shown in found.explanations)
    save(found, tmp_path / "out")
    assert 'id="map-lungs"' not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_class_without_evidence_is_named_as_such(tmp_path: Path) -> None:
    model = Model(tiny_bundle(tmp_path / "bundle"))
    picture = tmp_path / "film.png"
    half = film()
    half[:, COLUMNS // 2 :] = np.linspace(0, 0.02, ROWS)[:, None]
    cv2.imwrite(str(picture), np.rint(half * 255).astype(np.uint8))
    found = diagnose(picture, model)
    (shown,) = found.explanations
    save(found, tmp_path / "with")
    save(replace(found, explanations=(replace(shown, heat=np.zeros_like(shown.heat)),)), tmp_path / "without")
    pages = [(tmp_path / name / "report.html").read_text(encoding="utf-8") for name in ("with", "without")]
    assert [f"as evidence for {shown.target}." in page for page in pages] == [False, True]
