"""A bundle at another precision or in another format: what it answers, what is refused, and what is left behind."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from bundles import quadrants, tiny_bundle
from no_network import run_without_network
from pulmoscope.apps.cli.main import app
from pulmoscope.core.errors import BundleError, DatasetError, OutputExistsError, ResourceError
from pulmoscope.core.types import FloatArray
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.evaluation.audit.facts import FACTS
from pulmoscope.pipeline.predict import predict_table
from pulmoscope.recipes import settings
from pulmoscope.recipes.published import find
from pulmoscope.runtime import openvino_backend
from pulmoscope.runtime.bundle import CARD, MANIFEST, Bundle, load
from pulmoscope.runtime.model import Model
from pulmoscope.runtime.precision import Format, Precision
from pulmoscope.training.precision import export
from pulmoscope.training.precision.compare import LIMITS, Answers, Figures, compared, failures, lungs_alike
from pulmoscope.training.precision.export import export_bundle
from study_bundles import tiny_study_bundle

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = ROOT / "docs" / "schemas" / "bundle.schema.json"
CLASSES = ("COVID", "Normal")
needs_nncf = pytest.mark.skipif(importlib.util.find_spec("nncf") is None, reason="int8 needs nncf")


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """One with a view network, whose logits differ by 10 times what two quadrants differ."""
    bare = tiny_bundle(tmp_path / "old", view=True, confidence=0.6)
    recipe = settings.apply(find("xray-binary-cnn"), ["classes=COVID,Normal"])
    return Model(replace(bare, recipe=settings.to_plain(recipe)).save())


@pytest.fixture
def table(tmp_path: Path) -> SampleTable:
    """30 images to calibrate with and 60 to verify on, whose upper quadrants differ by 0.1 to 0.3 either way."""
    return images(tmp_path / "data")


def images(root: Path, dim: float = 1) -> SampleTable:
    """Every third image is of train, and as bright as ``dim`` says; the label is that of the brighter quadrant."""
    root.mkdir(parents=True)
    rows = []
    for number, difference in enumerate(np.linspace(0.1, 0.3, 90)):
        split, label = ("val" if number % 3 else "train"), number % 2
        half = difference / 2 * (1 - 2 * label)
        image = quadrants((0.4 + half, 0.4 - half), 64) * (dim if split == "train" else 1)
        assert cv2.imwrite(str(root / f"{number}.png"), np.rint(image * 255).astype(np.uint8))
        rows.append(Sample(f"{number}.png", CLASSES[label], split, "", "here"))
    return SampleTable(root, "manifest", tuple(rows))


def exported(
    model: Model, out: Path, table: SampleTable | None, precision: Precision, format: Format = "onnx"
) -> Model:
    export_bundle(model, out, format=format, precision=precision, table=table)
    return Model.load(out)


def test_single_precision_without_images_is_compared_on_noise(model: Model, tmp_path: Path) -> None:
    made = exported(model, tmp_path / "new", None, "fp32", "openvino").bundle
    assert set(made.files) == {f"{name}.{kind}" for name in ("model", "view") for kind in ("xml", "bin")}
    assert made.export is not None
    assert made.export.verified["images"] == 0
    assert made.export.verified["figures"]["outputs"] < 1e-4
    assert made.export.source["sha256"] == model.bundle.sha256
    Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate(
        json.loads((tmp_path / "new" / MANIFEST).read_text(encoding="utf-8"))
    )


def test_openvino_s_format_answers_the_same_and_is_for_openvino_alone(
    model: Model, table: SampleTable, tmp_path: Path
) -> None:
    other = exported(model, tmp_path / "new", table, "fp32", "openvino")
    before, _ = predict_table(model, table)
    after, _ = predict_table(other, table)
    assert after.probabilities == pytest.approx(before.probabilities, abs=1e-6)
    assert after.decisions == before.decisions
    for runtime in ("onnx", "torch"):
        with pytest.raises(BundleError) as caught:
            Model.load(tmp_path / "new", runtime)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)


def test_a_changed_file_of_openvino_s_format_is_found(model: Model, tmp_path: Path) -> None:
    exported(model, tmp_path / "new", None, "fp32", "openvino")
    weights = tmp_path / "new" / "model.bin"
    weights.write_bytes(weights.read_bytes() + b"0")
    with pytest.raises(BundleError, match=r"model\.bin"):
        load(tmp_path / "new")


@pytest.mark.parametrize("absent", ["view.bin", "view.xml", "model.bin"])
def test_half_of_a_network_that_the_manifest_does_not_name_is_refused(
    model: Model, tmp_path: Path, absent: str
) -> None:
    exported(model, tmp_path / "new", None, "fp32", "openvino")
    manifest = tmp_path / "new" / MANIFEST
    plain = json.loads(manifest.read_text(encoding="utf-8"))
    del plain["files"][absent]
    manifest.write_text(json.dumps(plain), encoding="utf-8")
    with pytest.raises(BundleError, match=f"files must name {absent}") as caught:
        load(tmp_path / "new")
    assert "\n" not in str(caught.value)


def test_half_precision_is_stored_and_verified_with_figures_in_bundle_and_card(
    model: Model, table: SampleTable, tmp_path: Path
) -> None:
    made = exported(model, tmp_path / "new", table, "fp16").bundle
    weights = onnx.load(tmp_path / "new" / "model.onnx").graph.initializer
    assert {one.data_type for one in weights if len(one.dims) > 1} == {onnx.TensorProto.FLOAT16}
    assert made.export is not None
    verified = made.export.verified
    assert verified["images"] == 60
    assert verified["figures"]["labels"] == verified["figures"]["decisions"] == 1
    assert verified["figures"]["auroc"] == 0
    assert verified["figures"]["heat_maps"] == pytest.approx(1, abs=1e-3)
    assert made.version == "0.1-fp16"
    card = (tmp_path / "new" / CARD).read_text(encoding="utf-8")
    assert model.bundle.sha256 in card
    assert "| 1.0000 | 0.99 |" in card


def test_bfloat16_is_emulated_for_the_proof_and_runs_in_single_precision_where_the_cpu_lacks_it(
    model: Model, table: SampleTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (openvino_backend, export):
        monkeypatch.setattr(module, "capabilities", lambda: ("FP32", "INT8"))
    other = exported(model, tmp_path / "new", table, "bf16")
    assert other.bundle.export is not None
    assert other.bundle.export.networks["model.onnx"] == "bf16"
    assert other.bundle.export.verified["emulated"]
    before, _ = predict_table(model, table)
    after, _ = predict_table(other, table)
    assert (after.probabilities == before.probabilities).all()


def test_where_all_networks_together_go_too_far_those_beside_the_image_network_stay_as_they_are(
    model: Model, table: SampleTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify, tried = export._verify, []

    def first_refused(source: Model, draft: Bundle, *others: Any) -> Figures:
        assert draft.export is not None
        tried.append(draft.export.networks["view.onnx"])
        if tried == ["fp16"]:
            raise BundleError("too far")
        return verify(source, draft, *others)

    monkeypatch.setattr(export, "_verify", first_refused)
    made = exported(model, tmp_path / "new", table, "fp16").bundle
    assert tried == ["fp16", "fp32"]
    assert made.precision_of("model.onnx") == "fp16"
    assert made.precision_of("view.onnx") == "fp32"
    assert made.files["view.onnx"] == model.bundle.files["view.onnx"]


@needs_nncf
def test_int8_answers_alike_by_every_runtime_that_knows_it(
    model: Model, table: SampleTable, tmp_path: Path
) -> None:
    other = exported(model, tmp_path / "new", table, "int8")
    nodes = {node.op_type for node in onnx.load(tmp_path / "new" / "model.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= nodes
    made = other.bundle.export
    assert made is not None
    assert made.networks["model.onnx"] == "int8"
    assert made.calibration["images"] == 30
    assert made.verified["figures"]["decisions"] >= 0.99
    one, _ = predict_table(other, table)
    two, _ = predict_table(Model.load(tmp_path / "new", "onnx"), table)
    before, _ = predict_table(model, table)
    assert one.probabilities == pytest.approx(two.probabilities, abs=0.02)
    assert one.probabilities == pytest.approx(before.probabilities, abs=0.1)
    assert (one.probabilities != before.probabilities).any()
    with pytest.raises(BundleError) as caught:
        Model.load(tmp_path / "new", "torch")
    assert "\n" not in str(caught.value)


@needs_nncf
def test_int8_is_the_same_every_time(model: Model, table: SampleTable, tmp_path: Path) -> None:
    one = exported(model, tmp_path / "one", table, "int8")
    two = exported(model, tmp_path / "two", table, "int8")
    assert one.bundle.files == two.bundle.files


@needs_nncf
def test_int8_that_was_calibrated_with_dark_images_is_refused_and_nothing_is_written(
    model: Model, tmp_path: Path
) -> None:
    table = images(tmp_path / "data", dim=0.1)
    with pytest.raises(BundleError, match="decisions") as caught:
        export_bundle(model, tmp_path / "new", format="onnx", precision="int8", table=table)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


@needs_nncf
def test_int8_uses_no_network(model: Model, tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
import numpy as np
from pulmoscope.training.precision.quantise import quantised
noise = np.random.default_rng(0).random((20, 3, 32, 32), dtype=np.float32)
print(len(quantised(Path(sys.argv[1]), noise, 0)))
"""
    network = model.bundle.folder / "model.onnx"
    ended = run_without_network([sys.executable, "-c", code, network], tmp_path / "run", 120)
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) > 0  # and no progress bar
    assert ended.attempts == ()


def test_without_nncf_int8_is_one_line(
    model: Model, table: SampleTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    monkeypatch.setattr(export, "look", lambda *_: pytest.fail("it is said before any image is read"))
    with pytest.raises(ModuleNotFoundError) as caught:
        export_bundle(model, tmp_path / "new", format="onnx", precision="int8", table=table)
    assert caught.value.name == "nncf"
    assert not (tmp_path / "new").exists()


def test_what_can_not_be_exported_is_refused(model: Model, table: SampleTable, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="--data"):
        export_bundle(model, tmp_path / "new", format="onnx", precision="fp16")
    with pytest.raises(BundleError):
        export_bundle(model, model.bundle.folder, format="onnx", precision="fp32", force=True)
    few = table.with_samples(list(table)[:60])
    with pytest.raises(DatasetError, match="40"):
        export_bundle(model, tmp_path / "new", format="onnx", precision="fp16", table=few)
    tiny_study_bundle(tmp_path / "study")
    with pytest.raises(BundleError, match="single images"):
        export_bundle(Model.load(tmp_path / "study"), tmp_path / "new", format="onnx", precision="fp32")


def test_some_limits_leave_the_others_as_they_are(model: Model, table: SampleTable, tmp_path: Path) -> None:
    made = export_bundle(
        model, tmp_path / "new", format="onnx", precision="fp16", table=table, limits={"decisions": 0.5}
    )
    assert made.export is not None
    assert made.export.verified["limits"] == {**LIMITS, "decisions": 0.5}


def test_a_full_disk_is_one_line_and_nothing_is_left(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise RuntimeError("Check failed at somewhere\nno space")

    monkeypatch.setattr(openvino_backend.import_quietly(), "save_model", full)
    with pytest.raises(ResourceError) as caught:
        export_bundle(model, tmp_path / "new", format="openvino", precision="fp32")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_an_audit_knows_the_view_network_in_any_format(model: Model, tmp_path: Path) -> None:
    made = exported(model, tmp_path / "new", None, "fp32", "openvino").bundle
    assert FACTS["view network"].known(made, {})
    (model.bundle.folder / "view.onnx").unlink()
    assert not FACTS["view network"].known(model.bundle.save(), {})


def test_an_export_replaces_another_only_when_told_to_and_is_not_exported_again(
    model: Model, tmp_path: Path
) -> None:
    again = exported(model, tmp_path / "new", None, "fp32", "openvino")
    with pytest.raises(BundleError, match=r"tiny 0\.1"):
        export_bundle(again, tmp_path / "newer", format="onnx", precision="fp32")
    with pytest.raises(OutputExistsError):
        export_bundle(model, tmp_path / "new", format="onnx", precision="fp32")
    made = export_bundle(model, tmp_path / "new", format="onnx", precision="fp32", force=True)
    assert set(made.files) == {"model.onnx", "view.onnx"}
    assert not list((tmp_path / "new").glob("*.xml"))


def test_a_killed_export_is_no_bundle(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(path: Path, text: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(export, "write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            export_bundle(model, tmp_path / "new", format="onnx", precision="fp32")
    assert not (tmp_path / "new" / MANIFEST).exists()
    with pytest.raises(OutputExistsError):  # whose files these are nobody knows
        export_bundle(model, tmp_path / "new", format="onnx", precision="fp32")
    made = export_bundle(model, tmp_path / "new", format="onnx", precision="fp32", force=True)
    assert load(tmp_path / "new") == made


def test_bundles_from_before_compute_in_single_precision() -> None:
    old = load(ROOT / "tests" / "data" / "old_bundles" / "0.1" / "xray")
    assert old.export is None
    assert {old.precision_of(name) for name in old.networks} == {"fp32"}


@pytest.mark.parametrize(
    ("key", "value", "finding"),
    [("precision", "int4", "int4"), ("format", "pickle", "pickle"), ("source", {"name": "old"}, "sha256")],
)
def test_an_unknown_precision_format_or_source_is_refused(
    model: Model, tmp_path: Path, key: str, value: Any, finding: str
) -> None:
    exported(model, tmp_path / "new", None, "fp32")
    manifest = tmp_path / "new" / MANIFEST
    plain = json.loads(manifest.read_text(encoding="utf-8"))
    plain["export"][key] = value
    manifest.write_text(json.dumps(plain), encoding="utf-8")
    with pytest.raises(BundleError, match=finding):
        load(tmp_path / "new")


def maps(*cells: Sequence[float]) -> FloatArray:
    """Heat maps of one row, the same for both classes: (images, 2, 1, cells)."""
    return np.array([[[row], [row]] for row in cells], dtype=np.float32)


def test_figures_are_those_worked_out_by_hand() -> None:
    samples = [Sample(f"{number}.png", CLASSES[number % 2], "val", "", "") for number in range(4)]
    exact = Answers(
        np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]], dtype=np.float32),
        ("COVID", "Normal", "refer", "refer"),
        maps([0, 1, 2], [0, 1, 2], [1, 1, 1], [0, 1, 2]),
    )
    other = Answers(
        np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6]], dtype=np.float32),
        ("COVID", "refer", "refer", "refer"),
        maps([0, 1, 2], [2, 1, 0], [0, 1, 2], [1, 1, 1]),
    )
    found = compared(samples, CLASSES, exact, other)
    assert found["labels"] == 0.75
    assert found["decisions"] == 0.75
    # COVID's 0.9 and 0.3 against 0.2 and 0.4: three of four pairs are in order, before it was all.
    assert found["auroc"] == pytest.approx(-0.25)
    # Correlations 1, -1 and 0; the third image's map is the same everywhere, and counts for nothing.
    assert found["heat_maps"] == pytest.approx(0)
    beyond = failures(found, {"labels": 0.75, "decisions": 0.8, "auroc": 0.2, "heat_maps": -0.1})
    assert [line.split()[0] for line in beyond] == ["decisions", "auroc"]


def flat(count: int) -> FloatArray:
    return maps(*[[1, 1, 1]] * count)


def test_a_figure_that_can_not_be_computed_does_not_keep_its_limit() -> None:
    """Of one class alone there is no AUROC, of maps that are flat no correlation; both are without fault else."""
    exact = Answers(np.array([[0.9, 0.1], [0.8, 0.2]], dtype=np.float32), ("COVID", "COVID"), flat(2))
    samples = [Sample(f"{number}.png", "COVID", "val", "", "") for number in range(2)]
    found = compared(samples, CLASSES, exact, exact)
    assert (found["auroc"], found["heat_maps"]) == (None, None)
    assert [line.split()[0] for line in failures(found, LIMITS)] == ["auroc", "heat_maps"]


def test_what_is_undefined_at_the_other_precision_alone_is_a_failure() -> None:
    exact = Answers(
        np.array([[0.9, 0.1], [0.2, 0.8]], dtype=np.float32), ("COVID", "Normal"), maps(*[[0, 1, 2]] * 2)
    )
    samples = [Sample(f"{number}.png", name, "val", "", "") for number, name in enumerate(CLASSES)]
    other = replace(exact, maps=np.full_like(exact.maps, np.nan))
    assert [line.split()[0] for line in failures(compared(samples, CLASSES, exact, other), LIMITS)] == [
        "heat_maps"
    ]


def test_an_export_that_was_verified_on_one_class_alone_is_refused(
    model: Model, table: SampleTable, tmp_path: Path
) -> None:
    alone = table.with_samples(replace(sample, label="COVID") for sample in table)
    with pytest.raises(BundleError, match="auroc") as caught:
        export_bundle(model, tmp_path / "new", format="onnx", precision="fp16", table=alone)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


class Finder:
    """A lung finder with one answer for every picture."""

    inputs = ("image",)

    def __init__(self, logit: float) -> None:
        self.logit = logit

    def __call__(self, *batches: FloatArray) -> dict[str, FloatArray]:
        return {"logits": np.full_like(batches[0], self.logit)}


def test_lung_finders_that_find_nothing_have_not_proved_to_agree() -> None:
    pictures = np.zeros((3, 1, 4, 4), dtype=np.float32)
    assert lungs_alike(Finder(1), Finder(1), pictures) == 1
    assert lungs_alike(Finder(-1), Finder(-1), pictures) == 0


def test_the_command_exports_and_its_bundle_is_shown_and_checked(
    model: Model, table: SampleTable, tmp_path: Path
) -> None:
    run = CliRunner().invoke
    rows = "".join(f"{one.file},{one.label},here,{one.split},p{one.file}\n" for one in table)
    (table.root / "manifest.csv").write_text(f"file,label,source,split,patient\n{rows}", encoding="utf-8")
    typed = ["export", str(model.bundle.folder), "--to", "openvino", "-o", str(tmp_path / "new")]
    ended = run(app, [*typed, "--precision", "fp16", "--data", str(table.root)])
    assert ended.exit_code == 0, ended.output
    assert "decisions" in ended.stdout
    for command in ("check", "show"):
        ended = run(app, ["models", command, str(tmp_path / "new")])
        assert ended.exit_code == 0, ended.output
    assert "fp16" in ended.stdout
