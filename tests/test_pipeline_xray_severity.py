"""How a radiograph's severity comes into its diagnosis; what estimates it is replaced by a scored drawing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import pulmoscope
from bundles import quadrants, tiny_bundle
from diagnoses import an_xray_severity
from pulmoscope.core.errors import BundleError
from pulmoscope.core.types import Flag, FlagLevel, Scan, Subject
from pulmoscope.core.xray_severity import XraySeverity
from pulmoscope.inference.image import SeenImage
from pulmoscope.inference.xray_severity import SeverityReader
from pulmoscope.io import entries, read_scan, studies
from pulmoscope.io.studies import paths
from pulmoscope.phantoms.xray.draw import FINDINGS, draw_xray
from pulmoscope.pipeline import diagnose_xray
from pulmoscope.pipeline.choice import Models
from pulmoscope.pipeline.diagnose import diagnose_many
from pulmoscope.pipeline.runs.run import Outcome, Reports, Run
from pulmoscope.runtime.model import Model, Outputs
from pulmoscope.runtime.xray_severity import built_in_severity

SIDE = 256


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model.load(tiny_bundle(tmp_path_factory.mktemp("bundle")).folder)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the radiographs whose severity was asked for."""
    names: list[str] = []

    def estimate(
        severity: SeverityReader | None, scan: Scan, model: Model, seen: SeenImage, outputs: Outputs
    ) -> XraySeverity:
        names.append(scan.name)
        assert outputs.probabilities.shape[0] == 1
        assert severity is not None
        identity = severity.model.identity
        return replace(an_xray_severity(), model=identity, box=(0, 0, *scan.pixels.shape[1:]))

    monkeypatch.setattr(diagnose_xray, "estimate", estimate)
    return names


def picture(path: Path, *brightness: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.rint(quadrants(brightness, SIDE) * 255).astype(np.uint8))
    return path


def run(source: Path, model: Model, out: Path, reports: Reports = "all") -> list[Outcome]:
    listed = list(entries([source]))
    return list(diagnose_many(studies(listed), Run(Models.only(model), out, reports), paths(listed)))


def test_a_diagnosis_has_the_severity_of_its_radiograph(
    tmp_path: Path, model: Model, asked: list[str]
) -> None:
    found = pulmoscope.diagnose(picture(tmp_path / "chest.png", 0.4, 0.5, 0.7, 0.8), model, explain=False)
    assert asked == [found.scan.name]
    assert found.xray_severity is not None
    assert found.xray_severity.extent.value == an_xray_severity().extent.value
    assert "severity" in found.timings_s


def test_what_can_not_be_predicted_is_not_scored(tmp_path: Path, model: Model, asked: list[str]) -> None:
    found = pulmoscope.diagnose(picture(tmp_path / "dark.png", 0.02, 0.05, 0.02, 0.04), model)
    assert found.quality.verdict == "refuse"
    assert (found.xray_severity, asked) == (None, [])
    assert "severity" not in found.timings_s


def test_scores_of_what_the_model_refers_as_unknown_say_so(
    tmp_path: Path, model: Model, asked: list[str]
) -> None:
    scan = read_scan(picture(tmp_path / "chest.png", 0.4, 0.5, 0.7, 0.8))
    scorer = SeverityReader.open()
    known = diagnose_xray.diagnose_xray(scan, model, severity=scorer, wanted=lambda _: False).xray_severity
    strange = Flag("strange-place", FlagLevel.REFUSE, "unlike all that it knows", "", Subject.MODEL)
    found = diagnose_xray.diagnose_xray(
        scan, model, severity=scorer, limits=(strange,), wanted=lambda _: False
    ).xray_severity
    assert known is not None
    assert found is not None
    assert found.extent == known.extent
    (limit,) = set(found.limits) - set(known.limits)
    assert "unlike all that it knows" in limit


def test_a_run_writes_it_and_goes_on_with_it_after_a_kill(
    tmp_path: Path, model: Model, asked: list[str]
) -> None:
    source = picture(tmp_path / "in" / "chest.png", 0.4, 0.5, 0.7, 0.8)
    (outcome,) = run(source, model, tmp_path / "out")
    folder = tmp_path / "out" / outcome.name
    written = json.loads((folder / "diagnosis.json").read_text(encoding="utf-8"))
    assert written == outcome.plain
    assert written["severity"]["geographic_extent"] == 3.1
    assert {written["severity"]["map"][kind] for kind in ("picture", "array")} <= {
        path.name for path in folder.iterdir()
    }
    (tmp_path / "out" / "index.json").unlink()  # as a kill leaves it
    (again,) = run(source, model, tmp_path / "out")
    assert (again.kept, again.plain) == (True, written)
    assert len(asked) == 1


def test_without_pages_it_is_in_the_json_alone(tmp_path: Path, model: Model, asked: list[str]) -> None:
    source = picture(tmp_path / "in" / "chest.png", 0.4, 0.5, 0.7, 0.8)
    (outcome,) = run(source, model, tmp_path / "out", "none")
    assert outcome.plain is not None
    assert (outcome.plain["severity"]["brixia"], outcome.plain["severity"]["map"]) == (5.5, None)
    assert [path.name for path in (tmp_path / "out" / outcome.name).iterdir()] == ["diagnosis.json"]
    assert len(asked) == 1


def test_a_model_of_ones_own_scores_and_none_scores_nothing(tmp_path: Path) -> None:
    """By what it is called here, the scores are those of a copy of the built-in model under another name."""
    own = tmp_path / "own"
    shutil.copytree(built_in_severity(), own)
    manifest = json.loads((own / "severity.json").read_text(encoding="utf-8"))
    (own / "severity.json").write_text(json.dumps(manifest | {"name": "own"}), encoding="utf-8")
    source = draw_xray(3, FINDINGS[0], 256).image
    image = tmp_path / "in" / "chest.png"
    image.parent.mkdir()
    assert cv2.imwrite(str(image), np.rint(source * 255).astype(np.uint8))
    built_in, mine, nothing = (
        pulmoscope.diagnose(image, severity=what, explain=False).xray_severity
        for what in ("auto", own, "none")
    )
    assert built_in is not None
    assert mine is not None
    assert (mine.model["name"], mine.extent, nothing) == ("own", built_in.extent, None)
    with pytest.raises(BundleError, match=r"severity\.json"):
        pulmoscope.diagnose(image, severity=tmp_path / "in")


def test_a_killed_run_keeps_only_what_the_same_severity_model_scored(tmp_path: Path, model: Model) -> None:
    source = picture(tmp_path / "in" / "chest.png", 0.4, 0.5, 0.7, 0.8)
    out = tmp_path / "out"

    def kept(severity: str) -> bool:
        listed = list(entries([source]))
        run = Run(Models.only(model, severity), out, "none")
        (outcome,) = diagnose_many(studies(listed), run, paths(listed))
        (out / "index.json").unlink()  # as a kill leaves it
        return outcome.kept

    assert [kept(severity) for severity in ("auto", "auto", "none", "none", "auto")] == [
        *(False, True, False, True, False)
    ]
