from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import pulmoscope
from bundles import tiny_bundle
from pulmoscope.apps.cli.versions import versions
from pulmoscope.runtime import bundle

SCHEMAS = Path(__file__).resolve().parents[1] / "docs" / "schemas"


def test_the_package_and_every_built_in_model_have_theirs() -> None:
    found = versions()
    assert found["pulmoscope"] == pulmoscope.__version__
    models = {name.removeprefix("model ") for name in found if name.startswith("model ")}
    assert models == {*bundle.built_in(), "xray-severity"}
    for name, folder in bundle.built_in().items():
        manifest = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
        assert found[f"model {name}"] == manifest["version"]


@pytest.mark.parametrize("name", ["diagnosis", "index", "bundle"])
def test_a_schemas_version_is_the_one_that_is_documented(name: str) -> None:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    assert re.search(schema["properties"]["schema_version"]["pattern"], versions()[f"schema {name}.json"])


def test_a_manifest_that_can_not_be_read_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tiny_bundle(tmp_path / "tiny").folder / "bundle.json").write_text("{", encoding="utf-8")
    monkeypatch.setattr(bundle, "built_in", lambda: {"tiny": tmp_path / "tiny"})
    assert versions()["model tiny"] == "damaged"
