from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from diagnoses import a_ct_diagnosis, a_diagnosis, an_xray_severity
from pulmoscope import __version__
from pulmoscope.core.errors import OutputExistsError, ResourceError
from pulmoscope.core.severity import SeverityMasks
from pulmoscope.core.types import Diagnosis, Explanation, Flag, FlagLevel, Quality
from pulmoscope.io.inputs import Sources
from pulmoscope.pipeline.outputs import claim, clear, kept, pictures, save
from pulmoscope.report.diagnosis import to_json


def diagnosis_of(rows: int, columns: int) -> Diagnosis:
    found = a_diagnosis(targets=("COVID",))
    ramp = np.tile(np.linspace(0, 1, columns, dtype=np.float32), (rows, 1))
    return replace(
        found,
        scan=replace(found.scan, pixels=ramp[None]),
        explanations=(Explanation("grad-cam", "COVID", ramp),),
        software={"pulmoscope": __version__},
    )


def test_the_heat_map_is_saved_as_picture_and_array(tmp_path: Path) -> None:
    found = diagnosis_of(40, 60)
    plain = save(found, tmp_path / "chest")
    assert plain == to_json(found)
    assert json.loads((tmp_path / "chest/diagnosis.json").read_text(encoding="utf-8")) == plain
    with np.load(tmp_path / "chest/heat-COVID.npz", allow_pickle=False) as stored:
        heat, affine = stored["heat"], stored["affine"]
    assert heat.dtype == np.float16
    np.testing.assert_allclose(heat, found.explanations[0].heat, atol=1e-3)
    np.testing.assert_array_equal(affine, [[1, 0, 0], [0, 1, 0]])
    shown = cv2.imread(str(tmp_path / "chest/heat-COVID.png"), cv2.IMREAD_COLOR)
    assert shown.shape == (40, 60, 3)
    assert shown[:, 0].max() == 0  # no heat: the image, black there, is untouched
    blue, _, red = shown[0, 45]  # inferno is orange at three quarters
    assert red > blue


def test_saving_again_leaves_nothing_of_before(tmp_path: Path) -> None:
    save(diagnosis_of(40, 60), tmp_path)
    save(replace(diagnosis_of(40, 60), explanations=()), tmp_path, report=False)
    assert [path.name for path in tmp_path.iterdir()] == ["diagnosis.json"]


@pytest.mark.parametrize(
    ("size", "shown"), [((40, 60), (40, 60)), ((1536, 768), (768, 384)), ((1, 5000), (1, 768))]
)
def test_the_pages_pictures_are_small(size: tuple[int, int], shown: tuple[int, int]) -> None:
    made = pictures(diagnosis_of(*size))
    for address in (made.scan, *made.overlays):
        content = base64.b64decode(re.sub(r"^data:image/jpeg;base64,", "", address))
        assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR).shape[:2] == shown


def test_a_result_is_kept_only_for_the_same_image_model_and_version(tmp_path: Path) -> None:
    found = diagnosis_of(40, 60)
    plain = save(found, tmp_path)
    assert kept(tmp_path, Sources(found.scan.files), found.model) == plain
    assert kept(tmp_path, Sources(found.scan.files), {**found.model, "sha256": "00" * 32}) is None
    assert kept(tmp_path / "nothing", Sources(found.scan.files), found.model) is None
    (file,) = found.scan.files
    assert kept(tmp_path, Sources((replace(file, sha256="00" * 32),)), found.model) is None
    save(replace(found, software={"pulmoscope": "0.0.0"}), tmp_path)
    assert kept(tmp_path, Sources(found.scan.files), found.model) is None
    (tmp_path / "diagnosis.json").write_text(json.dumps({**plain, "schema_version": "1.4"}), encoding="utf-8")
    assert kept(tmp_path, Sources(found.scan.files), found.model) is None


def test_a_result_is_kept_only_where_its_pictures_are_taken_for_the_same(tmp_path: Path) -> None:
    flag = Flag("ct-slice", FlagLevel.REFUSE, "the picture is a CT slice", "a radiograph is expected")
    found = diagnosis_of(40, 60)
    files = found.scan.files
    plain = save(found, tmp_path / "film")
    assert kept(tmp_path / "film", Sources(files), found.model) == plain
    assert kept(tmp_path / "film", Sources(files, (flag,)), found.model) is None
    plain = save(replace(found, quality=Quality((flag,))), tmp_path / "slice")
    assert kept(tmp_path / "slice", Sources(files, (flag,)), found.model) == plain
    assert kept(tmp_path / "slice", Sources(files), found.model) is None


def test_force_removes_results_and_nothing_else(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    save(diagnosis_of(40, 60), outside)
    out = tmp_path / "out"
    save(diagnosis_of(40, 60), out / "chest")
    (out / "chest" / "notes.txt").write_text("mine", encoding="utf-8")
    inputs = [{"folder": "chest"}, {"folder": "../outside"}, {"folder": ".."}, {"input": "refused.png"}]
    (out / "index.json").write_text(json.dumps({"inputs": inputs}), encoding="utf-8")
    with pytest.raises(OutputExistsError):
        claim(out, (), force=False)
    claim(out, (), force=True)
    assert sorted(path.name for path in out.rglob("*")) == ["chest", "notes.txt"]
    assert (outside / "diagnosis.json").exists()


def test_a_folder_that_can_not_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ResourceError, match=r"^[^\n]*file/out[^\n]*$"):
        claim(tmp_path / "file" / "out", (), force=False)
    with pytest.raises(ResourceError, match=r"^[^\n]*file[^\n]*$"):
        save(diagnosis_of(40, 60), tmp_path / "file" / "chest")


CT_FILES = [
    "diagnosis.json",
    *(f"heat-{index:03d}-COVID-stage{stage}.png" for index in (8, 11) for stage in (3, 4, 5)),
    "report.html",
    "slice-008.png",
    "slice-011.png",
    "slices.csv",
]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def a_study() -> Diagnosis:
    return replace(a_ct_diagnosis(), software={"pulmoscope": __version__})


def test_a_ct_leaves_pictures_a_table_a_page_and_what_names_them(tmp_path: Path) -> None:
    plain = save(a_study(), tmp_path)
    assert names(tmp_path) == CT_FILES
    assert json.loads((tmp_path / "diagnosis.json").read_text(encoding="utf-8")) == plain
    named = {shown[key] for shown in plain["explanations"] for key in ("file", "picture")}
    assert named == {name for name in CT_FILES if name.endswith(".png")}
    assert (tmp_path / "report.html").stat().st_size < 3e6


def test_without_a_page_there_is_still_the_table(tmp_path: Path) -> None:
    save(a_study(), tmp_path)
    save(replace(a_study(), explanations=()), tmp_path, report=False)
    assert names(tmp_path) == ["diagnosis.json", "slices.csv"]


def test_masks_are_written_and_cleared(tmp_path: Path) -> None:
    found = a_study()
    masks = SeverityMasks(*(np.zeros(found.scan.pixels.shape, np.uint8) for _ in range(2)))
    save(replace(found, masks=masks), tmp_path, report=False)
    assert {"lungs.nii.gz", "lesions.nii.gz"} <= set(names(tmp_path))
    (tmp_path / "mine.nii.gz").write_bytes(b"mine")
    clear(tmp_path)
    assert names(tmp_path) == ["mine.nii.gz"]


def test_only_what_a_run_wrote_is_cleared(tmp_path: Path) -> None:
    save(a_study(), tmp_path)
    (tmp_path / "heat-COVID.npy").write_bytes(b"of an X-ray that had the name")
    mine = ["heat map.png", "notes.txt", "slice-8-marked.png", "slices-mine.csv"]
    for name in mine:
        (tmp_path / name).write_text("mine", encoding="utf-8")
    clear(tmp_path)
    assert names(tmp_path) == mine
    clear(tmp_path / "nothing")


def test_a_cts_result_is_kept_only_for_the_same_slices_in_the_same_order(tmp_path: Path) -> None:
    found = a_study()
    plain = save(found, tmp_path)
    assert kept(tmp_path, Sources(found.scan.files), found.model) == plain
    other = (*found.scan.files[1:], found.scan.files[0])
    assert kept(tmp_path, Sources(other), found.model) is None
    assert kept(tmp_path, Sources(found.scan.files[:-1]), found.model) is None
    (tmp_path / "diagnosis.json").write_text(json.dumps({**plain, "schema_version": "1.0"}), encoding="utf-8")
    assert kept(tmp_path, Sources(found.scan.files), found.model) is None


def test_a_studys_date_stands_on_its_page_alone_and_only_where_asked(tmp_path: Path) -> None:
    for name, asked in (("asked", True), ("not", False)):
        save(a_ct_diagnosis(), tmp_path / name, show_date=asked)
        told = [path.name for path in (tmp_path / name).iterdir() if b"2020-03-05" in path.read_bytes()]
        assert told == ["report.html"] * asked


def test_a_page_with_the_date_is_kept_only_where_the_date_is_asked_for_again(tmp_path: Path) -> None:
    found = a_study()
    for asked in (True, False):
        plain = save(found, tmp_path, show_date=asked)
        sources = Sources(found.scan.files)
        assert kept(tmp_path, sources, found.model, show_date=asked) == plain
        assert kept(tmp_path, sources, found.model, show_date=not asked) is None
    (tmp_path / "report.html").unlink()
    assert kept(tmp_path, sources, found.model, show_date=True) == plain


def test_the_map_of_opacity_is_saved_as_heat_maps_are_and_cleared(tmp_path: Path) -> None:
    found = replace(a_diagnosis(targets=("COVID",)), xray_severity=an_xray_severity())
    named = save(found, tmp_path / "chest")["severity"]["map"]
    with np.load(tmp_path / "chest" / named["array"], allow_pickle=False) as stored:
        opacity, affine = stored["opacity"], stored["affine"]
    assert opacity.dtype == np.float16
    np.testing.assert_array_equal(opacity, an_xray_severity().cells)
    # 3 x 4 cells of 16 x 16 px: the first one's centre lies half a px before the middle pixel's border
    np.testing.assert_array_equal(affine, [[16, 0, 7.5], [0, 16, 7.5]])
    shown = cv2.imread(str(tmp_path / "chest" / named["picture"]), cv2.IMREAD_COLOR)
    assert shown.shape == (48, 64, 3)
    grey = np.rint(found.scan.pixels[0] * 255)
    np.testing.assert_array_equal(shown[:8], np.repeat(grey[:8, :, None], 3, axis=2))  # no opacity there
    assert shown[47, 0].max() - shown[47, 0].min() > 20  # coloured where it is sure
    save(replace(found, explanations=()), tmp_path / "chest", report=False)
    assert [path.name for path in (tmp_path / "chest").iterdir()] == ["diagnosis.json"]
    save(found, tmp_path / "chest")
    clear(tmp_path / "chest")
    assert not (tmp_path / "chest").exists()


def test_the_map_of_opacity_of_a_large_image_is_saved_small(tmp_path: Path) -> None:
    large = diagnosis_of(1707, 2049)
    save(replace(large, xray_severity=replace(an_xray_severity(), box=(0, 0, 1707, 2049))), tmp_path)
    assert cv2.imread(str(tmp_path / "heat-COVID.png")).shape == (1706, 2048, 3)
    assert cv2.imread(str(tmp_path / "opacity.png")).shape == (853, 1024, 3)
