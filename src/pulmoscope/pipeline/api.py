"""What ``import pulmoscope`` offers a researcher: to read, predict, segment, measure, explain and evaluate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from pulmoscope.core.errors import InputError
from pulmoscope.core.severity import SeverityMeasure
from pulmoscope.core.types import BoolArray, Diagnosis, Explanation, Modality, Prediction, Scan
from pulmoscope.datasets.several import load_all
from pulmoscope.datasets.studies import holds_studies
from pulmoscope.datasets.table import SampleTable
from pulmoscope.inference.look import in_hu, look_at
from pulmoscope.inference.measure import measured
from pulmoscope.io import entries, read
from pulmoscope.pipeline.choice import Models
from pulmoscope.pipeline.diagnose import diagnose
from pulmoscope.pipeline.drift.survey import Place, Survey
from pulmoscope.pipeline.evaluate import evaluate as evaluate_images
from pulmoscope.pipeline.evaluate_slices import evaluate_slices
from pulmoscope.pipeline.evaluate_studies import evaluate_studies
from pulmoscope.pipeline.objects.write import clear_objects, make_objects, write_objects
from pulmoscope.pipeline.truth.evaluate import MEASURE, evaluate_measure
from pulmoscope.runtime.bundle import built_in_lung_finder
from pulmoscope.runtime.model import Model
from pulmoscope.runtime.model import find_lungs as run_lung_finder
from pulmoscope.runtime.network import Network, Runtime, open_network

if TYPE_CHECKING:  # pydicom takes a fifth of a second
    from pulmoscope.report.dicom.earlier import EarlierReport


def read_scans(paths: Sequence[str | Path]) -> Iterator[Scan | InputError]:
    """Read every radiograph and CT that files, folders and zips hold, one at a time.

    What is refused comes as its error.
    """
    for reading in read([Path(path) for path in paths]):
        result = reading.scan if reading.error is None else reading.error
        assert result is not None
        yield result


def diagnose_many(
    paths: Sequence[str | Path], model: str | Path | Model = "auto", *, explain: bool = True
) -> Iterator[Diagnosis | InputError]:
    """Diagnose every radiograph and CT that files, folders and zips hold, one at a time, in flat memory.

    What is refused comes as its error, and the others go on. The command line does the same with files written, in
    threads, and goes on after a kill.

    Args:
        model: as of :func:`pulmoscope.diagnose`.
        explain: as of :func:`pulmoscope.diagnose`.

    Raises:
        BundleError: there is no such bundle, or it is damaged.
    """
    models = Models(str(model)) if isinstance(model, str | Path) else Models.only(model)
    for scan in read_scans(paths):
        if isinstance(scan, InputError):
            yield scan
            continue
        try:
            yield diagnose(scan, models.of(scan.modality, scan.name), explain=explain)
        except InputError as error:
            yield error


def survey_places(paths: Sequence[str | Path], model: str | Path | Model = "auto") -> tuple[Place, ...]:
    """Compare the places that radiographs are of (devices, else folders) with the hospitals that a model knows.

    Of each place with at least 30 images up to 64 are read. Empty where there is one image only, or the model does not
    know what its hospitals look like.

    Args:
        paths: files, folders and zips.
        model: as of :func:`pulmoscope.diagnose`.

    Raises:
        BundleError: there is no such bundle, or it is damaged.
    """
    survey = Survey(list(entries([Path(path) for path in paths])))
    survey.take(Models(str(model)) if isinstance(model, str | Path) else Models.only(model))
    return survey.places


def open_model(model: str | Path, runtime: Runtime = "auto", device: str = "auto") -> Model:
    """Load, verify and open a model: a built-in bundle by name, or a bundle's folder.

    Args:
        runtime: ``openvino``, ``onnx`` or ``torch``; ``auto``: OpenVINO on a CPU.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        BundleError: there is none, or it is damaged.
        ResourceError: the runtime or the device is not there.
    """
    return Model.load(model, runtime, device)


def predict(scan: str | Path | Scan, model: str | Path | Model = "auto") -> Prediction:
    """Probabilities by class (they sum to 1), the decision and its reason; errors: as ``diagnose``."""
    return diagnose(scan, model, explain=False).prediction


def heat_maps(scan: str | Path | Scan, model: str | Path | Model = "auto") -> tuple[Explanation, ...]:
    """Heat maps, float32 (rows, columns) in [0, 1] at the scan's own size, of the answer's class first.

    Of a CT they are of its most suspicious slices (``index``). Errors: as ``diagnose``.
    """
    return diagnose(scan, model).explanations


def find_lungs(scan: Scan) -> BoolArray:
    """Where the lungs are: bool (slices, rows, columns), as the scan's pixels.

    Of an X-ray by the lung finder that comes with the package, made for frontal views; of a CT by its HU, without
    learning.

    Raises:
        UnsuitableError: slices of a CT that came as pictures have no HU.
    """
    if scan.modality is Modality.XRAY:
        rows, columns = scan.pixels.shape[1:]
        probability = run_lung_finder(_lung_finder(), scan.pixels[0])
        return np.asarray(cv2.resize(probability, (columns, rows)) > 0.5)[None]
    lungs = look_at(in_hu(scan, "find-lungs")).lungs
    assert lungs is not None  # as there are HU
    return np.asarray(lungs.labels > 0)


def measure_severity(scan: Scan) -> SeverityMeasure | None:
    """How much of a CT's lungs is affected, in percent and points, measured without learning.

    None where there is hardly any lung.

    Raises:
        UnsuitableError: it is an X-ray, or its slices came as pictures, which have no HU.
    """
    seen = look_at(in_hu(scan, "severity"))
    measurement = measured(seen.scan, seen.lungs, seen.missing)
    return None if measurement is None else measurement[0]


def load_data(*folders: str | Path) -> SampleTable:
    """Data sets as one table of samples: folders in a known layout, or ``manifest.csv`` files.

    Raises:
        DatasetError: a folder or table breaks a rule.
    """
    return load_all([Path(folder) for folder in folders])


def evaluate(
    model: str | Path | Model, table: SampleTable, out: str | Path, **options: Any
) -> dict[str, Any]:
    """Evaluate a model on labelled images or studies, with intervals and a page; gives back the written figures.

    Args:
        model: a bundle's name or folder, or an opened model; ``"measure"``: the density measure of CT, beside masks of
            lungs and lesions.
        table: such as ``load_data("mydata").split("test")``; labels in the model's words.
        out: the folder for the results.
        options: ``split``, ``bootstrap``, ``seed``, ``command``, ``force`` and ``progress`` of
            :func:`pulmoscope.pipeline.evaluate.evaluate`.

    Raises:
        OutputExistsError: ``out`` holds results and ``force`` is not given.
        DatasetError: nothing could be read.
    """
    if model == MEASURE:
        return evaluate_measure(table, Path(out), **options)
    opened = open_model(model) if isinstance(model, str | Path) else model
    if opened.bundle.patient is not None:
        return evaluate_studies(opened, table, Path(out), **options)
    if opened.bundle.modality == Modality.CT and holds_studies(table):
        return evaluate_slices(opened, table, Path(out), **options)
    return evaluate_images(opened, table, Path(out), **options)


@cache
def _lung_finder() -> Network:
    return open_network(built_in_lung_finder() / "lungs.onnx")


def write_dicom(
    diagnosis: Diagnosis, folder: str | Path, reports: Sequence[EarlierReport] = ()
) -> tuple[str, ...]:
    """Write a diagnosis as DICOM objects into ``folder/dicom``, in place of older ones: all of them or none.

    Args:
        diagnosis: of a scan that was read from DICOM files, which are read once more.
        folder: is made where it is not there.
        reports: earlier ones of ours, to succeed and to be compared with.

    Returns:
        Why there are no objects, or not all; empty where nothing is missing.

    Raises:
        ModuleNotFoundError: highdicom is not installed (extra ``results``).
        ResourceError: the disk is full, or the folder can't be written.
    """
    objects = make_objects(diagnosis, reports)
    clear_objects(Path(folder))
    write_objects(objects, Path(folder))
    return objects.missing
