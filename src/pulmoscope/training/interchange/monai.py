"""A model of single images as a MONAI Bundle (docs.monai.io, «MONAI Bundle Specification»).

::

    OUT/configs/metadata.json     what goes in and comes out, versions, figures; written last
    OUT/configs/inference.json    network, preparation, answers as JSON
    OUT/models/                   the bundle as it is, with model.onnx; where torch is there, model.ts and model.pt
    OUT/scripts/                  what the configuration names
    OUT/docs/README.md, OUT/LICENSE
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from pulmoscope.core.errors import BundleError
from pulmoscope.core.files import NOTICE, check_folder, claim_folder, write_bytes
from pulmoscope.core.types import Modality
from pulmoscope.core.version import VERSION
from pulmoscope.runtime.bundle import CARD, Bundle
from pulmoscope.runtime.model import Model
from pulmoscope.training.interchange.common import bundle_files, licence, template

METADATA, INFERENCE = "configs/metadata.json", "configs/inference.json"
SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
)
"""Where MONAI's verifier takes the schema of the metadata from."""
_VERSIONS = {"monai_version": "1.4.0", "pytorch_version": "2.6.0", "numpy_version": "1.26.0"}
"""The oldest that the bundle is made for."""
_TORCH = "onnx2torch"


def export_monai(model: Model, out: Path, *, force: bool = False) -> bool:
    """Write the MONAI Bundle of a model.

    Args:
        out: its folder.

    Returns:
        Whether it has TorchScript, for which the extra ``torch`` must be there.

    Raises:
        OutputExistsError: ``out`` holds one, and ``force`` is not given.
        BundleError: the model reads whole studies, or is in another format than ONNX, or TorchScript of it computes
            other answers.
        ResourceError: the disk is full.
    """
    check_folder(out, METADATA, force)
    _check(model.bundle)
    metadata = _metadata(model.bundle)
    scripts = dict(_torchscript(model, metadata))
    claim_folder(out, METADATA, force)
    for name in ("model.ts", "model.pt"):
        (out / "models" / name).unlink(missing_ok=True)
    for name, content in bundle_files(model.bundle):
        write_bytes(out / "models" / name, content)
    for name, content in {**scripts, **_texts(model.bundle, bool(scripts))}.items():
        write_bytes(out / name, content)
    write_bytes(out / METADATA, _json(metadata))
    return bool(scripts)


def _check(bundle: Bundle) -> None:
    if bundle.patient is not None:
        raise BundleError(
            f"{bundle.folder}: only models of single images become MONAI Bundles; it reads whole studies"
        )
    if not bundle.network.endswith(".onnx"):
        raise BundleError(
            f"{bundle.folder}: its network is no ONNX file; export the bundle that it was made from"
        )


def _torchscript(model: Model, metadata: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """``model.ts`` and ``model.pt``; nothing where torch's converter is not there."""
    if find_spec(_TORCH) is None:
        return
    from pulmoscope.training.interchange.torchscript import torchscript

    script, weights = torchscript(model, metadata)
    yield "models/model.ts", script
    yield "models/model.pt", weights


def _texts(bundle: Bundle, scripted: bool) -> dict[str, bytes]:
    """All files but the models and the metadata."""
    card = (bundle.folder / CARD).read_text(encoding="utf-8") if (bundle.folder / CARD).is_file() else ""
    texts = {
        "scripts/__init__.py": "",
        "scripts/network.py": template("monai/network.py"),
        "scripts/prepare.py": template("monai/prepare.py"),
        "docs/README.md": f"{template('monai/README.md')}\n{card}",
        "LICENSE": licence(bundle),
    }
    return {
        INFERENCE: _json(_inference(bundle, scripted)),
        **{name: text.encode() for name, text in texts.items()},
    }


def _metadata(bundle: Bundle) -> dict[str, Any]:
    """``metadata.json``: the tensors, what they mean, and how well the model does."""
    classes = {str(index): name for index, name in enumerate(bundle.classes)}
    size, frame = bundle.preprocess.size, bundle.preprocess
    mean, std = np.asarray(frame.mean), np.asarray(frame.std)  # of each channel, or of all
    kind = "chest radiograph" if bundle.modality == Modality.XRAY else "slice of a chest CT"
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": "CR" if bundle.modality == Modality.XRAY else "CT",
        "num_channels": frame.channels,
        "spatial_shape": [size, size],
        "dtype": "float32",
        "value_range": [float(((0 - mean) / std).min()), float(((1 - mean) / std).max())],
        "is_patch_data": False,
        "channel_def": {str(place): "grey" for place in range(frame.channels)},
    }
    scores = {
        "type": "probabilities",
        "format": "classes",
        "modality": "n/a",
        "num_channels": len(bundle.classes),
        "spatial_shape": [],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": classes,
    }
    return {
        "schema": SCHEMA,
        "version": bundle.version,
        "changelog": {bundle.version: f"exported by pulmoscope {VERSION}"},
        **_VERSIONS,
        "optional_packages_version": {"pulmoscope": VERSION, "onnxruntime": "1.18"},
        "required_packages_version": {},
        "name": bundle.name,
        "task": f"Classification of a {kind}: {', '.join(bundle.classes)}",
        "description": f"Scores whose softmax are calibrated probabilities of what a {kind} looks like. {NOTICE}",
        "authors": "Pulmoscope",
        "copyright": "See LICENSE",
        "data_source": ", ".join(bundle.training_data.get("sources", ())) or "see docs/README.md",
        "data_type": "picture or DICOM",
        "image_classes": f"{kind}, cropped, resampled and normalised by scripts/prepare.py",
        "label_classes": ", ".join(bundle.classes),
        "pred_classes": ", ".join(bundle.classes),
        "eval_metrics": _figures(bundle),
        "intended_use": NOTICE,
        "references": [],
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": scores}},
    }


def _figures(bundle: Bundle) -> dict[str, float]:
    """Every figure that the bundle's record has: ``<data set>: <figure>`` → value."""
    return {
        f"{name}: {figure}": found["value"]
        for name, record in bundle.metrics.items()
        for figure, found in record["figures"].items()
        if found["value"] is not None
    }


def _inference(bundle: Bundle, scripted: bool) -> dict[str, Any]:
    """``inference.json``; the network is TorchScript where there is one, else ONNX."""
    network = (
        {"_target_": "torch.jit.load", "f": "$@bundle_root + '/models/model.ts'", "map_location": "cpu"}
        if scripted
        else {"_target_": "scripts.network.OnnxNetwork", "folder": "$@bundle_root + '/models'"}
    )
    return {
        "imports": ["$import glob", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/input'",
        "output_dir": "$@bundle_root + '/output'",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "classes": list(bundle.classes),
        "network_def": network,
        "network": "$@network_def.to(@device).eval()",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "scripts.prepare.Prepared", "folder": "$@bundle_root + '/models'"}],
        },
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': path} for path in sorted(glob.glob(@dataset_dir + '/*'))]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "Activationsd", "keys": "pred", "softmax": True}],
        },
        "answer": {
            "_target_": "scripts.prepare.predict",
            "loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "classes": "@classes",
            "device": "@device",
            "output": "@output_dir",
        },
        "run": ["@answer"],
    }


def _json(plain: object) -> bytes:
    return (json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
