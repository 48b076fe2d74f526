"""Readers' boxes on framed images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from PIL import Image

import drawn
from pulmoscope.preprocess.xray import XrayPreprocess
from pulmoscope.training.frames import load_frames


def test_boxes_of_a_turned_image_say_nothing(tmp_path: Path) -> None:
    films = drawn.table(tmp_path, train=2, val=0, classes=("COVID", "Normal"))
    turned = Image.Exif()
    turned[274] = 3  # upside down
    with Image.open(films.path(films.samples[1])) as image:
        image.save(films.path(films.samples[1]), exif=turned)
    boxed = films.with_samples(
        replace(own, boxes=((10, 10, 30, 30),) if own.label == "COVID" else ()) for own in films
    )
    maps = load_frames(boxed, XrayPreprocess(size=32), ("Normal", "COVID"), False, maps=True).maps
    assert maps is not None
    assert maps.known.tolist() == [True, False, True, True]
    assert [int(own.max()) > 0 for own in maps.opacities] == [True, False, False, False]
