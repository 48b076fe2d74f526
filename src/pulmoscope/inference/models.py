"""The one place that knows the kinds of models: which class opens a bundle, and which reads a CT with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from pulmoscope.inference.answer import CtReader
from pulmoscope.inference.severity_reader import SeverityReader
from pulmoscope.inference.slice_reader import SliceReader
from pulmoscope.inference.three_level_reader import ThreeLevelReader
from pulmoscope.runtime import severity_bundle, study_bundle
from pulmoscope.runtime.any_bundle import kind_of
from pulmoscope.runtime.model import Model
from pulmoscope.runtime.network import Runtime
from pulmoscope.runtime.severity import SeverityModel
from pulmoscope.runtime.three_level import ThreeLevelModel

AnyModel = Model | ThreeLevelModel | SeverityModel

_KINDS: Mapping[str, type[AnyModel]] = {
    "image": Model,
    severity_bundle.KIND: SeverityModel,
    study_bundle.KIND: ThreeLevelModel,
}
_READERS: Mapping[type[AnyModel], Callable[[Any], CtReader]] = {
    Model: SliceReader,
    SeverityModel: SeverityReader,
    ThreeLevelModel: ThreeLevelReader,
}


def open_model(model: str | Path, runtime: Runtime = "auto", device: str = "auto") -> AnyModel:
    """Load, verify and open a bundle of any kind (errors: see :meth:`Model.load`)."""
    return _KINDS.get(kind_of(model), Model).load(model, runtime, device)


def reader_of(model: AnyModel) -> CtReader:
    """What reads CTs with this model, which is of modality CT."""
    return _READERS[type(model)](model)


def reads_images(model: AnyModel) -> TypeGuard[Model]:
    """Whether it is a model of single images, which does not itself say what a patient's slices come to."""
    return type(model) is Model
