"""The figures of a run as a picture: how many times as fast as each peer, and how cost grows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

OURS, LIGHT = "#00796b", "#b0bec5"


def draw(document: Mapping[str, Any], file: Path) -> None:
    """Write a PNG; what was not measured is not drawn."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    titles = {part["key"]: part["title"] for part in document["parts"]}
    bars = [one for one in document["ratios"] if one["of"] == "wall time"]
    growths = [part for part in document["parts"] if part["key"].startswith("growth") and part["sides"]]
    panels = [*([bars] if bars else []), *growths]
    if not panels:
        return
    rows = -(-len(panels) // 2)
    figure, axes = plt.subplots(rows, 2, figsize=(11, 3.6 * rows), squeeze=False, layout="constrained")
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, panel in zip(axes.flat, panels, strict=False):
        if panel is bars:
            _ratios(axis, bars, titles)
        else:
            _growth(axis, panel)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _ratios(axis: Any, bars: list[Mapping[str, Any]], titles: Mapping[str, str]) -> None:
    """A bar for each peer, from its median, with its rounds' range; 1 is as fast as ours."""
    names = [f"{one['against']}\n{titles[one['part']]}" for one in bars][::-1]
    medians = [one["median"] for one in bars][::-1]
    lows = [one["median"] - one["low"] for one in bars][::-1]
    highs = [one["high"] - one["median"] for one in bars][::-1]
    axis.barh(names, medians, xerr=[lows, highs], color=OURS, ecolor="black", height=0.6)
    axis.axvline(1, color="black", linewidth=0.8)
    axis.tick_params(axis="y", labelsize=7)
    axis.set_xlabel("its time / ours")


def _growth(axis: Any, part: Mapping[str, Any]) -> None:
    """Units a second and peak memory of each size."""
    names = [side["name"].split()[0] for side in part["sides"]]
    axis.bar(names, [side["per_second"]["median"] for side in part["sides"]], color=LIGHT)
    axis.set_ylabel(f"{part['unit']} a second (bars)", fontsize=8)
    axis.set_xlabel(part["title"].removeprefix("more "))
    memory = axis.twinx()
    peaks = [side["peak_mib"]["median"] for side in part["sides"]]
    memory.plot(names, peaks, color=OURS, marker="o")
    memory.set_ylim(0, 1.15 * max(peaks))
    memory.set_ylabel("peak memory, MiB (line)", fontsize=8)
