"""Which model reads which kind of image."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pulmoscope.core.errors import PulmoscopeError, UnsuitableError
from pulmoscope.core.types import Modality
from pulmoscope.inference.xray_severity import SeverityReader
from pulmoscope.report import ct_page
from pulmoscope.report.html import compile_page
from pulmoscope.runtime.model import Model
from pulmoscope.runtime.network import Runtime
from pulmoscope.runtime.xray_severity import built_in_severity

BUILT_IN = {Modality.XRAY: "xray-covid", Modality.CT: "ct-slice-covid"}
"""What ``auto`` stands for."""
_TITLES = {Modality.XRAY: "an X-ray", Modality.CT: "a CT"}


class Models:
    """The models of one run: the one that was asked for, or the built-in one for each kind of image. Thread-safe.

    Args:
        model: a built-in bundle's name or a bundle's folder, opened at once; ``auto``: the built-in ones, each opened
            when the first image of its kind comes.
        runtime, device: see :func:`pulmoscope.runtime.network.open_network`.
        severity: what scores radiographs: a severity model's folder, opened at once; ``auto``: the built-in one;
            ``none``: nothing.

    Raises:
        BundleError, ResourceError: as :meth:`Model.load`.
    """

    def __init__(
        self,
        model: str = "auto",
        runtime: Runtime = "auto",
        device: str = "auto",
        severity: str | Path = "auto",
    ) -> None:
        self._opening: tuple[str, Runtime, str, str | Path] | None = (model, runtime, device, severity)
        self._runtime, self._device = runtime, device
        self._lock = threading.Lock()
        self._only = None if model == "auto" else Model.load(model, runtime, device)
        self._opened: dict[Modality, Model] = {}
        self._used: dict[Modality, Model] = {}
        self._expected: set[Modality] = set()
        self._scorer = None if severity in ("auto", "none") else SeverityReader.open(severity)
        self._scores = severity != "none"

    @classmethod
    def only(cls, model: Model, severity: str | Path = "auto") -> Models:
        """One opened model for everything that it can read."""
        models = cls(severity=severity)
        models._only, models._opening = model, None
        return models

    @property
    def reopenable(self) -> bool:
        """Whether another process can open the same: they can be pickled."""
        return self._opening is not None

    def __reduce__(self) -> tuple[Any, ...]:
        assert self._opening is not None
        return Models, self._opening

    def of(self, modality: Modality, name: str) -> Model:
        """The model that reads a kind of image; ``name``: the input, for the message.

        Raises:
            UnsuitableError: the model that was asked for reads the other kind of image.
        """
        if self._only is not None:
            reads = Modality(self._only.bundle.modality)
            if reads is not modality:
                rule = f"the model {self._only.bundle.name} reads {_TITLES[reads]}"
                raise UnsuitableError(name, "other-modality", f"the image is {_TITLES[modality]}", rule)
            return self._only
        model = self._built_in(modality)
        self._used[modality] = model
        return model

    def expected(self, modality: Modality) -> Model | None:
        """The model that would read such an image, not counted as used; None: the one asked for reads others."""
        if self._only is None:
            return self._built_in(modality)
        return self._only if self._only.bundle.modality == modality else None

    @property
    def severity(self) -> SeverityReader | None:
        """What scores radiographs; None: nothing does."""
        with self._lock:
            if self._scores and self._scorer is None and built_in_severity().is_dir():
                self._scorer = SeverityReader.open()
            return self._scorer

    def expect(self, modality: Modality) -> None:
        """Begin to load what images of a kind need, in a thread, while the first is read."""
        with self._lock:
            begun = modality in self._expected
            self._expected.add(modality)
        if not begun:
            threading.Thread(target=self._load_for, args=(modality,), name="loading").start()

    def _load_for(self, modality: Modality) -> None:
        if modality is Modality.CT:
            importlib.import_module("pulmoscope.segment.ct_lungs")
            compile_page(ct_page.TEMPLATE)
        if self._only is None:
            with suppress(PulmoscopeError):  # :meth:`of` tells it
                self._built_in(modality)

    def _built_in(self, modality: Modality) -> Model:
        with self._lock:
            if modality not in self._opened:
                self._opened[modality] = Model.load(BUILT_IN[modality], self._runtime, self._device)
            return self._opened[modality]

    @property
    def used(self) -> list[Mapping[str, str]]:
        """Name, version, sha256 and modality of each model that read something, or was asked for; X-rays first."""
        read = [self._used[modality] for modality in Modality if modality in self._used]
        models = read if self._only is None else [self._only]
        return [{**model.identity, "modality": model.bundle.modality} for model in models]
