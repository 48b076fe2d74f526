"""Training of the view network (``xray-view``), which says what a picture shows before a model predicts it.

Not one of the published systems: a tool that the X-ray recipes share. The run's folder holds ``view.onnx`` (input
``image`` (batch, 1, 112, 112), outputs ``logits`` (batch, views) and ``place`` (batch, dimensions)), ``view.json`` with
what it refuses, among it what it has not seen, and ``weights.safetensors``.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pulmoscope.core.errors import DatasetError
from pulmoscope.core.files import sha256_of_file
from pulmoscope.core.types import FloatArray
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.io import read_pixels
from pulmoscope.models.view import ViewNetwork, margin
from pulmoscope.preprocess.views import CHESTS, VIEWS, view_input
from pulmoscope.quality.distribution import Reference
from pulmoscope.recipes import settings
from pulmoscope.recipes.published.xray_view import ViewRecipe
from pulmoscope.runtime.model import find_view
from pulmoscope.runtime.network import open_network
from pulmoscope.training.classification import Batch, Classification, cross_entropy
from pulmoscope.training.frames import read_all
from pulmoscope.training.hardware import fabric_of, keep_freed_memory
from pulmoscope.training.loop import Stage, fit, in_steps
from pulmoscope.training.onnx.file import write_onnx
from pulmoscope.training.optimizers import one_cycle
from pulmoscope.training.progress import Reporter
from pulmoscope.training.state import begin, save_weights
from pulmoscope.training.tool_run import tool_run
from pulmoscope.training.view.radiographs import Picture, ViewFilms, stored

SCHEMA_VERSION = "1.0"
MARKER = "view.json"
INTERVAL = 50
"""Steps between two states saved."""
LEAST = 20
"""Fewer frontal radiographs than this, to learn from or to set the limits by, are too few."""

_BATCH = 64
_REFERENCE = 1500
"""About so many radiographs tell how they lie; more would not change it."""


@dataclass(frozen=True)
class _Known:
    """A picture with what is known of it: its view, and the group that it is left out with (empty: none)."""

    sample: Sample
    picture: Picture
    view: str
    group: str
    learnt: bool


def train_view(
    recipe: ViewRecipe,
    tables: Sequence[SampleTable],
    run: Path,
    *,
    resume: bool = False,
    force: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Train on the splits train and all of the tables, set limits by val; gives back the contents of ``view.json``.

    Args:
        resume: go on where the run in this folder was killed, to the same weights; a finished one is returned.
        force: replace what is in the folder.

    Raises:
        DatasetError: too few frontal radiographs in train or val, or several pictures can't be read.
        InputError: a picture can't be read.
        RecipeError: the weights to begin with are not there, the run to resume had another recipe or other pictures, or
            the loss became NaN.
        OutputExistsError: ``run`` holds a view network already.
        ResourceError: memory or disk ran out.
    """
    training = partial(_train, recipe, tables, run, progress)
    return tool_run(run, MARKER, training, resume=resume, force=force, relief="fewer pictures")


def _train(
    recipe: ViewRecipe, tables: Sequence[SampleTable], run: Path, progress: bool, checkpoints: Path
) -> dict[str, Any]:
    torch.manual_seed(recipe.seed)
    known = [one for table in tables for one in _read(recipe, table, progress)]
    held_out = [one for one in known if one.sample.split == "val" and one.view in VIEWS[:CHESTS]]
    for name, radiographs in (("train", [one for one in known if one.learnt]), ("val", held_out)):
        frontal = sum(one.view == "frontal" for one in radiographs)
        if frontal < LEAST:
            rule = f"at least {LEAST} frontal radiographs in {name} are needed to train the view network"
            raise DatasetError(f"{', '.join(str(table.root) for table in tables)}: {rule} (found: {frontal})")
    plain = ViewNetwork(recipe.weights, recipe.dimensions)
    learnt = [one for one in known if one.learnt]
    begin(
        checkpoints / "begun.json",
        {"recipe": json.loads(json.dumps(settings.of_tool(recipe))), "pictures": _content(known)},
    )
    fitting = partial(_fit, recipe=recipe, folder=checkpoints, reporter=Reporter.of(progress))
    fitting(plain, [one for one in learnt if not one.group], steps=recipe.steps, stage=0)
    unseen = {}
    for number, group in enumerate(recipe.groups, start=1):
        left = [one for one in learnt if one.group == group]
        if left:
            fold = copy.deepcopy(plain)
            rest = [one for one in learnt if one.group != group]
            fitting(fold, rest, steps=recipe.fold_steps, stage=number)
            _set_limits(fold, recipe, rest, held_out)
            unseen[group] = _refusals(fold, left)
    fitting(plain, learnt, steps=recipe.more_steps, stage=len(recipe.groups) + 1)
    _set_limits(plain, recipe, learnt, held_out)
    save_weights(plain, run / "weights.safetensors")
    checked = np.stack([view_input(_pixels(one.picture)) for one in held_out[:16]])
    write_onnx(plain, run / "view.onnx", checked)
    return {
        "schema_version": SCHEMA_VERSION,
        "recipe": {**settings.of_tool(recipe), "weights": Path(recipe.weights).name},
        "learnt": {view: sum(one.view == view for one in learnt) for view in VIEWS},
        "passed": _passed(run / "view.onnx", [one for one in known if not one.learnt]),
        "unseen": unseen,
        "sha256": sha256_of_file(run / "view.onnx"),
    }


def _content(known: Sequence[_Known]) -> str:
    """A checksum of pictures and of what is known of them."""
    digest = hashlib.sha256()
    for one in known:
        digest.update(
            f"{one.sample.split}\t{one.view}\t{one.group}\t{one.learnt}\t{one.picture.shape}\n".encode()
        )
        digest.update(one.picture.tobytes())
    return digest.hexdigest()


def _read(recipe: ViewRecipe, table: SampleTable, progress: bool) -> list[_Known]:
    """Every picture of a table whose view is known."""
    views = {sample: _view(recipe, sample) for sample in table}
    chosen = SampleTable(table.root, table.layout, tuple(one for one in table if views[one]), table.warnings)
    if not chosen.samples:
        return []
    pictures = read_all(chosen, lambda sample: stored(read_pixels(table.path(sample))), progress)
    halved = table.splits == ("test",)
    group_of = {label: name for name, labels in recipe.groups.items() for label in labels}
    return [
        _Known(
            sample,
            picture,
            views[sample],
            group_of.get(sample.label, ""),
            sample.split in ("train", "all")
            or (halved and sample.source in recipe.halved and _first_half(sample.patient)),
        )
        for sample, picture in zip(chosen, pictures, strict=True)
    ]


def _view(recipe: ViewRecipe, sample: Sample) -> str:
    """The view that the recipe states of a picture; empty: none."""
    for kind in recipe.kinds:
        if kind.holds(sample.label, sample.source, sample.patient):
            return kind.view
    return VIEWS[0]


def _first_half(patient: str) -> bool:
    """Half of all patients, by their id's hash."""
    return hashlib.sha256(patient.encode()).digest()[0] % 2 == 0


def _fit(
    network: ViewNetwork,
    known: Sequence[_Known],
    *,
    recipe: ViewRecipe,
    steps: int,
    stage: int,
    folder: Path,
    reporter: Reporter,
) -> None:
    """One cycle of AdamW, in place; after the first one gentler, as the network has learnt most by then."""
    keep_freed_memory()
    pictures: dict[str, list[Picture]] = {}
    for one in known:
        pictures.setdefault(one.view, []).append(one.picture)
    maker = ViewFilms(pictures, recipe.shares, recipe.seed + stage)
    rate = recipe.learning_rate if stage == 0 else recipe.learning_rate / 2
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    epochs, numbers = in_steps(steps, INTERVAL)
    cycle = one_cycle(rate, steps, warm_up=0.15)
    fit(
        Stage(
            name=f"view {stage}",
            file=f"view-{stage}",
            epochs=epochs,
            seed=(recipe.seed, stage),
            network=network,
            optimizers={
                "network": torch.optim.AdamW(network.parameters(), rate, weight_decay=recipe.weight_decay)
            },
            batches=lambda epoch: (_batch(maker, recipe.batch_size) for _ in numbers(epoch)),
            steps=INTERVAL,
            step=Classification(cross_entropy(smoothing=0.02)).step,
            schedule=lambda done: cycle(round(done * epochs * INTERVAL)),
            random=maker.random,
        ),
        folder,
        fabric_of(torch.device("cpu")),
        reporter,
    )
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # as above


def _batch(maker: ViewFilms, size: int) -> Batch:
    images, views = maker.batch(size)
    return Batch(
        (torch.from_numpy(images).contiguous(memory_format=torch.channels_last),), torch.from_numpy(views)
    )


def _set_limits(
    network: ViewNetwork, recipe: ViewRecipe, learnt: Sequence[_Known], held_out: Sequence[_Known]
) -> None:
    """Shift the logits and scale the distance so that 0 and 1 are the limits that ``recipe.asked`` wants.

    The distance is Mahalanobis' from the radiographs that were learnt, the limits are set by those of val.
    """
    for_view, for_distance, for_child = recipe.asked
    chests = [one for one in learnt if one.view in VIEWS[:CHESTS]]
    chests = chests[:: max(1, len(chests) // _REFERENCE)]
    logits, features = _answers(network, held_out)
    adults = torch.tensor([one.view == "frontal" for one in held_out])
    shift = torch.zeros(len(VIEWS))
    shift[1] = torch.quantile((logits[:, 1] - logits[:, 0])[adults], 1 - for_child).clamp_min(0)
    shift[:CHESTS] += torch.quantile(margin(logits - shift)[adults], for_view).item()
    network.ask_more(shift)
    reference = Reference.fit(
        _answers(network, chests)[1].numpy(), [0] * len(chests), recipe.dimensions, 1 - for_distance
    )
    limit = reference.with_limit(reference.distance(features[adults].numpy())).limit
    centre = reference.mean + np.linalg.pinv(reference.projection) @ reference.centres[0]
    network.set_projection(centre, reference.projection / np.float32(limit))


def _answers(network: ViewNetwork, known: Sequence[_Known]) -> tuple[Tensor, Tensor]:
    """Logits and features of pictures as they are."""
    logits, features = [], []
    with torch.no_grad():
        for start in range(0, len(known), _BATCH):
            images = [view_input(_pixels(one.picture)) for one in known[start : start + _BATCH]]
            features.append(network.features(torch.from_numpy(np.stack(images))))
            logits.append(network.output(features[-1]))
    return torch.cat(logits), torch.cat(features)


def _refusals(network: ViewNetwork, known: Sequence[_Known]) -> dict[str, Any]:
    """How many of these pictures, none of them a frontal radiograph, are refused, and for what."""
    logits, features = _answers(network, known)
    with torch.no_grad():
        far = network.place(features).norm(dim=1) > 1
    other = margin(logits) < 0
    return {
        "pictures": len(known),
        "refused": int((other | far).sum()),
        "by_view": int(other.sum()),
        "by_distance": int(far.sum()),
    }


def _passed(view_onnx: Path, known: Sequence[_Known]) -> dict[str, Any]:
    """Of what was not learnt, through the exported file: split → source and view → how many, and how many passed."""
    network = open_network(view_onnx)
    passed: dict[str, dict[str, dict[str, int]]] = {}
    for one in known:
        name = f"{one.sample.source or 'unknown'}, {one.view}"
        counts = passed.setdefault(one.sample.split or "none", {}).setdefault(
            name, {"pictures": 0, "passed": 0}
        )
        counts["pictures"] += 1
        counts["passed"] += find_view(network, _pixels(one.picture)).is_chest
    return {split: dict(sorted(one.items())) for split, one in sorted(passed.items())}


def _pixels(picture: Picture) -> FloatArray:
    return picture.astype(np.float32) / np.float32(255)
