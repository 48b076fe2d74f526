"""Where the evidence of models lies that are known to look at one quadrant of the image."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from jsonschema import Draft202012Validator

from bundles import lung_preprocess, tiny_bundle
from pulmoscope.datasets.manifest import read
from pulmoscope.pipeline.audit.run import audit
from pulmoscope.runtime.maps import Maps
from pulmoscope.runtime.model import Model

SCHEMA = Path(__file__).parents[1] / "docs" / "schemas" / "audit.schema.json"
ROWS, COLUMNS = 96, 128


def film(rng: np.random.Generator) -> np.ndarray:
    """Two dark lungs, in rows 10 to 85 and columns 10 to 55 and 70 to 115, between bright tissue."""
    image = rng.integers(170, 180, (ROWS, COLUMNS)).astype(np.uint8)
    image[10:86, 10:56] = image[10:86, 70:116] = 40
    return image


def draw(root: Path, left: int) -> Path:
    """Nine images of COVID with a bright patch of 20 x 20 px in a lung, below row 24, and a reader's box around it."""
    root.mkdir(parents=True, exist_ok=True)
    rng, rows, boxes = np.random.default_rng(2), ["file,label,split,patient,source"], ["file,x0,y0,x1,y1"]
    for number in range(9):
        image = film(rng)
        image[24:44, left : left + 20] = 240 + number
        cv2.imwrite(str(root / f"{number}.png"), image)
        rows.append(f"{number}.png,COVID,test,p{number},")
        boxes.append(f"{number}.png,{left - 4},20,{left + 24},48")
    (root / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (root / "boxes.csv").write_text("\n".join(boxes) + "\n", encoding="utf-8")
    return root


def audited(tmp_path: Path, data: Path, kind: str = "rise") -> dict[str, Any]:
    bundle = tiny_bundle(tmp_path / "bundle", preprocess=lung_preprocess(), gain=10)
    model = Model(replace(bundle, explanation=Maps(kind)).save())
    report = audit(model, read(data), tmp_path / "out", bootstrap=50)
    assert not list(Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).iter_errors(report))
    found: dict[str, Any] = report["parts"]["evidence"]
    return found


def levels(found: dict[str, Any]) -> dict[str, str]:
    return {verdict["code"]: verdict["level"] for verdict in found["verdicts"]}


def test_evidence_on_an_opacity_in_the_lung(tmp_path: Path) -> None:
    found = audited(tmp_path, draw(tmp_path / "data", 24))
    assert found["kind"] == "rise"
    assert found["images"] == found["lungs"]["images"] == found["findings"]["images"] == 9
    assert found["lungs"]["drawn"] == 0
    assert found["findings"]["pointing"]["value"] == 1
    # All boxes lie in one place, so that a constant point hits them all, and pointing proves nothing.
    assert found["findings"]["constant_point"]["value"] == 1
    assert levels(found)["evidence-on-findings"] == "doubtful"
    # 2 lungs of 76 x 46 px, less the 20 x 20 px of the patch, which is not dark.
    assert found["lungs"]["even_over_image"]["value"] == pytest.approx(
        (2 * 76 * 46 - 20**2) / (ROWS * COLUMNS), rel=0.05
    )
    assert found["order"]["deletion_gain"]["value"] > 0
    assert found["order"]["insertion_gain"]["value"] > 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert all(address.startswith("data:") for address in re.findall(r'src="([^"]*)"', page))


def test_a_reader_s_mask_comes_before_the_finder_s_lungs_and_lesions_count_as_findings(
    tmp_path: Path,
) -> None:
    data = draw(tmp_path / "data", 24)
    (data / "boxes.csv").unlink()
    everywhere, corner = np.zeros((2, ROWS, COLUMNS), np.uint8)
    everywhere[2:-2, 2:-2] = 255
    corner[60:, 90:] = 255
    cv2.imwrite(str(data / "lungs.png"), everywhere)
    cv2.imwrite(str(data / "low.png"), corner)
    lines = (data / "manifest.csv").read_text(encoding="utf-8").splitlines()
    body = [f"{line},lungs.png,low.png," for line in lines[1:]]
    table = "\n".join([f"{lines[0]},lungs,ggo,consolidation", *body])
    (data / "manifest.csv").write_text(table + "\n", encoding="utf-8")
    found = audited(tmp_path, data)
    assert found["lungs"]["drawn"] == 9
    assert found["lungs"]["within"]["value"] == pytest.approx(1)
    assert levels(found)["evidence-in-lungs"] == "good"
    assert found["findings"]["pointing"]["value"] == 0
    assert found["findings"]["area"]["value"] == pytest.approx(36 * 38 / (ROWS * COLUMNS))


def test_without_boxes_and_masks_there_is_nothing_to_point_at(tmp_path: Path) -> None:
    data = draw(tmp_path / "data", 24)
    (data / "boxes.csv").unlink()
    found = audited(tmp_path, data, "grad-cam")
    assert found["kind"] == "grad-cam"
    assert found["findings"] is None
    assert "evidence-on-findings" not in levels(found)


def test_maps_of_random_networks_are_compared_with_those_of_two_images(tmp_path: Path) -> None:
    found = audited(tmp_path, draw(tmp_path / "data", 24))
    assert [step["layers"] for step in found["randomised"]["steps"]] == [0, 0.25, 0.5, 0.75, 1]
    # The images are all but equal, so their maps are, and no random network's can be more so.
    assert found["randomised"]["of_two_images"]["value"] > 0.95
    assert all(
        step["ssim"]["value"] < found["randomised"]["of_two_images"]["value"]
        for step in found["randomised"]["steps"][1:]
    )
