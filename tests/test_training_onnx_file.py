from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from pulmoscope.core.errors import BundleError
from pulmoscope.models.classifier import Classifier, build, build_multiscale
from pulmoscope.recipes.specs import ModelSpec
from pulmoscope.runtime.network import open_network
from pulmoscope.training.onnx import file as onnx_file

IMAGES = np.random.default_rng(5).standard_normal((6, 1, 32, 32), dtype=np.float32)


@pytest.fixture(scope="module")
def network() -> Classifier:
    """With a hidden layer, so that Grad-CAM's weights differ between images, and BatchNorms that do something."""
    torch.manual_seed(1)
    built = build(ModelSpec(backbone="cnn", pretrained=False, filters=8, hidden=24), 3, 1)
    for module in built.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias)
    return built.eval()


@pytest.fixture(scope="module")
def written(network: Classifier, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    return path, dict(onnx_file.write_onnx(network, path, IMAGES))


@pytest.mark.parametrize("runtime", ["openvino", "onnx", "torch"])
@pytest.mark.parametrize("batch", [1, 5])
def test_the_file_says_what_the_network_says(
    network: Classifier, written: tuple[Path, dict[str, float]], runtime: str, batch: int
) -> None:
    images = np.random.default_rng(batch).standard_normal((batch, 1, 32, 32), dtype=np.float32)
    logits = torch.from_numpy(images)
    with torch.no_grad():
        expected = network.explainable(logits)
    found = open_network(written[0], runtime, "cpu")(images)  # type: ignore[arg-type]
    for name, value in zip(("logits", "features", "gradients"), expected, strict=True):
        # Half precision keeps 11 bits, so a weight changes by at most one part in 2048.
        np.testing.assert_allclose(found[name], value.numpy(), atol=0.01 * float(value.std()), err_msg=name)


def test_gradients_are_the_derivatives_of_the_logits(
    network: Classifier, written: tuple[Path, dict[str, float]]
) -> None:
    found = open_network(written[0], "onnx", "cpu")(IMAGES[:1])
    maps = torch.from_numpy(found["features"]).requires_grad_()
    logits = network.head(maps.mean(dim=(2, 3)))
    for index in range(3):
        (slope,) = torch.autograd.grad(logits[0, index], maps, retain_graph=True)
        by_map = slope.mean(dim=(2, 3))[0].numpy()
        np.testing.assert_allclose(found["gradients"][0, index], by_map, atol=0.01 * np.abs(by_map).max())


def test_the_runtimes_agree_far_below_the_tolerance(written: tuple[Path, dict[str, float]]) -> None:
    differences = written[1]
    assert set(differences) == {"half", "openvino", "onnx", "torch"}
    assert max(differences[runtime] for runtime in onnx_file.RUNTIMES) < onnx_file.TOLERANCE / 10


def test_large_weights_are_stored_as_half_and_nothing_tells_of_the_machine(
    written: tuple[Path, dict[str, float]],
) -> None:
    model = onnx.load(written[0])
    for weight in model.graph.initializer:
        if weight.data_type == TensorProto.FLOAT:
            assert numpy_helper.to_array(weight).nbytes <= onnx_file.SMALL_BYTES
    assert any(weight.data_type == TensorProto.FLOAT16 for weight in model.graph.initializer)
    assert model.opset_import[0].version == onnx_file.OPSET
    assert b"site-packages" not in written[0].read_bytes()
    assert str(Path.cwd()).encode() not in written[0].read_bytes()


def test_the_network_is_left_as_it_is(network: Classifier) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    half = onnx_file.folded(network, IMAGES[:1], half=True)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(torch.equal(w, w.half().float()) for w in half.parameters() if w.ndim >= 2)


def test_narrowing_loses_nothing() -> None:
    exact = np.full((600,), 0.5, dtype=np.float32)
    inexact = np.full((600,), 1 / 3, dtype=np.float32)
    node = onnx.helper.make_node("Sum", ["exact", "inexact"], ["total"])
    total = onnx.helper.make_tensor_value_info("total", TensorProto.FLOAT, [600])
    weights = [numpy_helper.from_array(exact, "exact"), numpy_helper.from_array(inexact, "inexact")]
    graph = onnx.helper.make_graph([node], "two", [], [total], weights)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    narrow = onnx_file.narrowed(model)
    kinds = {weight.name: weight.data_type for weight in narrow.graph.initializer}
    assert kinds == {"exact.half": TensorProto.FLOAT16, "inexact": TensorProto.FLOAT}
    (found,) = onnx.reference.ReferenceEvaluator(narrow).run(None, {})
    np.testing.assert_array_equal(found, exact + inexact)


def test_a_changed_file_is_refused_and_removed(
    network: Classifier, written: tuple[Path, dict[str, float]], tmp_path: Path
) -> None:
    model = onnx.load(written[0])
    weight = next(w for w in model.graph.initializer if w.data_type == TensorProto.FLOAT16)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float16(1.02), weight.name))
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    expected = onnx_file.outputs(onnx_file.folded(network, IMAGES[:1], half=True), IMAGES)
    assert 0.001 < max(onnx_file.verify(path, expected, IMAGES, tolerance=1).values()) < 1
    with pytest.raises(BundleError, match=r"export refused: \w+ on openvino must equal torch's within 0.001"):
        onnx_file.verify(path, expected, IMAGES)
    assert not path.exists()


def test_weights_beyond_half_precision_are_stored_in_single(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = build(ModelSpec(backbone="cnn", pretrained=False, filters=8), 2, 1).eval()
    with torch.no_grad():
        network.head.output.weight.mul_(1e6)  # beyond 65,504, half precision's greatest number
    differences = onnx_file.write_onnx(network, tmp_path / "model.onnx", IMAGES)
    assert "half" not in differences
    assert max(differences.values()) < 1e-3
    model = onnx.load(tmp_path / "model.onnx")
    assert TensorProto.FLOAT16 not in {weight.data_type for weight in model.graph.initializer}


def test_a_network_of_three_stages_gives_all_of_them(tmp_path: Path) -> None:
    torch.manual_seed(1)
    spec = ModelSpec(backbone="mobilenetv2_035", pretrained=False, stages=3)
    network = build(spec, 2, 3).eval()
    images = np.random.default_rng(5).standard_normal((4, 3, 64, 64), dtype=np.float32)
    apart = onnx_file.write_onnx(network, tmp_path / "model.onnx", images)
    assert {"openvino", "onnx", "torch"} <= set(apart)
    found = open_network(tmp_path / "model.onnx", "openvino")(images)
    assert set(found) == {
        "logits",
        *(f"{kind}{stage}" for kind in ("features", "gradients") for stage in ("", "_3", "_4")),
    }


def test_a_network_of_slices_gives_a_vector_beside_three_stages(tmp_path: Path) -> None:
    torch.manual_seed(1)
    spec = ModelSpec(backbone="resnet10t", pretrained=False, hidden=512, dropout=0.5)
    network = build_multiscale(spec, 2, 3).eval()
    images = np.random.default_rng(5).standard_normal((4, 3, 64, 64), dtype=np.float32)
    apart = onnx_file.write_onnx(network, tmp_path / "slice.onnx", images)
    assert {"openvino", "onnx", "torch"} <= set(apart)
    stored = sum(weight.numel() for weight in network.parameters())
    assert (tmp_path / "slice.onnx").stat().st_size < 2.1 * stored  # two bytes a weight: none is there twice
    assert set(open_network(tmp_path / "slice.onnx", "openvino")(images)) == {
        "logits",
        "vector",
        *(f"{kind}_{stage}" for kind in ("features", "gradients") for stage in (3, 4, 5)),
    }
