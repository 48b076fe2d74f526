"""The table of light models: four architectures, as they are, in int8, pruned, pruned in int8, and taught by a teacher.

    python benchmarks/light_models.py --data PACK [--data PACK ...] [--weights DIR] -o OUT
    python benchmarks/light_models.py --only-speed -o OUT        # sizes and speeds alone: no data, minutes

Every network is trained by the recipe xray-covid with another backbone: on all hospitals, measured on the test split
(«inside»), and without siim_covid19 and without shenzhen, measured on all images of that hospital. Epochs are chosen by
the validation split. MobileNetV2 has the full schedule, the others a short one; a backbone whose ImageNet weights are
neither in DIR (``<backbone>_imagenet.safetensors``) nor in an installed package begins from scratch, and says so.

    pruned     begins with the trained network, half of the channels of every layer removed, trained as long again
    distilled  taught by the best teacher: the built-in xray-covid, and where a hospital is left out, whose radiographs
               the built-in one has seen, that model of this table without it that is best in validation
    int8       plain quantisation after training (NNCF), calibrated with training images; measured, not verified:
               ``pulmoscope export`` does that, which --export asks about every such network

Sizes and speeds are those of the same networks with drawn weights. What is complete in OUT is not done again: a killed
command goes on when it is started again. ``OUT/table.md`` and ``OUT/table.json`` are written after every step; what
is not there yet is «not run».
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from light_speed import measured, write_int8
from light_table import ARCHITECTURES, FULL, HOSPITALS, INSIDE, ROWS, TRAINED, Plan, Table, numbers_of, read
from measured import pulmoscope
from pulmoscope.core.files import write_json
from pulmoscope.datasets.hospitals import hospital_of
from pulmoscope.datasets.several import load_all
from pulmoscope.datasets.table import SampleTable
from pulmoscope.evaluation.hospitals import hospital_figures
from pulmoscope.evaluation.metrics import Predictions, evaluate
from pulmoscope.recipes.published import chosen
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.runtime.bundle import Bundle, is_bundle, load
from pulmoscope.runtime.model import calibrated
from pulmoscope.runtime.network import open_network
from pulmoscope.training.data import FramedImages
from pulmoscope.training.export.bundle import export_bundle
from pulmoscope.training.frames import (
    IMAGES,
    Frames,
    frames_of,
    load_frames,
    prepared,
    read_frames,
    write_frames,
)
from pulmoscope.training.light.start import begun
from pulmoscope.training.onnx.file import write_onnx
from pulmoscope.training.run import fit, network_of, settled
from pulmoscope.training.state import begin

PRUNED = 0.5
TEACHER = "xray-covid"
CALIBRATED_WITH = 300
NETWORK = "model.onnx"


class Training:
    """Trains and measures one network after another, on images that are read once."""

    def __init__(self, table: Table, data: Sequence[Path]) -> None:
        self.table, self.plan = table, table.plan
        self._recipe, self._known = settled(chosen("xray-covid", []), load_all(data))

    @cached_property
    def _learnt(self) -> Frames:
        return self._kept("learn", lambda: frames_of(self._recipe, self._known))

    @cached_property
    def _tested(self) -> Frames:
        known = self._known.split("test")
        asked = known.with_samples(own for own in known if own.label in self._recipe.classes)
        return self._kept("test", lambda: load_frames(asked, self._recipe.framing, self._recipe.classes))

    def _kept(self, name: str, made: Any) -> Frames:
        folder = self.table.out / "frames" / name
        if not (folder / IMAGES).is_file():
            write_frames(made(), folder)
        return read_frames(folder)

    def cell(self, architecture: str, variant: str, scheme: str) -> None:
        """Train, export and measure one network; what is done stays."""
        run = self.table.run(architecture, variant, scheme)
        if not is_bundle(run):
            self._train(
                run,
                self.plan.recipe(architecture, variant, scheme, **self._light(architecture, variant, scheme)),
            )
        figures = read(run / "figures.json")
        if "fp32" not in figures:
            figures["fp32"] = self._auroc(load(run), run / NETWORK, scheme)
            write_json(run / "figures.json", figures)
        if "int8" not in figures and variant != "distilled" and importlib.util.find_spec("nncf"):
            quantised = run / "int8" / "model.xml"
            write_int8(run / NETWORK, self._calibrating(load(run)), quantised)
            figures["int8"] = self._auroc(load(run), quantised, scheme)
            write_json(run / "figures.json", figures)
        if self.plan.export and "export" not in figures and variant != "distilled":
            figures["export"] = _verdict(run)
            write_json(run / "figures.json", figures)
        self.table.write()

    def _light(self, architecture: str, variant: str, scheme: str) -> dict[str, str]:
        if variant == "pruned":
            return {"start": str(self.table.run(architecture, "fp32", scheme)), "prune": str(PRUNED)}
        return {"teacher": self._teacher(scheme)} if variant == "distilled" else {}

    def _teacher(self, scheme: str) -> str:
        if scheme == INSIDE:
            return TEACHER
        runs = [self.table.run(name, "fp32", scheme) for name in self.plan.architectures]
        return str(max((run for run in runs if is_bundle(run)), key=lambda run: _validated(load(run))))

    def _train(self, run: Path, recipe: Recipe) -> None:
        print(f"training {run}", file=sys.stderr)
        table = self._fewer(prepared(recipe, self._known))
        files = {sample.file for sample in table}
        frames = self._learnt.select(np.flatnonzero([file in files for file in self._learnt.files]))
        if not recipe.locate and frames.maps is not None:
            frames = dataclasses.replace(frames, maps=None)
        fit(recipe, table, run, device="cpu", resume=True, frames=frames)
        export_bundle(run, table, frames=frames, hospitals=False)

    def _fewer(self, table: SampleTable) -> SampleTable:
        """The table with as many training images as are wanted, drawn."""
        places = [place for place, sample in enumerate(table) if sample.split == "train"]
        if not 0 < self.plan.images < len(places):
            return table
        left = set(np.random.default_rng(20).permutation(places)[self.plan.images :].tolist())
        return table.with_samples(sample for place, sample in enumerate(table) if place not in left)

    def _calibrating(self, bundle: Bundle) -> Iterator[Any]:
        places = np.flatnonzero([hospital not in _left_out(bundle) for hospital in self._learnt.hospitals])
        places = places[np.isin(places, self._learnt.places("train"))]
        images = FramedImages(self._learnt, self._recipe.framing, None, 0)
        for place in np.random.default_rng(20).permutation(places)[:CALIBRATED_WITH]:
            yield images[0, 0, int(place)].image[None].numpy()

    def _auroc(self, bundle: Bundle, network: Path, scheme: str) -> dict[str, Any]:
        """Of the test split, the mean over the classes; or of a hospital, as ``leave-out`` has it."""
        parts = [self._predicted(bundle, network, frames, scheme) for frames in self._asked(scheme)]
        predictions = _joined([part for part in parts if part is not None])
        if scheme == INSIDE:
            estimate, what = evaluate(predictions).scores["macro_auroc"], "mean over classes"
        else:
            (figures,) = hospital_figures(predictions, {scheme: False})
            within = figures.auroc_within.value is not None
            estimate = figures.auroc_within if within else figures.auroc_disease
            what = "COVID against Normal" if within else "disease against Normal"
        return {**asdict(estimate), "what": what, "images": len(predictions)}

    def _asked(self, scheme: str) -> tuple[Frames, ...]:
        return (self._tested,) if scheme == INSIDE else (self._learnt, self._tested)

    def _predicted(self, bundle: Bundle, network: Path, frames: Frames, scheme: str) -> Predictions | None:
        samples = {sample.file: sample for sample in self._known}
        known = set(bundle.classes)
        places = [
            place
            for place, file in enumerate(frames.files)
            if samples[file].label in known and (scheme == INSIDE or hospital_of(samples[file]) == scheme)
        ]
        if not places:
            return None
        images = FramedImages(frames, self._recipe.framing, None, 0)
        answers = open_network(network)
        logits = [
            answers(torch.stack([images[0, 0, place].image for place in places[at : at + 64]]).numpy())[
                "logits"
            ]
            for at in range(0, len(places), 64)
        ]
        shown = [samples[frames.files[place]] for place in places]
        return Predictions(
            files=tuple(sample.file for sample in shown),
            labels=tuple(sample.label for sample in shown),
            patients=tuple(sample.patient for sample in shown),
            sources=tuple(sample.source for sample in shown),
            classes=bundle.classes,
            probabilities=calibrated(np.concatenate(logits), bundle.calibration.temperature).astype(
                np.float64
            ),
            decisions=("report",) * len(shown),
            hospitals=tuple(hospital_of(sample) for sample in shown),
        )


def _verdict(run: Path) -> str:
    """What ``pulmoscope export`` says of the network in int8, on the images that it was trained and validated with."""
    to = ["--to", "openvino", "--precision", "int8", "-o", str(run / "exported"), "--force"]
    command = [pulmoscope(), "export", str(run), "--data", str(run / "images.csv"), *to]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stderr.strip().rpartition("\n")[2]
    return "passed" if done.returncode == 0 else said.partition(": int8 ")[2] or said


def _joined(parts: Sequence[Predictions]) -> Predictions:
    def of(name: str) -> Any:
        return tuple(value for part in parts for value in getattr(part, name))

    names = ("files", "labels", "patients", "sources", "decisions", "hospitals")
    probabilities = np.concatenate([part.probabilities for part in parts])
    return Predictions(
        **{name: of(name) for name in names}, classes=parts[0].classes, probabilities=probabilities
    )


def _left_out(bundle: Bundle) -> tuple[str, ...]:
    return tuple(bundle.recipe["left_out"])


def _validated(bundle: Bundle) -> float:
    return (bundle.validation and bundle.validation.auroc) or 0.0


def speeds(plan: Plan, out: Path) -> None:
    """Measure sizes and speeds of all rows, by networks with drawn weights; ``OUT/speed.json``."""
    if (out / "speed.json").is_file():
        return
    files = {}
    for architecture in plan.architectures:
        for row, (variant, quantised) in ROWS.items():
            if row != "distilled" and (not quantised or importlib.util.find_spec("nncf")):
                files[f"{architecture}, {row}"] = _drawn(architecture, variant, quantised, out / "speed")
    write_json(out / "speed.json", {name: asdict(speed) for name, speed in measured(files).items()})


def _drawn(architecture: str, variant: str, quantised: bool, folder: Path) -> Path:
    """The file of a network with drawn weights."""
    changes = [
        f"model.backbone={ARCHITECTURES[architecture]}",
        "model.pretrained=false",
        "phases.train.frozen=none",
        "classes=COVID,Normal,Other pneumonia,Tuberculosis",
        *([f"light.prune={PRUNED}"] if variant == "pruned" else []),
    ]
    recipe = chosen("xray-covid", changes)
    side = recipe.framing.size
    images = np.random.default_rng(20).standard_normal(
        (32, recipe.framing.channels, side, side), dtype=np.float32
    )
    file = folder / f"{ARCHITECTURES[architecture]}-{variant}.onnx"
    if not file.is_file():
        torch.manual_seed(recipe.seed)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_onnx(begun(network_of(recipe), recipe).eval(), file, images[:4])
    if not quantised:
        return file
    int8 = file.with_name(f"{file.stem}-int8.xml")
    if not int8.is_file():
        write_int8(file, (image[None] for image in images), int8)
    return int8


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, action="append", default=[])
    parser.add_argument("--weights", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--architectures", default=",".join(ARCHITECTURES), help="comma between them")
    parser.add_argument("--epochs", type=int, default=FULL[0])
    parser.add_argument("--left-out-epochs", type=int, default=FULL[1])
    parser.add_argument("--short", type=int, default=2)
    parser.add_argument("--images", type=int, default=0)
    parser.add_argument("--export", action="store_true")
    parser.add_argument("--only-speed", action="store_true")
    asked = parser.parse_args()
    architectures = tuple(asked.architectures.split(","))
    if unknown := [name for name in architectures if name not in ARCHITECTURES]:
        parser.error(f"--architectures: no {', '.join(unknown)} (possible: {', '.join(ARCHITECTURES)})")
    plan = Plan(
        asked.weights,
        architectures,
        asked.epochs,
        asked.left_out_epochs,
        asked.short,
        asked.images,
        asked.export,
    )
    table = Table(plan, asked.out)
    speeds(plan, asked.out)
    table.write()
    if not asked.only_speed:
        begin(asked.out / "plan.json", numbers_of(plan))
        training = Training(table, asked.data)
        # What says most comes first; a teacher is chosen among all that could be one.
        for variant in TRAINED:
            for name in architectures:
                for scheme in (INSIDE, *HOSPITALS):
                    training.cell(name, variant, scheme)
    print((asked.out / "table.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
