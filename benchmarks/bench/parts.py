"""What is measured beside what: every comparison of the suite, from the inputs that it runs on."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.sides import OUT, Part, Side
from measured import pulmoscope
from pulmoscope.runtime.bundle import load

HERE = Path(__file__).resolve().parents[1]
XRAY, CT = "xray-covid", "ct-slice-covid"
NEEDED_BY_TIMM = ("torch", "timm")
NEEDED_BY_MONAI = ("torch", "onnx2torch", "monai", "nibabel")
RANDOM = "random weights"


def folder(images: Path, few: Path, model: str = XRAY, report: str = "none", compiled: bool = True) -> Part:
    """A folder of radiographs, to a JSON for each and the index, beside torch + timm; ``few`` warms up."""
    count = _count(images)
    sides = [ours_of_folder(images, few, model, report), eager(images, few, model)]
    if compiled:
        warm = [_timm(few, model, "--compile")]
        sides.append(
            Side(
                "torch + timm, compiled",
                "peer",
                count,
                [_timm(images, model, "--compile")],
                "python benchmarks/plain_xray.py FOLDER OUT.csv --compile",
                f"{RANDOM}; what the first, uncounted run compiled is kept on disk",
                warm,
                most=3,
                needs=NEEDED_BY_TIMM,
                lacks="" if _compiler() else "torch.compile needs a C++ compiler, and there is none",
            )
        )
    return Part(f"folder-{count}", f"a folder of {count:,} radiographs, JSON and index", "radiographs", sides)


def ours_of_folder(images: Path, few: Path | None, model: str = XRAY, report: str = "none") -> Side:
    def command(where: Path) -> list[str]:
        return [pulmoscope(), "diagnose", str(where), "--model", model, "--report", report, "-o", OUT]

    return Side(
        "pulmoscope",
        "ours",
        _count(images),
        [command(images)],
        f"pulmoscope diagnose FOLDER --model {_name(model)} --report {report} -o OUT",
        warm=[] if few is None else [command(few)],
    )


def eager(images: Path, few: Path | None, model: str = XRAY) -> Side:
    return Side(
        "torch + timm, eager",
        "peer",
        _count(images),
        [_timm(images, model)],
        "python benchmarks/plain_xray.py FOLDER OUT.csv",
        f"PIL, MobileNetV2 at the same size, batches of 16; {RANDOM}",
        warm=[] if few is None else [_timm(few, model)],
        needs=NEEDED_BY_TIMM,
    )


def densenet(images: Path, few: Path) -> Part:
    """Fewer radiographs beside TorchXRayVision's reading and DenseNet121, a much larger network."""
    count = _count(images)
    command = [sys.executable, str(HERE / "plain_xray.py"), str(images), f"{OUT}.csv"]
    options = ["--network", "torchxrayvision", "--batch", "1"]
    peer = Side(
        "TorchXRayVision, DenseNet121",
        "peer",
        count,
        [[*command, *options]],
        f"python benchmarks/plain_xray.py FOLDER OUT.csv {' '.join(options)}",
        f"its own reading, 224 px; a larger network than ours; {RANDOM}",
        needs=("torch", "torchxrayvision"),
    )
    title = f"a folder of {count:,} radiographs, beside a larger network"
    return Part(f"densenet-{count}", title, "radiographs", [ours_of_folder(images, few), peer])


def one(image: Path) -> Part:
    """One radiograph as a process, ours with its report; and the start alone."""
    ours = Side(
        "pulmoscope",
        "ours",
        1,
        [[pulmoscope(), "diagnose", str(image), "-o", OUT]],
        "pulmoscope diagnose FILE -o OUT",
        "with its page and heat map",
    )
    start = Side("pulmoscope --help", "also", 0, [[pulmoscope(), "--help"]], "pulmoscope --help")
    return Part("one", "one radiograph, as a process", "radiographs", [ours, eager(image, image), start])


def ct(studies: Sequence[Path], slices: int, model: str = CT) -> Part:
    """CTs from their DICOM folders to reports, in one run, beside MONAI + torch with the same network.

    Several are run once, and nothing warms up: they take minutes.
    """
    many = len(studies) > 1
    warm, most = ([], 1) if many else (None, None)
    paths = [str(study) for study in studies]
    bundle = load(model).folder
    count = slices * len(studies)
    ours = Side(
        "pulmoscope",
        "ours",
        count,
        [[pulmoscope(), "diagnose", *paths, "--model", model, "-o", OUT]],
        f"pulmoscope diagnose STUDY{' ...' * many} --model {_name(model)} -o OUT",
        "with lungs, quality, severity and page",
        warm,
        most,
    )
    peer = Side(
        "MONAI + torch",
        "peer",
        count,
        [[sys.executable, str(HERE / "plain_ct.py"), *paths, str(bundle), OUT]],
        f"python benchmarks/plain_ct.py STUDY{' ...' * many} BUNDLE OUT",
        "the same network; no lungs, no severity, no page",
        warm,
        most,
        needs=NEEDED_BY_MONAI,
    )
    if many:
        title = f"{len(studies)} CTs of {slices} slices in one run, DICOM to report"
        return Part(f"studies-{len(studies)}x{slices}", title, "slices", [ours, peer])
    return Part(f"ct-{slices}", f"a CT of {slices} slices, DICOM folder to report", "slices", [ours, peer])


def prepare(study: Path, slices: int) -> Part:
    """A CT made ready for a network, beside TorchIO."""

    def side(name: str, role: str, by: str, note: str, needs: Sequence[str] = ()) -> Side:
        command = [sys.executable, str(HERE / "prepare_ct.py"), str(study), "--by", by]
        shown = f"python benchmarks/prepare_ct.py STUDY --by {by}"
        return Side(name, role, slices, [command], shown, note, needs=needs)  # type: ignore[arg-type]

    return Part(
        f"prepare-{slices}",
        f"a CT of {slices} slices read, resampled, rescaled and cropped",
        "slices",
        [
            side("pulmoscope", "ours", "pulmoscope", "averages where it shrinks"),
            side("TorchIO", "peer", "torchio", "interpolates", ("torchio",)),
            side("pulmoscope, lungs found", "also", "lungs", "the lungs are found and all else is black"),
        ],
    )


def radiographs(folders: Sequence[Path]) -> Part:
    """How time and memory grow with the number of radiographs; from 1,000 on one run each."""
    sides = [_sized(_count(images), "radiographs", _ours(images)) for images in folders]
    return Part("growth-radiographs", "more radiographs", "radiographs", sides)


def slices(studies: Mapping[int, Path]) -> Part:
    """How time and memory grow with the slices of a CT; from 300 on one run each."""
    sides = [
        _sized(count, "slices", [[pulmoscope(), "diagnose", str(study), "-o", OUT]])
        for count, study in studies.items()
    ]
    return Part("growth-slices", "more slices", "slices", sides)


def processes(folders: Mapping[int, Sequence[Path]]) -> Part:
    """The same radiographs by 1, 2, 4 independent processes, each with its part of them."""
    sides = [
        Side(
            f"{number} process{'es' * (number > 1)}",
            "also",
            sum(map(_count, images)),
            [line for part in images for line in _ours(part)],
            "pulmoscope diagnose FOLDER --report none -o OUT, once for each part of the folder",
            warm=[],
            most=1,
        )
        for number, images in folders.items()
    ]
    return Part("growth-processes", "more processes", "radiographs", sides)


def _sized(count: int, unit: str, commands: Sequence[Sequence[str]]) -> Side:
    large = count >= (300 if unit == "slices" else 1000)
    name = f"{count:,} {unit}" if count > 1 else f"1 {unit.removesuffix('s')}"
    shown = f"pulmoscope diagnose {'STUDY' if unit == 'slices' else 'FOLDER --report none'} -o OUT"
    return Side(name, "also", count, commands, shown, warm=[], most=1 if large else 3)


def _ours(images: Path) -> list[list[str]]:
    return [[pulmoscope(), "diagnose", str(images), "--report", "none", "-o", f"{OUT}-{images.name}"]]


def _timm(images: Path, model: str, *options: str) -> list[str]:
    bundle = load(model)
    shape = ["--size", str(bundle.preprocess.size), "--classes", str(len(bundle.classes))]
    return [sys.executable, str(HERE / "plain_xray.py"), str(images), f"{OUT}.csv", *shape, *options]


def _compiler() -> bool:
    return any(shutil.which(name) for name in (os.environ.get("CXX"), "c++", "g++", "clang++") if name)


def _count(images: Path) -> int:
    return len(list(images.iterdir())) if images.is_dir() else 1


def _name(model: str) -> str:
    """A built-in model's name; a folder's may say whose it is."""
    return model if "/" not in model else "BUNDLE"
