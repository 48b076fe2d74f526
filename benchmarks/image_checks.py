"""How many pictures the image checks alone refer: radiographs as they are, damaged ones, and what is none.

    python benchmarks/image_checks.py --data-root DATA -o OUT [--view VIEW.ONNX]

DATA holds the data sets' folders, each with a ``manifest.csv``. No model is asked. Writes ``image-checks.json`` and
prints the tables of docs/image-checks.md; ``referred.csv`` says which picture was referred for what.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from pulmoscope.core.types import FlagLevel, FloatArray, Modality, Scan
from pulmoscope.datasets import load
from pulmoscope.io import read_pixels
from pulmoscope.quality import rules
from pulmoscope.runtime.bundle import built_in_lung_finder, built_in_view_network
from pulmoscope.runtime.model import find_lungs, find_view
from pulmoscope.runtime.network import open_network

Change = Callable[[FloatArray, np.random.Generator], FloatArray]
Pictures = Iterator[tuple[str, FloatArray]]

FILMS = (
    ("cxr_lungs", ("test",), ("Normal",)),
    ("xray_normals", ("test", "train"), ("Normal",)),
    ("xray_external", ("test",), ("Normal",)),
    ("xray_siim", ("test",), ("Negative",)),
)
"""The normal films that are damaged: folder, splits, labels."""
MOST = 60
"""So many films of each of these at most."""


def blurred(percent: float) -> Change:
    return lambda film, _: cv2.GaussianBlur(film, (0, 0), percent / 100 * max(film.shape))


def thumbnail(how: int) -> Change:
    def change(film: FloatArray, _: np.random.Generator) -> FloatArray:
        rows, columns = (max(1, round(side * 32 / max(film.shape))) for side in film.shape)
        small = cv2.resize(film, (columns, rows), interpolation=cv2.INTER_AREA)
        return cv2.resize(small, film.shape[::-1], interpolation=how)

    return change


def noise_band(film: FloatArray, random: np.random.Generator) -> FloatArray:
    changed = film.copy()
    lying = changed if random.random() < 0.5 else changed.T
    high = round(0.1 * len(lying))
    top = int(random.integers(0, len(lying) - high))
    lying[top : top + high] = random.random((high, lying.shape[1]), dtype=np.float32)
    return changed


def blurred_then_noisy(film: FloatArray, random: np.random.Generator) -> FloatArray:
    noise = random.normal(0, 0.02, film.shape)
    return np.asarray(np.clip(blurred(2)(film, random) + noise, 0, 1), dtype=np.float32)


def noisy(film: FloatArray, random: np.random.Generator) -> FloatArray:
    return np.asarray(np.clip(film + random.normal(0, 0.02, film.shape), 0, 1), dtype=np.float32)


def turned(degrees: float) -> Change:
    def change(film: FloatArray, _: np.random.Generator) -> FloatArray:
        rows, columns = film.shape
        matrix = cv2.getRotationMatrix2D((columns / 2, rows / 2), degrees, 0.85)
        moved = cv2.warpAffine(film, matrix, (columns, rows), flags=cv2.INTER_CUBIC)
        return np.asarray(np.clip(moved, 0, 1), dtype=np.float32)

    return change


DAMAGE: dict[str, Change] = {
    "as they are": lambda film, _: film,
    "blurred, sigma 1 % of the longest side": blurred(1),
    "blurred, sigma 2 %": blurred(2),
    "blurred, sigma 3 %": blurred(3),
    "blurred, sigma 2 %, then noise of 2 %": blurred_then_noisy,
    "shrunk to 32 px, enlarged linearly": thumbnail(cv2.INTER_LINEAR),
    "shrunk to 32 px, enlarged cubically": thumbnail(cv2.INTER_CUBIC),
    "shrunk to 32 px, enlarged pixel by pixel": thumbnail(cv2.INTER_NEAREST),
    "band of noise over 10 %": noise_band,
    "upper half": lambda film, _: film[: film.shape[0] // 2].copy(),
    "lower half": lambda film, _: film[film.shape[0] // 2 :].copy(),
    "left half": lambda film, _: film[:, : film.shape[1] // 2].copy(),
    "right half": lambda film, _: film[:, film.shape[1] // 2 :].copy(),
    "turned 90°": lambda film, _: np.rot90(film).copy(),
    "upside down": lambda film, _: np.rot90(film, 2).copy(),
    "tilted 25°": turned(25),
    "tilted 10° (should pass)": turned(10),
    "negative": lambda film, _: 1 - film,
    "darkened to 0.5 (warned of)": lambda film, _: film * np.float32(0.5),
    "darkened to 0.3": lambda film, _: film * np.float32(0.3),
    "brightened 2-fold": lambda film, _: np.clip(film * 2, 0, 1),
    "noise of 2 % (should pass)": noisy,
}


class Checks:
    """The checks of an X-ray model, without the model."""

    def __init__(self, view: Path | None) -> None:
        self.lungs = open_network(built_in_lung_finder() / "lungs.onnx")
        self.view = open_network(view or built_in_view_network() / "view.onnx")

    def codes(self, pixels: FloatArray) -> list[str]:
        """Why it is referred; a child's chest is told apart from that, as not every model refers it."""
        scan = Scan("picture", Modality.XRAY, np.ascontiguousarray(pixels, dtype=np.float32)[None], ())
        quality = rules.check(scan, find_lungs(self.lungs, pixels), find_view(self.view, pixels))
        return [flag.code for flag in quality.flags if flag.level is FlagLevel.REFUSE]


def samples(root: Path, folder: str, splits: Iterable[str], labels: Iterable[str] = ()) -> Pictures:
    table = load(root / folder)
    for sample in table:
        if sample.split in splits and (not labels or sample.label in labels):
            yield f"{folder}/{sample.file}", read_pixels(table.path(sample))


def normal_films(root: Path) -> list[tuple[str, FloatArray]]:
    films: list[tuple[str, FloatArray]] = []
    for folder, splits, labels in FILMS:
        own = list(samples(root, folder, splits, labels))
        films += own[:: max(1, -(-len(own) // MOST))]
    return films


def side_by_side(films: list[tuple[str, FloatArray]], *, above: bool) -> Pictures:
    for (name, one), (_, other) in zip(films, films[1:] + films[:1], strict=True):
        size = (256, 256)
        pair = [cv2.resize(film, size, interpolation=cv2.INTER_AREA) for film in (one, other)]
        yield name, np.vstack(pair) if above else np.hstack(pair)


def kinds(root: Path) -> Iterator[tuple[str, str, Pictures]]:
    """Title of a table, of a row, and its pictures."""
    for folder in ("xray4", "xray_siim", "cxr_lungs", "xray_normals", "xray_lesions"):
        for label in load(root / folder).split("test").classes:
            yield (
                "Radiographs as they are",
                f"{folder}, test, {label}",
                samples(root, folder, ("test",), (label,)),
            )
    for label in load(root / "xray_external").classes:
        yield (
            "Radiographs as they are",
            f"xray_external, {label} (half of the patients learnt)",
            samples(root, "xray_external", ("test",), (label,)),
        )
    dicom = sorted((root / "xray_dicom").glob("*/*.dcm"))
    yield "Radiographs as they are", "xray_dicom", ((path.name, read_pixels(path)) for path in dicom)
    for label in load(root / "not_frontal").classes:
        table = "Radiographs as they are" if "control" in label else "No frontal radiographs"
        yield table, f"not_frontal, {label}", samples(root, "not_frontal", ("all",), (label,))
    for label in load(root / "ct_slices").classes:
        yield (
            "No frontal radiographs",
            f"ct_slices, test, {label}",
            samples(root, "ct_slices", ("test",), (label,)),
        )
    films = normal_films(root)
    yield "Damaged normal films", "two side by side", side_by_side(films, above=False)
    yield "Damaged normal films", "one above the other", side_by_side(films, above=True)
    random = np.random.default_rng(20)
    for name, change in DAMAGE.items():
        yield "Damaged normal films", name, ((file, change(film, random)) for file, film in films)


def measured(checks: Checks, pictures: Pictures, log: Callable[[str, list[str]], None]) -> dict[str, object]:
    total = referred = children = 0
    why: Counter[str] = Counter()
    for file, pixels in pictures:
        codes = checks.codes(pixels)
        total += 1
        children += "child" in codes
        others = [code for code in codes if code != "child"]
        referred += bool(others)
        why.update(set(others))
        if codes:
            log(file, codes)
    return {"pictures": total, "referred": referred, "child": children, "why": dict(why.most_common())}


def markdown(found: dict[str, dict[str, dict[str, object]]]) -> str:
    lines = []
    for title, rows in found.items():
        lines += ["", f"| {title} | referred | for | a child's |", "|---|---|---|---|"]
        for name, counts in rows.items():
            total, referred = int(str(counts["pictures"])), int(str(counts["referred"]))
            why = counts["why"]
            assert isinstance(why, dict)
            reasons = ", ".join(f"{code} {count}" for code, count in list(why.items())[:4])
            share = f"{referred / total:.1%}" if total else "-"
            lines.append(
                f"| {name} | {referred} of {total} ({share}) | {reasons} | {counts['child'] or ''} |"
            )
    return "\n".join(lines)


def main() -> None:
    ask = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    ask.add_argument("--data-root", type=Path, required=True)
    ask.add_argument("-o", "--out", type=Path, required=True)
    ask.add_argument("--view", type=Path, help="another view.onnx than the built-in one")
    args = ask.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    checks = Checks(args.view)
    found: dict[str, dict[str, dict[str, object]]] = defaultdict(dict)
    with (args.out / "referred.csv").open("w", newline="", encoding="utf-8") as stream:
        sheet = csv.writer(stream)
        sheet.writerow(["kind", "file", "codes"])
        for title, name, pictures in kinds(args.data_root):
            found[title][name] = measured(
                checks, pictures, lambda file, codes, name=name: sheet.writerow([name, file, " ".join(codes)])
            )
    (args.out / "image-checks.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(markdown(found))


if __name__ == "__main__":
    main()
