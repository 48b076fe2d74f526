from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bundles import lung_preprocess, tiny_bundle
from pulmoscope.core.errors import BundleError
from pulmoscope.core.types import Modality, Scan, SourceFile
from pulmoscope.core.xray_severity import ZONES, XraySeverity
from pulmoscope.inference.image import look_at_image
from pulmoscope.inference.xray_severity import MAP_SIDE, SeverityReader
from pulmoscope.runtime.model import Model
from pulmoscope.segment.xray_zones import lung_zones
from xray_severity_models import write


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The X-ray model whose features are read: the brightness of each of 4 x 4 cells, in both channels."""
    ones = np.ones((2, 4, 4), dtype=np.float32)
    return Model(tiny_bundle(tmp_path_factory.mktemp("read"), preprocess=lung_preprocess(), pattern=ones))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("other")
    return Model(tiny_bundle(folder, preprocess=lung_preprocess(), gain=20.0))


def scan(lower_left: float = 0.2) -> Scan:
    """Two dark lungs in a bright body, 200 x 200; the lower part of the left one as bright as asked for."""
    image = np.full((200, 200), 0.8, dtype=np.float32)
    image[40:160, 30:80] = image[40:160, 120:170] = 0.2
    image[110:160, 120:170] = lower_left
    return Scan("chest", Modality.XRAY, image[None], (SourceFile("chest.png", "0" * 64),))


def estimated(
    reader: SeverityReader, model: Model, image: Scan, brightness: float | None = None
) -> XraySeverity | None:
    """What the reader says; with ``brightness`` the network's features are said to be that everywhere."""
    seen = look_at_image(image, model)
    outputs = model.predict(seen.prepared.tensor[None])
    if brightness is not None:
        outputs = replace(outputs, features=np.full_like(outputs.features, brightness))
    return reader.estimate(image, model, seen, outputs)


def known(severity: XraySeverity | None) -> XraySeverity:
    assert severity is not None
    return severity


def test_the_features_of_the_diagnosis_are_used_again(read: Model, tmp_path: Path) -> None:
    """Brightness 1 is a raw sum of 1 in each zone: a score of 1 each; together 6, of which 5 and 2 count."""
    found = known(estimated(SeverityReader(write(tmp_path, read.bundle)), read, scan(), 1.0))
    assert [found.zones[zone].score.value for zone in ZONES] == pytest.approx([1] * 6)
    assert (found.extent.value, found.opacity.value, found.brixia.value) == pytest.approx((5, 2, 6))
    assert (found.extent.low, found.extent.high) == pytest.approx((3, 7))
    assert found.coverage == 0.9
    assert found.model["name"] == "tiny-severity"
    assert found.limits == ()


def test_the_map_is_what_the_features_say_in_the_lungs_and_nothing_far_from_them(
    read: Model, tmp_path: Path
) -> None:
    found = known(estimated(SeverityReader(write(tmp_path, read.bundle)), read, scan(), 1.0))
    assert found.cells.shape == (MAP_SIDE, MAP_SIDE)
    top, left, height, width = found.box
    down = top + (np.arange(MAP_SIDE) + 0.5) * height / MAP_SIDE
    across = left + (np.arange(MAP_SIDE) + 0.5) * width / MAP_SIDE
    inside = found.cells[np.ix_((down > 50) & (down < 150), (across > 40) & (across < 70))]
    assert inside.size
    np.testing.assert_allclose(inside, 1 / (1 + np.exp(-1)), atol=1e-4)
    between = found.cells[np.ix_((down > 50) & (down < 150), (across > 98) & (across < 102))]
    assert between.size
    assert between.max() < 0.03  # 18 px and more away, of 200: less than e^-3.2 of it


def test_of_a_model_with_other_features_those_of_the_right_one_are_computed(
    read: Model, other: Model, tmp_path: Path
) -> None:
    reader = SeverityReader(write(tmp_path, read.bundle, zone=(4.0, 0.0, -1.0)))
    expected = known(estimated(reader, read, scan()))
    assert expected.brixia.value > 0
    for _ in range(2):
        found = known(estimated(reader, other, scan(), 1.0))
        assert found.extent == expected.extent
        assert found.zones == expected.zones
        assert found.box == expected.box
        np.testing.assert_array_equal(found.cells, expected.cells)


def test_a_brighter_zone_scores_higher_than_its_mirror_image(read: Model, tmp_path: Path) -> None:
    reader = SeverityReader(write(tmp_path, read.bundle, zone=(4.0, 0.0, -1.0)))
    found = known(estimated(reader, read, scan(lower_left=0.45)))
    assert found.zones["F"].score.value > found.zones["C"].score.value + 0.1
    assert found.zones["D"].score.value == pytest.approx(found.zones["A"].score.value, abs=0.3)


def test_zones_lie_where_the_lungs_are_found(read: Model, tmp_path: Path) -> None:
    image = scan()
    seen = look_at_image(image, read)
    assert seen.prepared.lungs is not None
    zones = lung_zones(seen.prepared.lungs, 200, 200)
    assert zones is not None
    found = known(estimated(SeverityReader(write(tmp_path, read.bundle)), read, image))
    for name, zone in found.zones.items():
        box = zones.boxes[name]
        assert (zone.top, zone.left, zone.height, zone.width) == (box.top, box.left, box.height, box.width)
    framed = seen.prepared.framed.box
    assert found.box == (framed.top, framed.left, framed.height, framed.width)
    assert found.zones["A"].left < 80 < found.zones["D"].left  # the patient's right is on the left


def test_a_lung_that_is_not_seen_limits_the_score(read: Model, tmp_path: Path) -> None:
    found = known(estimated(SeverityReader(write(tmp_path, read.bundle)), read, scan(lower_left=0.8)))
    assert len(found.limits) == 1
    assert "zone F " in found.limits[0]


def test_without_lungs_there_is_no_severity(read: Model, other: Model, tmp_path: Path) -> None:
    image = np.full((1, 200, 200), 0.8, dtype=np.float32)
    image[0, :30, :30] = 0.2
    bright = replace(scan(), pixels=image)
    reader = SeverityReader(write(tmp_path, read.bundle))
    assert estimated(reader, read, bright) is None
    assert estimated(reader, other, bright) is None


def test_features_of_another_network_are_refused(read: Model, other: Model, tmp_path: Path) -> None:
    model = write(tmp_path, read.bundle)
    changed = replace(model, features={**model.features, "sha256": "1" * 64})
    with pytest.raises(BundleError) as caught:
        estimated(SeverityReader(changed), other, scan())
    assert all(part in str(caught.value) for part in (str(tmp_path), str(read.bundle.folder), "1" * 12))


def test_a_model_that_is_not_there_is_refused_when_it_is_needed(other: Model, tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        estimated(SeverityReader(write(tmp_path)), other, scan())


def test_the_built_in_model_opens_by_its_name(tmp_path: Path) -> None:
    assert SeverityReader.open().model.name == "xray-severity"
    with pytest.raises(BundleError):
        SeverityReader.open(tmp_path)
