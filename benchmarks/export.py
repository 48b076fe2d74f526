"""What a model's precisions cost in agreement and gain in speed.

    python benchmarks/export.py MODEL --data FOLDER [--data FOLDER ...] [--precision int8] [--precision bf16] -o OUT

MODEL is a bundle in single precision: a folder or a built-in name; --data: what it was trained on (split train
calibrates int8, split val compares). Each precision is exported to OUT/PRECISION in OpenVINO's format by `pulmoscope
export`; one that is there stays. What is refused is told with its figures. Each network that an export has is then run
against the one in single precision, by turns, five times a hundred images one by one on one thread: median processor
time of an image, and the ratio. Images are noise: the time doesn't depend on them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from pulmoscope.core.errors import BundleError
from pulmoscope.datasets.labels import mapped_labels
from pulmoscope.datasets.several import load_all
from pulmoscope.runtime.bundle import Bundle, is_bundle, load
from pulmoscope.runtime.model import Model
from pulmoscope.runtime.openvino_backend import capabilities, import_quietly
from pulmoscope.runtime.precision import PRECISIONS
from pulmoscope.training.precision.export import export_bundle

TURNS, IMAGES = 5, 100


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("model")
    ask.add_argument("--data", type=Path, action="append", required=True)
    ask.add_argument("--precision", choices=PRECISIONS, action="append")
    ask.add_argument("-o", "--out", type=Path, required=True)
    options = ask.parse_args()
    model = Model.load(options.model)
    table = mapped_labels(load_all(options.data), model.bundle.recipe.get("labels", {}))
    print(f"OpenVINO computes in {', '.join(capabilities())} here")
    for precision in options.precision or ("int8", "bf16"):
        out = options.out / precision
        try:
            if not is_bundle(out):
                export_bundle(model, out, format="openvino", precision=precision, table=table, force=True)
        except BundleError as error:
            print(error)
            continue
        made = load(out)
        assert made.export is not None
        print(precision, {name: round(value, 4) for name, value in made.export.verified["figures"].items()})
        for name in model.bundle.networks:
            facts = made.export.verified["networks"][name]
            print(f"{name}: {made.export.networks[name]} {facts}; {speed(model.bundle, made, name)}")


def speed(exact: Bundle, made: Bundle, name: str) -> str:
    """Milliseconds of processor time an image of both, by turns, and how many times as fast the second is."""
    requests = [compiled(exact, name), compiled(made, name)]
    shape = tuple(requests[0].model_inputs[0].shape)
    image = np.random.default_rng(20).random(shape, dtype=np.float32)
    spent: list[list[float]] = [[], []]
    for _ in range(TURNS):
        for request, times in zip(requests, spent, strict=True):
            start = time.process_time()
            for _ in range(IMAGES):
                request.infer([image])
            times.append((time.process_time() - start) / IMAGES * 1000)
    one, other = map(statistics.median, spent)
    return f"fp32 {one:.2f} ms, this {other:.2f} ms, ratio {one / other:.2f}"


def compiled(bundle: Bundle, name: str) -> Any:
    """An inference request of a network for one image, on one thread."""
    core = import_quietly().Core()
    model = core.read_model(bundle.folder / bundle.networks[name])
    model.reshape({index: [1, *list(port.partial_shape)[1:]] for index, port in enumerate(model.inputs)})
    hint = "bf16" if bundle.precision_of(name) == "bf16" and "BF16" in capabilities() else "f32"
    settings = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    return core.compile_model(model, "CPU", settings).create_infer_request()


if __name__ == "__main__":
    main()
