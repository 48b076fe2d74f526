from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from bundles import lung_preprocess, tiny_bundle
from pulmoscope.core.errors import BundleError
from pulmoscope.recipes.specs import CLASSIFIERS
from pulmoscope.runtime.bundle import (
    MANIFEST,
    PARTS,
    Bundle,
    Calibration,
    Conformal,
    Thresholds,
    built_in,
    load,
)

SCHEMA = Path(__file__).resolve().parents[1] / "docs" / "schemas" / "bundle.schema.json"


OLD = Path(__file__).parent / "data" / "old_bundles" / "0.1"
FIRST_FIELDS = ("name", "version", "modality", "classes", "preprocess", "calibration", "thresholds", "files")
"""Of a manifest of the first version."""


def edit(folder: Path, **changes: Any) -> None:
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **changes}))


def test_what_was_saved_is_what_is_loaded(tmp_path: Path) -> None:
    saved = tiny_bundle(
        tmp_path, ("a", "b", "c"), temperature=1.7, distance=3.5, confidence=0.8, preprocess=lung_preprocess()
    )
    full = replace(saved, recipe={"name": "x", "phases": [{"epochs": 3}]}, metrics={"accuracy": 0.9}).save()
    assert load(tmp_path) == full
    assert load(str(tmp_path)).calibration == Calibration(1.7, "nothing")
    assert load(tmp_path).thresholds == Thresholds(0.8, 3.5)
    assert load(tmp_path).classes == ("a", "b", "c")
    assert load(tmp_path).preprocess.region == "lungs"


def test_every_part_is_sealed_with_its_checksum_and_nothing_else_is(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path, preprocess=lung_preprocess())
    (tmp_path / "weights.safetensors").write_bytes(b"of training")
    sealed = bundle.save()
    assert set(sealed.files) == {"lungs.onnx", "model.onnx"}
    for name, checksum in sealed.files.items():
        assert checksum == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert sealed.sha256 == hashlib.sha256((tmp_path / MANIFEST).read_bytes()).hexdigest()


@pytest.mark.parametrize("distance", [None, 2.5])
def test_a_saved_bundle_keeps_its_schema(tmp_path: Path, distance: float | None) -> None:
    tiny_bundle(tmp_path, distance=distance)
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    plain = json.loads((tmp_path / MANIFEST).read_text(encoding="utf-8"))
    validator.validate(plain)
    assert validator.is_valid(
        {key: value for key, value in plain.items() if key not in ("conformal", "export")}
    )  # before 2.1 and 2.2
    for name in plain.keys() - {"conformal", "export"}:
        assert not validator.is_valid({key: value for key, value in plain.items() if key != name})
    assert not validator.is_valid({**plain, "classes": ["one"]})


@pytest.mark.parametrize("name", ["model.onnx", "lungs.onnx"])
def test_a_changed_file_is_found(tmp_path: Path, name: str) -> None:
    tiny_bundle(tmp_path, preprocess=lung_preprocess())
    content = bytearray((tmp_path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / name).write_bytes(bytes(content))
    with pytest.raises(BundleError, match=rf"{name}: its sha256 differs"):
        load(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    tiny_bundle(tmp_path)
    (tmp_path / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx: is missing"):
        load(tmp_path)


def test_a_card_that_was_written_anew_harms_no_bundle(tmp_path: Path) -> None:
    """A kill between card and manifest leaves a new card beside the old manifest, also one that vouches for it."""
    bundle = tiny_bundle(tmp_path)
    as_before = {name: value for name, value in asdict(bundle).items() if name in FIRST_FIELDS}
    files = {**bundle.files, "MODEL_CARD.md": "00" * 32}
    manifest = {**as_before, "schema_version": "1.0", "files": files}
    (tmp_path / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    (tmp_path / "MODEL_CARD.md").write_text("# new\n", encoding="utf-8")
    assert load(tmp_path).name == bundle.name


@pytest.mark.parametrize("name", ["model.onnx", "lungs.onnx", "reference.npz"])
def test_a_manifest_that_does_not_name_a_part_it_needs_is_refused(tmp_path: Path, name: str) -> None:
    bundle = tiny_bundle(tmp_path, preprocess=lung_preprocess(), distance=2.0)
    edit(tmp_path, files={part: checksum for part, checksum in bundle.files.items() if part != name})
    with pytest.raises(BundleError, match=rf"files must name {name}"):
        load(tmp_path)


@pytest.mark.parametrize("temperature", [0, -1.5, float("nan"), float("inf"), "warm"])
def test_a_temperature_that_can_not_divide_is_refused(tmp_path: Path, temperature: object) -> None:
    tiny_bundle(tmp_path)
    edit(tmp_path, calibration={"temperature": temperature, "fitted_on": ""})
    with pytest.raises(BundleError, match=r"bundle\.json: "):
        load(tmp_path)


def test_another_major_version_is_refused_and_a_minor_one_is_read(tmp_path: Path) -> None:
    tiny_bundle(tmp_path)
    edit(tmp_path, schema_version="2.9")
    assert isinstance(load(tmp_path), Bundle)
    edit(tmp_path, schema_version="3.0")
    with pytest.raises(BundleError, match=r"schema_version must be 1\.x or 2\.x"):
        load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"preprocess": {"type": "xray", "size": 32, "colour": "green"}},
        {"preprocess": {"size": 32}},
        {"calibration": None},
        {"classes": 3},
        {"surprise": 1},
        {"schema_version": None},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_manifest_that_breaks_the_contract_is_refused_in_one_line(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    tiny_bundle(tmp_path)
    edit(tmp_path, **change)
    with pytest.raises(BundleError, match=r"bundle\.json: ") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_a_manifest_that_is_no_json_object_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(BundleError, match=r"bundle\.json: "):
        load(tmp_path)


LEAST = {"COVID": 0.1, "Normal": 0.4}


@pytest.mark.parametrize(
    "change",
    [
        {"calibration": {"temperature": 1.0, "fitted_on": "", "bias": [0.1]}},
        {"conformal": {"coverage": 0.9, "by_class": {"COVID": 0.1}}},
        {"conformal": {"coverage": 0.9, "by_class": LEAST, "by_hospital": {"here": {"COVID": 0.1}}}},
        {"conformal": {"coverage": 0.9}},
    ],
)
def test_bias_and_sets_name_every_class(tmp_path: Path, change: dict[str, Any]) -> None:
    tiny_bundle(tmp_path)
    edit(tmp_path, **change)
    with pytest.raises(BundleError, match=r"bundle\.json: "):
        load(tmp_path)


def test_sets_and_bias_keep_the_schema(tmp_path: Path) -> None:
    sets = Conformal(0.9, LEAST, {"here": LEAST}, {"COVID": 60, "Normal": 50}, "a test")
    made = replace(
        tiny_bundle(tmp_path), conformal=sets, calibration=Calibration(1.5, bias=(0.1, -0.1))
    ).save()
    assert load(tmp_path) == made
    plain = json.loads((tmp_path / MANIFEST).read_text(encoding="utf-8"))
    Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate(plain)
    del plain["conformal"], plain["calibration"]["bias"]  # as before 2.1
    (tmp_path / MANIFEST).write_text(json.dumps({**plain, "schema_version": "2.0"}), encoding="utf-8")
    assert load(tmp_path) == replace(made, conformal=None, calibration=Calibration(1.5))


def test_what_is_neither_a_name_nor_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is neither a built-in bundle"):
        load(tmp_path / "nowhere")


def test_the_bundles_that_come_with_the_package_are_whole_and_small() -> None:
    for name, folder in built_in().items():
        bundle = load(name)
        assert name in (bundle.name, f"{bundle.name}-{bundle.version}")  # older ones stay beside the new
        assert sum((folder / part).stat().st_size for part in bundle.files) <= 8 * 2**20
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        schema = SCHEMA.with_name("bundle-1.schema.json") if manifest["schema_version"] == "1.0" else SCHEMA
        Draft202012Validator(json.loads(schema.read_text(encoding="utf-8"))).validate(manifest)


def test_a_limit_from_normal_images_needs_what_they_looked_like(tmp_path: Path) -> None:
    bare = tiny_bundle(tmp_path)
    replace(bare, thresholds=replace(bare.thresholds, normal_distance=2.0)).save()
    with pytest.raises(BundleError, match=r"files must name normal\.npz \(found: model\.onnx\)"):
        load(tmp_path)


def test_thresholds_by_class_keep_the_schema(tmp_path: Path) -> None:
    validator = Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    bare = tiny_bundle(tmp_path)

    def written(**changes: Any) -> Any:
        replace(bare, thresholds=replace(bare.thresholds, **changes)).save()
        return json.loads((tmp_path / MANIFEST).read_text(encoding="utf-8"))

    validator.validate(written(by_class={"COVID": 0.9, "Normal": 0.35}, normal_distance=1.5))
    assert not validator.is_valid(written(by_class={"COVID": 1.5}))
    assert not validator.is_valid(written(normal_distance=-1.0))


def test_a_bundle_from_before_there_were_such_thresholds_is_read(tmp_path: Path) -> None:
    tiny_bundle(tmp_path, confidence=0.7)
    edit(tmp_path, thresholds={"confidence": 0.7, "distance": None})
    assert load(tmp_path).thresholds == Thresholds(0.7)


@pytest.mark.parametrize(
    ("name", "preprocess", "network", "patient"),
    [
        ("xray", "xray", "model.onnx", None),
        ("xray-one-logit", "xray", "model.onnx", None),
        ("ct-slice", "ct-slice", "model.onnx", None),
        ("ct-three-level", "ct-body", "slice.onnx", "ensemble"),
        ("ct-severity", "ct-standard", "model.onnx", "regression"),
    ],
)
def test_bundles_of_the_first_version_are_read_and_written_as_todays(
    tmp_path: Path, name: str, preprocess: str, network: str, patient: str | None
) -> None:
    copy = shutil.copytree(OLD / name, tmp_path / name)
    found = load(copy)
    assert preprocess == found.preprocess.TYPE
    assert found.network == network
    assert (found.patient and found.patient.decides) == patient
    saved = found.save()
    assert load(copy) == saved
    assert saved.files == found.files
    Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate(
        json.loads((copy / MANIFEST).read_text(encoding="utf-8"))
    )


def test_a_kind_that_the_first_version_never_had_is_refused(tmp_path: Path) -> None:
    copy = shutil.copytree(OLD / "xray", tmp_path / "xray")
    edit(copy, kind="oracle")
    with pytest.raises(BundleError, match="oracle"):
        load(copy)


@pytest.mark.parametrize("name", ["../outside.onnx", "evil.sh", "/tmp/model.onnx"])
def test_a_manifest_that_names_what_is_no_part_of_a_bundle_is_refused(tmp_path: Path, name: str) -> None:
    bundle = tiny_bundle(tmp_path / "bundle")
    edit(tmp_path / "bundle", files={**bundle.files, name: "0" * 64})
    with pytest.raises(BundleError, match="parts of a bundle"):
        load(tmp_path / "bundle")


def test_every_vote_that_a_recipe_can_learn_is_a_part() -> None:
    assert {f"{name}.onnx" for name in CLASSIFIERS} < set(PARTS)
