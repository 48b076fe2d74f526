"""The main flow: image → scan → quality → prediction → decision → explanation; for one image and for thousands."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from pulmoscope import __version__
from pulmoscope.core.classes import is_positive
from pulmoscope.core.errors import InputError
from pulmoscope.core.files import write_json
from pulmoscope.core.software import versions
from pulmoscope.core.types import Decision, Diagnosis, Explanation, Flag, Scan
from pulmoscope.explain import gradcam
from pulmoscope.io import Study, read_study, read_xray
from pulmoscope.pipeline import outputs as files
from pulmoscope.pipeline.ahead import ahead
from pulmoscope.pipeline.decision import judge
from pulmoscope.quality import rules
from pulmoscope.report.diagnosis import diagnosed_entry, refused_entry, to_index
from pulmoscope.runtime.model import Model, Outputs, Prepared
from pulmoscope.runtime.network import Runtime

Reports = Literal["all", "positive", "none"]
"""Whose page and heat maps are written: everyone's, those of positive or referred images, or no one's."""

_SHOWN = 0.05
"""Least probability of a class, other than the most probable one, whose evidence is shown."""


@dataclass(frozen=True)
class Outcome:
    """What became of one input of a run.

    Attributes:
        name: the input as the user named it.
        folder: the name of its folder within the run's.
        plain: its ``diagnosis.json``; None where it was refused.
        report: its page; None where none was written.
        error: why it was refused.
        kept: whether an interrupted run had already diagnosed it.
    """

    name: str
    folder: str
    plain: Mapping[str, Any] | None = None
    report: Path | None = None
    error: InputError | None = None
    kept: bool = False

    def entry(self) -> dict[str, Any]:
        """This outcome in ``index.json``."""
        if self.error is not None:
            return refused_entry(self.name, self.error.rule, self.error.value, str(self.error))
        assert self.plain is not None
        report = f"{self.folder}/{files.REPORT}" if self.report else None
        return diagnosed_entry(self.name, self.folder, self.plain, report)


@dataclass(frozen=True)
class _Seen:
    """A scan, what the quality rules say of it, and what the network will see."""

    scan: Scan
    prepared: Prepared
    flags: tuple[Flag, ...]
    timings_s: Mapping[str, float]


def diagnose(
    source: str | Path | Scan, model: str | Path | Model = "xray-covid", *, explain: bool = True
) -> Diagnosis:
    """Diagnose one image.

    Args:
        source: a file, or a scan that was already read.
        model: a built-in bundle's name, a bundle's folder, or an opened model (quicker for several images).
        explain: also compute heat maps, for the most probable class and every other of at least 5 %.

    Raises:
        InputError: the image is refused.
        BundleError: there is no such bundle, or it is damaged.
        ResourceError: the runtime is not there.
    """
    opened = model if isinstance(model, Model) else Model.load(model)
    start = perf_counter()
    scan = source if isinstance(source, Scan) else read_xray(Path(source))
    diagnosis, seen, answer = _diagnosed(opened, scan, perf_counter() - start)
    return _explained(diagnosis, seen, answer) if explain else diagnosis


def diagnose_many(
    studies: Sequence[Study], model: Model, out: Path, *, reports: Reports = "all", force: bool = False
) -> Iterator[Outcome]:
    """Diagnose many images in flat memory, and write each one's files and the run's ``index.json``.

    Each image goes through all stages in one thread, so that only as many as there are threads are in memory. A run
    that was killed goes on when it is started again: what is complete is kept. Outcomes come in the order of
    ``studies``; the index is written after the last one was taken.

    Raises:
        OutputExistsError: ``out`` has a complete run in it, or an unfinished one over other inputs, and ``force`` is
            not given.
        ResourceError: the disk is full, or the folder can't be written.
    """
    files.claim(out, {study.slug for study in studies}, force)
    listed = []
    workers = (os.cpu_count() or 1) + 1  # one more than cores: some of them wait for the disk
    with ThreadPoolExecutor(workers) as threads:
        for outcome in ahead(threads, partial(_one, model, out, reports), studies, 8 * workers):
            listed.append(outcome.entry())
            yield outcome
    write_json(out / files.INDEX, to_index([{**model.identity, "modality": model.bundle.modality}], listed, __version__))


def _one(model: Model, out: Path, reports: Reports, study: Study) -> Outcome:
    """One input, from its file to its results: refused, already done by a killed run, or diagnosed."""
    start = perf_counter()
    result = read_study(study)
    if result.scan is None:
        files.clear(out / result.slug)
        return Outcome(result.name, result.slug, error=result.error)
    folder = out / result.slug
    report = folder / files.REPORT
    plain = files.kept(folder, result.scan, model.identity)
    if plain is not None:
        prediction = plain["prediction"]
        if report.exists() or not _wanted(reports, prediction["label"], prediction["decision"]):
            return Outcome(result.name, result.slug, plain, report if report.exists() else None, kept=True)
    diagnosis, seen, answer = _diagnosed(model, result.scan, perf_counter() - start)
    wanted = _wanted(reports, diagnosis.prediction.label, diagnosis.prediction.decision)
    if wanted:
        diagnosis = _explained(diagnosis, seen, answer)
    plain = files.save(diagnosis, folder, wanted)
    return Outcome(result.name, result.slug, plain, report if wanted else None)


def _diagnosed(model: Model, scan: Scan, read_s: float) -> tuple[Diagnosis, _Seen, Outputs]:
    """Quality, prediction and decision of a scan, and what they rest on."""
    seen = _look(model, scan, read_s)
    start = perf_counter()
    answer = model.predict(seen.prepared.tensor[None])
    return _conclude(model, seen, answer, perf_counter() - start), seen, answer


def _look(model: Model, scan: Scan, read_s: float) -> _Seen:
    """Prepare a scan and check its quality."""
    start = perf_counter()
    prepared = model.prepare(scan.pixels[0])
    between = perf_counter()
    flags = rules.check(scan, prepared.lungs).flags
    timings_s = {"read": read_s, "prepare": between - start, "quality": perf_counter() - between}
    return _Seen(scan, prepared, flags, timings_s)


def _conclude(model: Model, seen: _Seen, answer: Outputs, predict_s: float) -> Diagnosis:
    """Put together what is known of a scan, and decide."""
    bundle = model.bundle
    ((quality, prediction),) = judge(bundle, [seen.flags], answer)
    return Diagnosis(
        scan=seen.scan,
        model=model.identity,
        quality=quality,
        prediction=prediction,
        timings_s={**seen.timings_s, "predict": predict_s},
        software=_software(model.runtime),
        card={
            "calibration": asdict(bundle.calibration),
            "thresholds": asdict(bundle.thresholds),
            "training_data": bundle.training_data,
            "metrics": bundle.metrics,
        },
    )


def _explained(diagnosis: Diagnosis, seen: _Seen, answer: Outputs) -> Diagnosis:
    """Add the heat maps of the classes that are in play, the most probable one first."""
    start = perf_counter()
    label, shares = diagnosis.prediction.label, diagnosis.prediction.probabilities
    targets = sorted(
        (name for name, share in shares.items() if name == label or share >= _SHOWN),
        key=lambda name: (name != label, -shares[name]),
    )
    classes = list(shares)
    rows, columns = diagnosis.scan.pixels.shape[1:]
    maps = tuple(
        Explanation(
            "grad-cam",
            target,
            gradcam.explain(answer, 0, seen.prepared, classes.index(target), rows, columns),
        )
        for target in targets
    )
    timings_s = {**diagnosis.timings_s, "explain": perf_counter() - start}
    return replace(diagnosis, explanations=maps, timings_s=timings_s)


def _wanted(reports: Reports, label: str, decision: str) -> bool:
    positive = is_positive(label) or decision == Decision.REFER
    return reports == "all" or (reports == "positive" and positive)


@cache
def _software(runtime: Runtime) -> dict[str, str]:
    """Versions; OpenVINO's is among those that are always told."""
    return versions(*({"onnx": ["onnxruntime"], "torch": ["torch"]}.get(runtime, [])))
