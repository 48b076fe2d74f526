"""Is the evidence in the right place: in the lungs, on what readers drew, and owed to what the network has learnt?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pulmoscope.core.files import shareable
from pulmoscope.core.types import FloatArray
from pulmoscope.evaluation.audit import evidence as measure
from pulmoscope.evaluation.audit.verdict import Verdict
from pulmoscope.evaluation.bootstrap import Estimate
from pulmoscope.explain.lungs import mass_within
from pulmoscope.explain.maps import maps, veiled
from pulmoscope.explain.overlay import overlay
from pulmoscope.pipeline.audit.located import Located, cells_of, located, seen_by
from pulmoscope.pipeline.audit.subject import Found, Subject
from pulmoscope.pipeline.pictures.xray import FINDING, LUNGS, data_jpeg, edged
from pulmoscope.report.names import MAPS
from pulmoscope.runtime.model import Model
from pulmoscope.runtime.randomised import randomised

IMAGES = 200
"""Of which maps are drawn."""
TESTED, ORDERED = 24, 40
"""Images on which randomisation is tried, and those of deletion and insertion."""
CASCADE = (0.0, 0.25, 0.5, 0.75, 1.0)
"""How many of the layers, counted from the last one, are randomised: the head alone, a quarter … all."""
CELLS, STEPS = 10, 10
"""Deletion and insertion take a grid of so many rows and columns, in so many equal steps."""
EXAMPLES = 6
"""Images shown on the page, those with findings first."""
_COMPARED = 64
"""Side at which two maps of the network's region are compared by SSIM, px."""

Values = npt.NDArray[np.float64]


def found(subject: Subject) -> Found | None:
    """The maps that the model's reports show, against lungs and findings, and the tests of their sanity.

    None of whole studies, whose slices are explained one by one.
    """
    if subject.studies:
        return None
    model = subject.model
    kind = model.bundle.explanation.kind
    images = located(model, subject.some(IMAGES))
    cells = [cells_of(model, image, kind) for image in images]
    heats = [image.placed(map_) for image, map_ in zip(images, cells, strict=True)]
    lungs, pointing = in_lungs(images, heats, subject), findings(images, heats, subject)
    cascade = _cascade(images[:TESTED], cells[:TESTED], kind, subject)
    order = _order(images[:ORDERED], cells[:ORDERED], subject)
    return {
        "kind": kind,
        "kind_title": MAPS[kind].title,
        "what": MAPS[kind].meaning,
        "images": len(images),
        "lungs": lungs,
        "findings": pointing,
        "randomised": cascade,
        "order": order,
        "verdicts": [verdict.plain() for verdict in _verdicts(lungs, pointing, cascade, order)],
        "figures": {
            **({} if lungs is None else {"in_lungs": lungs["within"]}),
            **({} if pointing is None else {"pointing": pointing["pointing"]}),
            "randomised_ssim": cascade["steps"][-1]["ssim"],
            "deletion_gain": order["deletion_gain"],
            "insertion_gain": order["insertion_gain"],
        },
        "examples": _examples(images, heats),
    }


def in_lungs(images: Sequence[Located], heats: Sequence[FloatArray], subject: Subject) -> Found | None:
    """How much of the maps lies within the lungs; None where no lungs are known."""
    known = [(image, heat) for image, heat in zip(images, heats, strict=True) if image.lungs is not None]
    if not known:
        return None
    within, even, framed = [], [], []
    for image, heat in known:
        assert image.lungs is not None
        within.append(mass_within(heat, image.lungs))
        even.append(float(image.lungs.mean()))
        framed.append(mass_within(image.placed(np.ones((1, 1), dtype=np.float32)), image.lungs))
    people = [image.sample.patient for image, _ in known]
    return {
        "images": len(known),
        "drawn": sum(image.drawn for image, _ in known),
        "within": _mean(within, people, subject),
        "even_over_image": _mean(even, people, subject),
        "even_over_region": _mean(framed, people, subject),
    }


def findings(images: Sequence[Located], heats: Sequence[FloatArray], subject: Subject) -> Found | None:
    """Pointing game and overlap with what readers drew; None where they drew nothing."""
    pairs = [(image, heat) for image, heat in zip(images, heats, strict=True) if image.finding is not None]
    drawn = [image.finding for image, _ in pairs if image.finding is not None]
    if not pairs:
        return None
    people = [image.sample.patient for image, _ in pairs]
    point = measure.best_point(drawn)
    figures: dict[str, list[float]] = {
        "pointing": [measure.hits(heat, one) for (_, heat), one in zip(pairs, drawn, strict=True)],
        "constant_point": [measure.point_hits(point, one) for one in drawn],
        "lungs_centre": [
            float("nan") if image.lungs is None else measure.hits(measure.depth(image.lungs), one)
            for (image, _), one in zip(pairs, drawn, strict=True)
        ],
        "overlap": [measure.overlap(heat, one) for (_, heat), one in zip(pairs, drawn, strict=True)],
        "average_precision": [
            measure.average_precision(heat, one) for (_, heat), one in zip(pairs, drawn, strict=True)
        ],
        "area": [float(one.mean()) for one in drawn],
    }
    return {
        "images": len(pairs),
        "point": list(point),
        **{name: _mean(values, people, subject) for name, values in figures.items()},
    }


def _cascade(images: Sequence[Located], cells: Sequence[FloatArray], kind: str, subject: Subject) -> Found:
    """How like the true maps are those of the network with ever more random layers, and those of other images."""
    people = [image.sample.patient for image in images]
    true = [_compared(one) for one in cells]
    pairs = [measure.ssim(one, other) for one, other in zip(true, true[1:] + true[:1], strict=True)]
    steps = []
    for part in CASCADE:
        other = randomised(subject.model, part, subject.seed)
        likeness = []
        for image, viewed, own in zip(images, seen_by(other, images), true, strict=True):
            (changed,) = maps(kind, viewed, other.predict, [image.target])
            likeness.append(measure.ssim(own, _compared(changed)))
        steps.append({"layers": part, "ssim": _mean(likeness, people, subject)})
    return {
        "images": len(images),
        "steps": steps,
        "of_two_images": _mean(pairs if len(images) > 1 else [], people, subject),
    }


def _compared(cells: FloatArray) -> FloatArray:
    return np.asarray(cv2.resize(cells, (_COMPARED, _COMPARED), interpolation=cv2.INTER_LINEAR))


def _order(images: Sequence[Located], cells: Sequence[FloatArray], subject: Subject) -> Found:
    """Deletion and insertion in the map's order, beside a random one."""
    rng = np.random.default_rng(subject.seed)
    curves: dict[str, list[Values]] = {"deletion": [], "insertion": []}
    chance: dict[str, list[Values]] = {"deletion": [], "insertion": []}
    for image, map_ in zip(images, cells, strict=True):
        heat = cv2.resize(map_, (CELLS, CELLS), interpolation=cv2.INTER_LINEAR)
        # Cells of equal heat come in random order.
        by_heat = np.lexsort((rng.random(CELLS**2), -heat.ravel()))
        for order, kept in ((by_heat, curves), (rng.permutation(CELLS**2), chance)):
            deletion, insertion = _curves(subject.model, image, order)
            kept["deletion"].append(deletion)
            kept["insertion"].append(insertion)
    people = [image.sample.patient for image in images]
    areas = {name: measure.area_under(np.stack(kept)) for name, kept in curves.items()}
    random = {name: measure.area_under(np.stack(kept)) for name, kept in chance.items()}
    return {
        "images": len(images),
        "deletion": _mean(areas["deletion"], people, subject),
        "deletion_random": _mean(random["deletion"], people, subject),
        "deletion_gain": _mean(random["deletion"] - areas["deletion"], people, subject),
        "insertion": _mean(areas["insertion"], people, subject),
        "insertion_random": _mean(random["insertion"], people, subject),
        "insertion_gain": _mean(areas["insertion"] - random["insertion"], people, subject),
    }


def _curves(model: Model, image: Located, order: npt.NDArray[np.intp]) -> tuple[Values, Values]:
    """The class's probability while cells are blurred in this order, and while they come back into a blurred image."""
    tensor = image.viewed.tensor
    height, width = tensor.shape[1:]
    blurred = veiled(tensor)
    batch = []
    for step in range(STEPS + 1):
        chosen = np.zeros(CELLS**2, dtype=np.float32)
        chosen[order[: step * CELLS**2 // STEPS]] = 1
        weight = cv2.resize(chosen.reshape(CELLS, CELLS), (width, height), interpolation=cv2.INTER_NEAREST)
        batch += [tensor + (blurred - tensor) * weight, blurred + (tensor - blurred) * weight]
    said = model.predict(np.stack(batch).astype(np.float32)).probabilities[:, image.target].astype(np.float64)
    return said[::2], said[1::2]


def _verdicts(lungs: Found | None, pointing: Found | None, cascade: Found, order: Found) -> list[Verdict]:
    verdicts = []
    if lungs is not None and lungs["within"]["value"] is not None:
        within, even = lungs["within"]["value"], lungs["even_over_image"]["value"]
        says = f"{_percent(within)} of the evidence lies within the lungs, which are {_percent(even)} of the image."
        verdicts.append(Verdict("evidence-in-lungs", measure.lungs_level(within, even), says))
    if pointing is not None and pointing["pointing"]["value"] is not None:
        hit, constant = pointing["pointing"]["value"], pointing["constant_point"]["value"]
        says = (
            f"In {pointing['images']} images in which readers marked the disease, the hottest spot of the heat map "
            f"lies on a mark in {_percent(hit)}; one and the same spot in all images, the best, would do so in "
            f"{_percent(constant)}."
        )
        verdicts.append(Verdict("evidence-on-findings", measure.pointing_level(hit, constant), says))
    likeness, chance = cascade["steps"][-1]["ssim"]["value"], cascade["of_two_images"]["value"]
    if likeness is not None and chance is not None:
        says = (
            f"With its weights scrambled, the model's heat maps are {_much(likeness, chance)} like the true ones than "
            f"maps of two different images are (similarity {likeness:.2f} and {chance:.2f}; they should be less)."
        )
        verdicts.append(Verdict("evidence-is-learnt", measure.randomised_level(likeness, chance), says))
    gain = Estimate(**order["deletion_gain"])
    if gain.value is not None:
        says = (
            "When the hottest places are blurred first, the class's mean probability is "
            f"{abs(gain.value):.2f} {'lower' if gain.value >= 0 else 'higher'} than when places are blurred at random."
        )
        verdicts.append(Verdict("evidence-counts", measure.order_level(gain), says))
    return verdicts


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _much(likeness: float, chance: float) -> str:
    return "less" if likeness < chance else "no less"


def _mean(values: Sequence[float] | Values, people: Sequence[str], subject: Subject) -> dict[str, Any]:
    return measure.mean(values, people, subject.bootstrap, subject.seed).plain()


def _examples(images: Sequence[Located], heats: Sequence[FloatArray]) -> list[dict[str, Any]]:
    """Images with their maps, their lungs and what readers marked, as pictures for the page."""
    ranked = sorted(range(len(images)), key=lambda at: images[at].finding is None)[:EXAMPLES]
    return [
        {
            "file": shareable(images[at].sample.file),
            "label": images[at].sample.label,
            "within": None if (lungs := images[at].lungs) is None else mass_within(heats[at], lungs),
            "picture": data_jpeg(
                edged(edged(overlay(images[at].pixels, heats[at]), lungs, LUNGS), images[at].finding, FINDING)
            ),
        }
        for at in ranked
    ]
