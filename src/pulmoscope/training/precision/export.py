"""A bundle at another precision or in another format: made in a folder of its own, verified, then put in place."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from pulmoscope.core.errors import BundleError, DatasetError, ResourceError
from pulmoscope.core.files import check_folder, claim_folder, write_bytes, write_text
from pulmoscope.datasets.checksum import table_checksum
from pulmoscope.datasets.table import SampleTable
from pulmoscope.runtime.bundle import CARD, MANIFEST, PARTS, Bundle
from pulmoscope.runtime.model import Model
from pulmoscope.runtime.network import Network, open_network
from pulmoscope.runtime.openvino_backend import capabilities, import_quietly
from pulmoscope.runtime.precision import OPENVINO, Export, Format, Precision, onnx_name, stored
from pulmoscope.training.card.text import model_card
from pulmoscope.training.precision import compare
from pulmoscope.training.precision.images import SEED, Seen, for_calibration, for_verification, look, stacked

Progress = Callable[[int, int], None]
"""Called with (images read, images in all)."""


@dataclass(frozen=True)
class _Made:
    """A network of the export: its ONNX file's content, its precision, what is known of it, and how it was run."""

    content: bytes
    precision: Precision
    facts: compare.Figures
    network: Network | None = None


@dataclass(frozen=True)
class _Images:
    """What the export is verified on and calibrated with.

    Attributes:
        table: the images of val that were drawn; ``seen``: those that could be read, as the source sees them.
        exact: the source's answers for these.
        calibration, calibrated_on: the same of train, for int8; empty where they are not needed.
    """

    table: SampleTable
    seen: list[Seen]
    exact: compare.Answers
    calibration: list[Seen]
    calibrated_on: SampleTable


def export_bundle(
    model: Model,
    out: Path,
    *,
    format: Format,
    precision: Precision,
    table: SampleTable | None = None,
    limits: Mapping[str, float] | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Bundle:
    """Write a model's bundle at another precision or in another format.

    Every answer of the new bundle is compared with the old one's on images of the split val. Where int8 does not keep
    the limits, more and more of the first layers stay in single precision. The networks beside the image network stay
    in single precision as a whole where they do not agree.

    Args:
        model: a bundle of single images, in single precision, opened.
        out: the new bundle's folder.
        table: labelled images in the model's words, with the splits train (for int8) and val; None: of single precision
            alone, which is then compared on noise.
        limits: of figures, in place of :data:`pulmoscope.training.precision.compare.LIMITS`'s.
        progress: called with images read, and how many there are to read.

    Returns:
        The new bundle. Its card is written, too.

    Raises:
        OutputExistsError: ``out`` holds a bundle, and ``force`` is not given.
        BundleError: the bundle can't be exported, or the export is beyond its limits; nothing is written then.
        DatasetError: there is no table where one is needed, or it has too few images.
        ResourceError: a package or the disk's space is missing, or the precision can neither be run here nor emulated.
        ModuleNotFoundError: int8, and NNCF is not installed.
    """
    bundle = model.bundle
    check_folder(out, MANIFEST, force, (CARD, *PARTS))
    _check(bundle, out, precision, table)
    limits = {**({"outputs": compare.OUTPUTS} if table is None else compare.LIMITS), **(limits or {})}
    with tempfile.TemporaryDirectory() as folder:
        images = None if table is None else _looked(model, table, precision, progress)
        made = {name: _made(model, name, precision, images, limits) for name in bundle.networks}
        draft, figures = _verified(model, Path(folder), made, (format, precision), images, limits, progress)
        export = draft.export
        assert export is not None
        verified = {**export.verified, "figures": figures, "limits": dict(limits)}
        finished = dataclasses.replace(draft, export=dataclasses.replace(export, verified=verified))
        return _in_place(finished, out, force)


def _verified(
    model: Model,
    folder: Path,
    made: Mapping[str, _Made],
    wanted: tuple[Format, Precision],
    images: _Images | None,
    limits: Mapping[str, float],
    progress: Progress | None,
) -> tuple[Bundle, compare.Figures]:
    """The new bundle in a folder of its own, and its figures; where all its networks together are beyond the limits,
    with those beside the image network in single precision, as the limits were held with these.

    Raises:
        BundleError: it is beyond them even so.
    """
    bundle = model.bundle
    exact = {
        name: _Made((bundle.folder / bundle.networks[name]).read_bytes(), "fp32", {})
        if name in compare.ALIKE
        else one
        for name, one in made.items()
    }
    draft = _draft(bundle, folder, made, *wanted, images)
    try:
        return draft, _verify(model, draft, made, images, limits, progress)
    except BundleError:
        if all(exact[name].precision == one.precision for name, one in made.items()):
            raise
    draft = _draft(bundle, folder, exact, *wanted, images)
    return draft, _verify(model, draft, exact, images, limits, progress)


def _check(bundle: Bundle, out: Path, precision: Precision, table: SampleTable | None) -> None:
    """Can this bundle be exported so?

    Raises:
        BundleError, DatasetError, ModuleNotFoundError: see :func:`export_bundle`.
    """
    if bundle.patient is not None:
        raise BundleError(
            f"{bundle.folder}: only models of single images can be exported; it reads whole studies"
        )
    if bundle.export is not None:
        source = bundle.export.source
        raise BundleError(
            f"{bundle.folder}: is an export itself; export the bundle that it was made from, "
            f"{source['name']} {source['version']}"
        )
    if out.resolve() == bundle.folder.resolve():
        raise BundleError(f"{out}: is the model itself; the exported one needs another folder")
    if table is None and precision != "fp32":
        raise DatasetError(f"{precision} needs --data: labelled images that the answers are compared on")
    if precision == "int8" and find_spec("nncf") is None:  # or that is said after minutes of reading
        raise ModuleNotFoundError("No module named 'nncf'", name="nncf")


def _looked(model: Model, table: SampleTable, precision: Precision, progress: Progress | None) -> _Images:
    """Read the images once."""
    classes = model.bundle.classes
    verification = for_verification(table, classes)
    calibration = for_calibration(table, classes) if precision == "int8" else table.with_samples(())
    tell = _told(progress, len(calibration) + 2 * len(verification))
    calibrated = [one for one in tell(look(model, calibration)) if one is not None]
    seen = [one for one in tell(look(model, verification)) if one is not None]
    if not seen or (precision == "int8" and not calibrated):
        raise DatasetError(f"{table.root}: no image could be read")
    exact = compare.answers(model, [one.image for one in seen])
    return _Images(verification, seen, exact, calibrated, calibration)


def _told(progress: Progress | None, total: int, done: int = 0) -> Callable[[Iterable[Any]], Iterator[Any]]:
    """What tells of every item that goes through it, counting on from ``done``."""
    count = done

    def tell(items: Iterable[Any]) -> Iterator[Any]:
        nonlocal count
        for item in items:
            count += 1
            if progress is not None:
                progress(count, total)
            yield item

    return tell


def _made(
    model: Model, name: str, precision: Precision, images: _Images | None, limits: Mapping[str, float]
) -> _Made:
    """A network at a precision; one beside the image network in single precision where it can't be had at that.

    Raises:
        BundleError: the image network does not keep the limits.
    """
    bundle = model.bundle
    path = bundle.folder / bundle.networks[name]
    single = _Made(path.read_bytes(), "fp32", {})
    if (
        precision == "fp32"
        or images is None
        or (name not in compare.ALIKE and name != onnx_name(bundle.network))
    ):
        return single
    reasons = ["no layer could be changed"]
    for made in _tried(path, name, precision, images):
        assert made.network is not None
        if name in compare.ALIKE:
            inputs = stacked(images.seen, name)
            alike = compare.ALIKE[name](open_network(path), made.network, inputs)
            if alike >= compare.AGREEMENT:
                return dataclasses.replace(made, facts={**made.facts, "agreement": alike})
            continue
        changed = compare.answers(model.with_network(made.network), [one.image for one in images.seen])
        reasons = compare.failures(_compared(model, images, changed), limits)
        if not reasons:
            return made
    if name in compare.ALIKE:
        return single
    raise BundleError(
        f"{bundle.name} {bundle.version}: {precision} refused on {len(images.seen)} images: {'; '.join(reasons)}"
    )


def _compared(model: Model, images: _Images, changed: compare.Answers) -> compare.Figures:
    samples = [one.sample for one in images.seen]
    return compare.compared(samples, model.bundle.classes, images.exact, changed)


def _tried(path: Path, name: str, precision: Precision, images: _Images) -> Iterator[_Made]:
    """The network at a precision, as it is to be tried one after the other, and opened."""
    if precision == "bf16":
        yield _Made(path.read_bytes(), precision, {}, _in_bf16(path))
        return
    from pulmoscope.training.precision.quantise import halved, layers_of, quantised, tries

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        if precision == "fp16":
            write_bytes(file, halved(path))
            yield _Made(file.read_bytes(), precision, {}, open_network(file))
            return
        layers, inputs = len(layers_of(path)), stacked(images.calibration, name)
        for kept in tries(layers):
            write_bytes(file, quantised(path, inputs, kept))
            facts = {"layers": layers, "in_single_precision": kept + 1}
            yield _Made(file.read_bytes(), precision, facts, open_network(file))


def _in_bf16(path: Path) -> Network:
    """A network in bfloat16: by OpenVINO where the CPU has it, else by torch, which emulates it.

    Raises:
        ResourceError: neither is there.
    """
    if "BF16" in capabilities():
        return open_network(path, precision="bf16")
    try:
        from pulmoscope.runtime.torch_backend import TorchNetwork
    except ImportError as error:
        raise ResourceError(
            "bf16 can't be verified: this CPU has no instructions for it, and no torch is there to emulate them "
            "(pip install 'pulmoscope[torch]')"
        ) from error
    return TorchNetwork(path, "cpu", bf16=True)


def _draft(
    bundle: Bundle,
    folder: Path,
    made: Mapping[str, _Made],
    format: Format,
    precision: Precision,
    images: _Images | None,
) -> Bundle:
    """The new bundle in a folder of its own, without the figures of its verification."""
    for name, network in made.items():
        write_bytes(folder / name, network.content)
        if format == OPENVINO:
            _convert(folder / name, precision)
    for name in set(bundle.files) - set(bundle.networks.values()):
        write_bytes(folder / name, (bundle.folder / name).read_bytes())
    verified = {
        "images": 0 if images is None else len(images.seen),
        "split": "" if images is None else "val",
        "data_sha256": "" if images is None else table_checksum(images.table),
        "emulated": precision == "bf16" and "BF16" not in capabilities(),
        "networks": {name: dict(network.facts) for name, network in made.items()},
    }
    calibration = {}
    if images is not None and images.calibration:
        calibration = {
            "images": len(images.calibration),
            "split": "train",
            "seed": SEED,
            "data_sha256": table_checksum(images.calibrated_on),
        }
    export = Export(
        precision=precision,
        format=format,
        networks={name: network.precision for name, network in made.items()},
        source={"name": bundle.name, "version": bundle.version, "sha256": bundle.sha256},
        verified=verified,
        calibration=calibration,
    )
    version = bundle.version if precision == "fp32" else f"{bundle.version}-{precision}"
    image = stored(onnx_name(bundle.network), format)[0]
    return dataclasses.replace(bundle, folder=folder, version=version, network=image, export=export)


def _convert(file: Path, precision: Precision) -> None:
    """Put a network in OpenVINO's format in place of its ONNX file; weights stay as they are stored, or become half.

    Raises:
        ResourceError: the disk is full.
    """
    openvino = import_quietly()
    graph = openvino.Core().read_model(file)
    try:
        openvino.save_model(graph, file.with_suffix(".xml"), compress_to_fp16=precision == "fp16")
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ResourceError(f"{file}: could not be written in OpenVINO's format ({reason})") from error
    file.unlink()


def _verify(
    model: Model,
    draft: Bundle,
    made: Mapping[str, _Made],
    images: _Images | None,
    limits: Mapping[str, float],
    progress: Progress | None,
) -> compare.Figures:
    """Compare the new bundle's answers, from the file of the image to the decision, with the old one's.

    Raises:
        BundleError: they are beyond the limits.
    """
    opened = Model(draft.save())
    if images is None:
        shape = (compare.NOISE, *_shape(draft))
        noise = np.random.default_rng(compare.SEED).standard_normal(shape, dtype=np.float32)
        one, other = (open_network(bundle.folder / bundle.network) for bundle in (model.bundle, draft))
        figures = compare.outputs(one, other, noise)
        reasons = compare.failures(figures, limits)
    else:
        if draft.export is not None and draft.export.verified["emulated"]:
            opened = _emulated(opened, made)
        total = len(images.calibrated_on) + 2 * len(images.table)
        tell = _told(progress, total, len(images.calibrated_on) + len(images.table))
        seen = [one.image for one in tell(look(opened, images.table)) if one is not None]
        figures = _compared(model, images, compare.answers(opened, seen))
        reasons = compare.failures(figures, limits)
    if reasons:
        precision = "" if draft.export is None else draft.export.precision
        raise BundleError(
            f"{model.bundle.name} {model.bundle.version}: {precision} refused: {'; '.join(reasons)}"
        )
    return figures


def _shape(bundle: Bundle) -> tuple[int, int, int]:
    return bundle.preprocess.channels, bundle.preprocess.size, bundle.preprocess.size


def _emulated(opened: Model, made: Mapping[str, _Made]) -> Model:
    """The model with the networks that compute what this CPU can't."""
    networks = {name: one.network for name, one in made.items()}
    image = networks[onnx_name(opened.bundle.network)]
    assert image is not None
    return opened.with_network(image, lungs=networks.get("lungs.onnx"), view=networks.get("view.onnx"))


def _in_place(draft: Bundle, out: Path, force: bool) -> Bundle:
    """Put a finished bundle into its folder, the manifest last."""
    claim_folder(out, MANIFEST, force, (CARD, *PARTS))
    for name in (CARD, *PARTS):
        (out / name).unlink(missing_ok=True)
    for name in draft.sealed().files:
        write_bytes(out / name, (draft.folder / name).read_bytes())
    made = dataclasses.replace(draft, folder=out)
    write_text(out / CARD, model_card(made))
    return made.save()
