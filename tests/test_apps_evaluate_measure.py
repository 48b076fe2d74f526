"""``pulmoscope evaluate measure``: what is measured on CT studies beside masks that others have drawn."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import SimpleITK
from typer.testing import CliRunner

import pulmoscope
from chests import SPACING_MM, chest, dice
from pulmoscope.apps.cli.main import app
from pulmoscope.core.errors import DatasetError, OutputExistsError

RUNNER = CliRunner()
SCHEMA = Path(__file__).resolve().parents[1] / "docs" / "schemas" / "measure.schema.json"
CHEST = chest()
SLICE, ROW = np.indices(CHEST.hu.shape)[:2]
GLASS = CHEST.right & ~CHEST.consolidation & (ROW > 74) & (SLICE >= 20) & (SLICE < 40)
ILL = CHEST.consolidation | GLASS
TRUE_PERCENT = 100 * ILL.sum() / CHEST.lungs.sum()


def hu(noise: float = 15.0) -> np.ndarray:
    """The chest with ground glass of -500 HU at the back of its right lung."""
    drawn = chest(noise).hu
    return np.where(GLASS, drawn + 350, drawn).astype(np.int16)


def nifti(path: Path, values: np.ndarray, *, shift_mm: float = 0.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = SimpleITK.GetImageFromArray(values)
    image.SetSpacing(SPACING_MM[::-1])
    image.SetOrigin((shift_mm, 0, 0))
    SimpleITK.WriteImage(image, str(path), useCompression=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies of one patient, with and without noise, and a third without masks."""
    root = tmp_path_factory.mktemp("studies")
    nifti(root / "a.nii.gz", hu())
    nifti(root / "b.nii.gz", hu(noise=40))
    nifti(root / "masks" / "lungs.nii.gz", CHEST.lungs.astype(np.uint8))
    nifti(root / "masks" / "lesions.nii.gz", ILL.astype(np.uint8))
    masks = "masks/lungs.nii.gz,masks/lesions.nii.gz"
    rows = [
        f"a.nii.gz,CAP,test,p1,here,{masks}",
        f"b.nii.gz,CAP,train,p1,here,{masks}",
        "c.nii.gz,CAP,train,p2,here,,",
    ]
    header = "file,label,split,patient,source,lung_mask,lesion_mask"
    (root / "manifest.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def out(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    done = evaluate(folder, out)
    assert done.exit_code == 0, done.output
    assert "report.html" in done.stdout
    return out


def evaluate(data: Path, out: Path, *more: str):  # type: ignore[no-untyped-def]
    arguments = ["evaluate", "measure", "--data", str(data), "-o", str(out), "--bootstrap", "20"]
    return RUNNER.invoke(app, [*arguments, *more])


def figures(out: Path) -> dict:  # type: ignore[type-arg]
    found = json.loads((out / "measure.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate(found)
    return found


def table(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_every_study_beside_its_masks(folder: Path, out: Path) -> None:
    found = figures(out)
    assert [found["data"][key] for key in ("studies", "with_truth", "compared", "failures")] == [3, 2, 2, []]
    assert [own["file"] for own in found["studies"]] == ["a.nii.gz", "b.nii.gz"]
    for own in found["studies"]:
        scan = next(pulmoscope.read_scans([folder / own["file"]]))
        severity = pulmoscope.measure_severity(scan)
        assert own["percent_true"] == pytest.approx(TRUE_PERCENT, abs=1e-5)
        assert own["percent_measured"] == pytest.approx(severity.percent_affected, abs=1e-5)
        assert own["difference"] == pytest.approx(severity.percent_affected - TRUE_PERCENT, abs=1e-5)
        assert (own["grade_true"], own["grade_measured"]) == ("CT-1", severity.grade)
        assert own["lungs_dice"] == pytest.approx(dice(pulmoscope.find_lungs(scan), CHEST.lungs), abs=1e-6)
        assert own["lungs_dice"] > 0.95
        voxel_ml = float(np.prod(SPACING_MM)) / 1000
        assert own["lungs_true_ml"] == pytest.approx(CHEST.lungs.sum() * voxel_ml, abs=1e-3)
        assert own["lungs_measured_ml"] == pytest.approx(severity.volumes_ml["both"], abs=1e-3)
    errors = [abs(own["difference"]) for own in found["studies"]]
    assert found["percent_affected"]["mean_absolute_error"]["value"] == pytest.approx(np.mean(errors))
    signed = np.array([own["difference"] for own in found["studies"]])
    limits = found["percent_affected"]["limits_of_agreement"]
    assert limits["bias"]["value"] == pytest.approx(signed.mean())
    assert limits["high"]["value"] == pytest.approx(signed.mean() + 1.96 * signed.std(ddof=1))
    assert found["lungs"]["dice"]["value"] == pytest.approx(
        np.mean([own["lungs_dice"] for own in found["studies"]])
    )


def test_a_row_for_every_study_and_every_slice(out: Path) -> None:
    studies, slices = table(out / "patients.csv"), table(out / "slices.csv")
    assert [(row["file"], row["patient"]) for row in studies] == [("a.nii.gz", "p1"), ("b.nii.gz", "p1")]
    assert [float(row["percent_true"]) for row in studies] == pytest.approx([TRUE_PERCENT] * 2, rel=1e-5)
    own = [row for row in slices if row["file"] == "b.nii.gz"]
    assert [int(row["slice"]) for row in own] == list(range(len(CHEST.hu)))
    assert [float(row["z_mm"]) for row in own[:2]] == [0, SPACING_MM[0]]
    lung = CHEST.lungs.sum(axis=(1, 2))
    assert [int(row["lung_true"]) for row in own] == lung.tolist()
    percent = [100 * ill / of if of else np.nan for ill, of in zip(lesions_of_slices(), lung, strict=True)]
    told = [float(row["percent_true"] or "nan") for row in own]
    np.testing.assert_allclose(told, percent, rtol=1e-5)


def lesions_of_slices() -> list[int]:
    counts: list[int] = ILL.sum(axis=(1, 2)).tolist()
    return counts


def test_slices_that_count(out: Path) -> None:
    """Of the lungs all that have lung, of the lesions those of whose lung more than 5 % is lesion."""
    found, lung = figures(out), CHEST.lungs.sum(axis=(1, 2))
    assert found["lungs"]["slices"] == 2 * np.count_nonzero(lung)
    much = np.array(lesions_of_slices()) > 0.05 * lung
    assert found["lesions"]["slices"] == 2 * np.count_nonzero(much) > 0
    rows = table(out / "slices.csv")
    own = [float(row["lesions_dice"]) for row in rows if float(row["percent_true"] or 0) > 5]
    assert found["lesions"]["slice_dice"]["value"] == pytest.approx(np.mean(own), abs=1e-5)


def test_the_page_holds_its_pictures_and_every_study(out: Path) -> None:
    page = (out / "report.html").read_text(encoding="utf-8")
    assert len(re.findall(r'<img class="plot" src="data:image/png;base64,', page)) == 2
    assert {"a.nii.gz", "b.nii.gz"} <= set(re.findall(r"<code>([^<]+)</code>", page))
    for name in ("bland_altman", "bland_altman_slices"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_there_is_kept(folder: Path, out: Path) -> None:
    again = evaluate(folder, out)
    assert isinstance(again.exception, OutputExistsError)


def test_a_split(folder: Path, tmp_path: Path) -> None:
    assert evaluate(folder, tmp_path, "--split", "test").exit_code == 0
    found = figures(tmp_path)
    assert (found["data"]["split"], [own["file"] for own in found["studies"]]) == ("test", ["a.nii.gz"])
    assert found["percent_affected"]["limits_of_agreement"] is None  # of one study
    absent = evaluate(folder, tmp_path, "--split", "val", "--force")
    assert isinstance(absent.exception, DatasetError)


def test_labels_mean_nothing_to_the_measure(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("label,class\nCAP,COVID\n", encoding="utf-8")
    done = evaluate(folder, tmp_path / "out", "--labels", str(tmp_path / "labels.csv"))
    assert isinstance(done.exception, DatasetError)


def one_study(root: Path, lungs: np.ndarray | None, lesions: np.ndarray | None, **place: float) -> Path:
    """The chest with these masks; None: not drawn."""
    nifti(root / "a.nii.gz", hu())
    named = []
    for name, mask in (("lungs", lungs), ("lesions", lesions)):
        if mask is not None:
            nifti(root / f"{name}.nii.gz", mask, **place)
        named.append("" if mask is None else f"{name}.nii.gz")
    rows = [
        "file,label,split,patient,source,lung_mask,lesion_mask",
        f"a.nii.gz,CAP,,p1,here,{','.join(named)}",
    ]
    (root / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


LUNGS, LESIONS = CHEST.lungs.astype(np.uint8), ILL.astype(np.uint8)


@pytest.mark.parametrize(
    ("lungs", "lesions", "place", "code"),
    [
        (LUNGS[:-1], LESIONS, {}, "mask-size"),
        (LUNGS, LESIONS, {"shift_mm": 8.0}, "mask-elsewhere"),
        (LUNGS, LESIONS.astype(np.float32) / 2, {}, "mask-values"),
        (LUNGS * 0, LESIONS, {}, "mask-empty"),
        (LUNGS, CHEST.body.astype(np.uint8), {}, "mask-outside"),
    ],
)
def test_a_wrong_mask_leaves_its_study_out_in_one_line(
    lungs: np.ndarray, lesions: np.ndarray, place: dict[str, float], code: str, tmp_path: Path
) -> None:
    root = one_study(tmp_path / "wrong", lungs, lesions, **place)
    with (root / "manifest.csv").open("a", encoding="utf-8") as stream:
        nifti(root / "good.nii.gz", hu())
        nifti(root / "good-lungs.nii.gz", LUNGS)
        stream.write("good.nii.gz,CAP,,p2,here,good-lungs.nii.gz,\n")
    done = evaluate(root, tmp_path / "out")
    assert done.exit_code == 0, done.output
    found = figures(tmp_path / "out")
    assert [(own["file"], own["code"]) for own in found["data"]["failures"]] == [("a.nii.gz", code)]
    assert found["data"]["failures"][0]["reason"] in done.stderr
    assert [own["file"] for own in found["studies"]] == ["good.nii.gz"]


def test_lungs_alone(tmp_path: Path) -> None:
    assert evaluate(one_study(tmp_path / "a", LUNGS, None), tmp_path / "out").exit_code == 0
    found = figures(tmp_path / "out")
    assert found["lungs"]["dice"]["value"] > 0.95
    assert [found[part] for part in ("lesions", "percent_affected", "slices", "grades")] == [None] * 4


def test_lesions_alone(tmp_path: Path) -> None:
    """Their overlap is known, of what they are a percentage is not."""
    assert evaluate(one_study(tmp_path / "a", None, LESIONS), tmp_path / "out").exit_code == 0
    found = figures(tmp_path / "out")
    assert 0 < found["lesions"]["dice"]["value"] <= 1
    assert found["lesions"]["slice_dice"]["value"] is None
    assert [found[part] for part in ("lungs", "percent_affected", "slices", "grades")] == [None] * 4


def test_no_masks_at_all(tmp_path: Path) -> None:
    done = evaluate(one_study(tmp_path / "a", None, None), tmp_path / "out")
    assert isinstance(done.exception, DatasetError)
    assert not (tmp_path / "out" / "measure.json").exists()


def test_a_study_without_lungs_counts_as_wrong(tmp_path: Path) -> None:
    """Lungs full of water: none is found, and the study is not dropped for it."""
    root = one_study(tmp_path / "a", LUNGS, LUNGS)
    wet = np.where(CHEST.lungs, 20, CHEST.hu).astype(np.int16)
    nifti(root / "a.nii.gz", wet)
    assert evaluate(root, tmp_path / "out").exit_code == 0
    found = figures(tmp_path / "out")
    assert found["data"]["without_lungs"] == 1
    assert found["grades"]["right"]["value"] == 0
    assert found["grades"]["by_grade"]["CT-4"]["measured"] == {"none": 1}
    assert (found["lungs"]["dice"]["value"], found["percent_affected"]) == (0, None)


def test_the_layout_of_mosmeddata(tmp_path: Path) -> None:
    """Of simulated studies the lungs are beside the lesions; CT-0 has no lesion, whatever masks there are."""
    root = tmp_path / "graded"
    nifti(root / "studies" / "CT-0" / "study_0001.nii.gz", hu())
    nifti(root / "studies" / "CT-1" / "study_0002.nii.gz", hu())
    nifti(root / "masks" / "study_0002_mask.nii.gz", LESIONS)
    nifti(root / "truth" / "study_0002_lungs.nii.gz", LUNGS)
    assert evaluate(root, tmp_path / "out").exit_code == 0
    healthy, ill = figures(tmp_path / "out")["studies"]
    assert (healthy["label"], healthy["percent_true"], healthy["lungs_dice"]) == ("CT-0", 0, None)
    assert ill["percent_true"] == pytest.approx(TRUE_PERCENT, abs=1e-5)
    assert healthy["percent_measured"] == ill["percent_measured"]


def test_what_was_not_observed_counts_in_no_overlap(tmp_path: Path) -> None:
    """A block of the left lung is missing: lungs are compared where the scan has values."""
    damaged = hu()
    damaged[30:33, 40:90, 80:110] = 0
    root = one_study(tmp_path / "a", LUNGS, LESIONS)
    nifti(root / "a.nii.gz", damaged)
    assert evaluate(root, tmp_path / "out").exit_code == 0
    own = figures(tmp_path / "out")["studies"][0]
    observed = CHEST.lungs.copy()
    observed[30:33, 40:90, 80:110] = False
    voxel_ml = float(np.prod(SPACING_MM)) / 1000
    assert own["lungs_true_ml"] == pytest.approx(observed.sum() * voxel_ml, abs=1e-3)
    assert own["percent_true"] == pytest.approx(TRUE_PERCENT, abs=1e-5)  # of all, as nobody hides it


def test_from_python(folder: Path, tmp_path: Path) -> None:
    data = pulmoscope.load_data(folder).split("test")
    found = pulmoscope.evaluate("measure", data, tmp_path, bootstrap=0)
    assert found == figures(tmp_path)
    assert found["percent_affected"]["studies"] == 1
