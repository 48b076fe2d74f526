"""The contract that every runtime keeps."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pulmoscope.core.errors import BundleError, ResourceError
from pulmoscope.runtime.network import Runtime, cuda_index, open_network

RUNTIMES: tuple[Runtime, ...] = ("openvino", "onnx", "torch")
SIDE = 16


def write_network(path: Path, *, halves: bool = False, seed: int = 4) -> None:
    """A small convolutional network with a hidden layer and random weights.

    With ``halves`` the weights are stored as float16 and cast to float32 within the graph.
    """
    rng = np.random.default_rng(seed)
    weights = {
        "conv1": rng.normal(0, 0.4, (8, 3, 3, 3)),
        "conv2": rng.normal(0, 0.2, (6, 8, 3, 3)),
        "hidden": rng.normal(0, 1, (6, 5)),
        "head": rng.normal(0, 1, (5, 4)),
    }
    initialisers, nodes = [], []
    for name, value in weights.items():
        if halves:
            initialisers.append(numpy_helper.from_array(value.astype(np.float16), f"{name}_half"))
            nodes.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
        else:
            stored = value.astype(np.float16).astype(np.float32)
            initialisers.append(numpy_helper.from_array(stored, name))
    nodes += [
        helper.make_node("Conv", ["image", "conv1"], ["a"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "conv2"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["features"]),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["vector"]),
        helper.make_node("MatMul", ["vector", "hidden"], ["d"]),
        helper.make_node("Relu", ["d"], ["e"]),
        helper.make_node("MatMul", ["e", "head"], ["logits"]),
    ]
    outputs = {"logits": ["batch", 4], "features": ["batch", 6, SIDE // 2, SIDE // 2]}
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        initialisers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def reference(path: Path, batch: np.ndarray) -> dict[str, np.ndarray]:
    """ONNX's own, slow and independent evaluator."""
    from onnx.reference import ReferenceEvaluator

    session = ReferenceEvaluator(str(path))
    return dict(zip(session.output_names, session.run(None, {"image": batch}), strict=True))


@pytest.fixture
def batch() -> np.ndarray:
    return np.random.default_rng(1).normal(0, 1, (5, 3, SIDE, SIDE)).astype(np.float32)


@pytest.mark.parametrize("halves", [False, True], ids=["float32", "float16 weights"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_answers_as_onnx_s_own_evaluator(
    tmp_path: Path, batch: np.ndarray, runtime: Runtime, halves: bool
) -> None:
    path = tmp_path / "model.onnx"
    write_network(path, halves=halves)
    found = open_network(path, runtime, "cpu")(batch)
    expected = reference(path, batch)
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], value, atol=1e-4, rtol=0)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_several_inputs_go_in_the_file_s_order(tmp_path: Path, batch: np.ndarray, runtime: Runtime) -> None:
    graph = helper.make_graph(
        [helper.make_node("Sub", ["left", "right"], ["apart"])],
        "difference",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])
            for name in ("left", "right")
        ],
        [helper.make_tensor_value_info("apart", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    network = open_network(path, runtime, "cpu")
    assert network.inputs == ("left", "right")
    other = np.random.default_rng(2).normal(0, 1, batch.shape).astype(np.float32)
    np.testing.assert_allclose(network(batch, other)["apart"], batch - other, atol=1e-6)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_batch_equals_its_images_one_by_one(tmp_path: Path, batch: np.ndarray, runtime: Runtime) -> None:
    path = tmp_path / "model.onnx"
    write_network(path)
    network = open_network(path, runtime, "cpu")
    whole = network(batch)
    for index in range(len(batch)):
        alone = network(batch[index : index + 1])
        for name, value in whole.items():
            np.testing.assert_allclose(alone[name][0], value[index], atol=1e-5, rtol=0)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_answer_is_not_changed_by_the_next_one(
    tmp_path: Path, batch: np.ndarray, runtime: Runtime
) -> None:
    path = tmp_path / "model.onnx"
    write_network(path)
    network = open_network(path, runtime, "cpu")
    first = network(batch[:1])
    kept = {name: value.copy() for name, value in first.items()}
    network(batch[1:2])
    for name, value in first.items():
        np.testing.assert_array_equal(value, kept[name])


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("device", ["cuda:97", "gpu", "cuda:x"])
def test_a_device_that_is_not_there_is_refused_in_one_line(
    tmp_path: Path, runtime: Runtime, device: str
) -> None:
    path = tmp_path / "model.onnx"
    write_network(path)
    with pytest.raises(ResourceError, match=device) as caught:
        open_network(path, runtime, device)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, runtime: Runtime) -> None:
    path = tmp_path / "model.onnx"
    write_network(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(BundleError, match=r"model\.onnx") as caught:
        open_network(path, runtime, "cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("runtime", "module", "extra"),
    [
        ("openvino", "openvino", "pulmoscope"),
        ("onnx", "onnxruntime", r"\[onnx\]"),
        ("torch", "torch", r"\[torch\]"),
    ],
)
def test_a_runtime_that_is_not_installed_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: Runtime, module: str, extra: str
) -> None:
    path = tmp_path / "model.onnx"
    write_network(path)
    monkeypatch.delitem(sys.modules, f"pulmoscope.runtime.{runtime}_backend", raising=False)
    for name in [name for name in sys.modules if name == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ResourceError, match=f"{module} is not installed; pip install '.*{extra}"):
        open_network(path, runtime, "cpu")


def test_devices_by_their_names() -> None:
    assert [cuda_index(name) for name in ("auto", "cpu", "cuda", "cuda:0", "cuda:3")] == [None, None, 0, 0, 3]


@pytest.mark.parametrize("error", [ImportError, OSError])
def test_a_runtime_whose_shared_library_is_missing_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """onnxruntime tells so by an ImportError, torch by an OSError."""

    class Broken:
        def find_spec(self, name: str, path: object, target: object = None) -> None:
            if name == "onnxruntime":
                raise error("libgomp.so.1: cannot open shared object file\nno such file")

    write_network(tmp_path / "model.onnx")
    for name in [name for name in sys.modules if name.split(".")[0] == "onnxruntime"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "pulmoscope.runtime.onnx_backend", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(ResourceError, match=r"^runtime onnx: can't be loaded \(libgomp[^\n]*\)$"):
        open_network(tmp_path / "model.onnx", "onnx")
