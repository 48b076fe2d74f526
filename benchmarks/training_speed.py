"""How much of a bare training loop's speed is left when images are augmented as a recipe asks.

    python benchmarks/training_speed.py [--data FOLDER] [--recipe xray-covid] [--images 256] [--rounds 5]
        [--threads N] [--device cuda] [--workers N] [--set KEY=VALUE ...]

By turns, epochs of two loops with the same network, batch size, optimiser and precision: our training loop, with the
recipe's augmentation, mixing, averaging and second task; and a bare one over tensors that lie in memory as the network
wants them, which does nothing but forward, loss, backward and the optimiser's step. Images are simulated, or those
of a data set; the network's first weights are random, which costs no time. Printed are images/s of wall time and of
time of processors (what other work on the machine disturbs less), medians of the rounds, the fraction of an epoch that
our loop waited for data, and last ``ratio N``: the median over the rounds of ours by bare, in wall time. It is one
epoch each a round; the first round warms up and is not counted.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import nn

from pulmoscope.datasets.several import load_all
from pulmoscope.phantoms.xray.draw import FINDINGS
from pulmoscope.phantoms.xray.folder import write_phantoms
from pulmoscope.recipes import settings
from pulmoscope.recipes.published import find
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.training.frames import Frames, frames_of
from pulmoscope.training.hardware import fabric_of, find_device, find_precision, keep_freed_memory
from pulmoscope.training.image_stage import image_stage
from pulmoscope.training.loop import Stage, fit
from pulmoscope.training.optimizers import learns, optimizer_of
from pulmoscope.training.progress import Reporter
from pulmoscope.training.run import network_of, settled

PARTS = {"train": 0.8, "val": 0.2}


@dataclasses.dataclass(frozen=True)
class Round:
    """One epoch of a loop.

    Attributes:
        wall, processors: s.
        waited: the fraction of it that passed waiting for data.
    """

    wall: float
    processors: float
    waited: float = 0.0


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--data", type=Path, help="a data set's folder; default: simulated radiographs")
    ask.add_argument("--recipe", default="xray-covid")
    ask.add_argument("--images", type=int, default=256, help="how many of them are learnt from")
    ask.add_argument("--rounds", type=int, default=5)
    ask.add_argument("--threads", type=int, default=0, help="of torch; 0: its own choice")
    ask.add_argument("--device", default="auto")
    ask.add_argument("--workers", type=int, default=0)
    ask.add_argument("--set", nargs="*", default=[], help="settings of the recipe")
    given = ask.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    keep_freed_memory()
    recipe = settings.apply(find(given.recipe), given.set)
    with tempfile.TemporaryDirectory() as scratch:
        recipe, frames = learnt(recipe, given.data, Path(scratch), given.images)
    loops = loops_of(recipe, frames, find_device(given.device), given.workers)
    rounds = [{name: loop() for name, loop in loops.items()} for _ in range(given.rounds + 1)][1:]
    print(
        f"{given.recipe}, {len(frames.labels)} images of {recipe.framing.size} px, batches of {recipe.batch_size}"
    )
    print("| loop | images/s | images/s of time of processors | waited for data |")
    print("|---|---|---|---|")
    count = len(frames.labels)
    for name in loops:
        own = [one[name] for one in rounds]
        speeds = [
            f"{count / median(getattr(one, kind) for one in own):.1f}" for kind in ("wall", "processors")
        ]
        print(f"| {name} | {' | '.join(speeds)} | {median(one.waited for one in own):.1%} |")
    print(f"processors ratio {ratio(rounds, 'processors'):.3f}")
    print(f"ratio {ratio(rounds, 'wall'):.3f}")


def ratio(rounds: list[dict[str, Round]], kind: str) -> float:
    """How fast ours is beside the bare loop: the median over the rounds."""
    return median(getattr(one["bare"], kind) / getattr(one["ours"], kind) for one in rounds)


def learnt(recipe: Recipe, data: Path | None, scratch: Path, count: int) -> tuple[Recipe, Frames]:
    """The settled recipe and the framed images, which are all learnt from."""
    table = (
        load_all([data])
        if data
        else write_phantoms(scratch, count * 5 // 4 + 5, FINDINGS, size=256, fractions=PARTS)
    )
    recipe, table = settled(recipe, table)
    rng = np.random.default_rng(recipe.seed)
    train = table.split("train").samples
    chosen = sorted(rng.permutation(len(train))[:count].tolist())
    val = next(sample for sample in table if sample.split == "val")
    frames = frames_of(recipe, table.with_samples((*(train[at] for at in chosen), val)))
    return recipe, frames.select(frames.places("train"))


def loops_of(
    recipe: Recipe, frames: Frames, device: torch.device, workers: int
) -> dict[str, Callable[[], Round]]:
    """Name → what runs one epoch."""
    precision = find_precision(recipe.precision, device)
    fabric, number = fabric_of(device, precision), 0
    untrained = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, pretrained=False))
    network = network_of(untrained).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    phase = recipe.phases[number]
    stage = dataclasses.replace(
        image_stage(network, recipe, number, 1, frames, fabric, workers), validation=None
    )
    twin = copy.deepcopy(network)
    in_memory = [fabric.to_device(batch) for batch in stage.batches(0)]

    def trained(stage: Stage) -> Round:
        began = time.process_time()
        row = fit(stage, None, fabric, Reporter()).rows[-1]
        return Round(row["seconds"], time.process_time() - began, row["waited"])

    def bare() -> Round:
        optimizer = optimizer_of(phase, learns(twin))
        stage.mode(network)
        for own, same in zip(twin.modules(), network.modules(), strict=True):
            own.training = same.training  # what is frozen is so in both
        began, processors = time.perf_counter(), time.process_time()
        for batch in in_memory:
            with fabric.autocast():
                logits = twin(*batch.inputs)
            loss = nn.functional.cross_entropy(logits.float(), batch.target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return Round(time.perf_counter() - began, time.process_time() - processors)

    steps = dataclasses.replace(stage, batches=lambda _: in_memory)
    return {"bare": bare, "our steps, in memory": lambda: trained(steps), "ours": lambda: trained(stage)}


if __name__ == "__main__":
    main()
