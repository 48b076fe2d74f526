from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from PIL import Image
from typer.testing import CliRunner

from chests import SPACING_MM, chest
from pulmoscope.apps.cli.main import app
from pulmoscope.core.errors import OutputExistsError
from pulmoscope.core.types import Modality, Scan, Units
from pulmoscope.pipeline.steps import STEPS, TILE, write_steps


def study() -> Scan:
    return Scan("drawn", Modality.CT, chest(noise=0).hu[20:40], (), SPACING_MM, Units.HU)


def pixels(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file))


def test_a_sheet_for_every_step(tmp_path: Path) -> None:
    written = write_steps(study(), tmp_path / "out", count=3)
    names = [f"{number:02d}-{step}.png" for number, step in enumerate(STEPS, start=1)]
    assert [file.name for file in written] == ["00-overview.png", *names]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted(["00-overview.png", *names])
    for file in written[1:]:
        assert pixels(file)[22:].shape == (TILE, 3 * TILE, 3)


def test_the_sheets_show_what_they_say(tmp_path: Path) -> None:
    sheets = {
        file.stem[3:]: pixels(file)[22:, :TILE].astype(int)
        for file in write_steps(study(), tmp_path / "out", count=1)
    }
    table, heart = (slice(225, 255), slice(100, 156)), (slice(95, 103), slice(140, 150))
    assert sheets["raw"][table].max() > 150
    assert sheets["masked"][table].max() == 0
    assert (sheets["masked"][heart] == 107).all()
    assert (sheets["brightened"][heart] == 214).all()
    assert np.abs(sheets["network"][heart] - 214).max() <= 1
    assert np.unique(sheets["threshold"]).tolist() == [0, 255]
    red, green, _ = np.moveaxis(sheets["lungs"], 2, 0)
    right, left = np.nonzero(red > green + 50)[1], np.nonzero(green > red + 50)[1]
    assert right.max() < 140 < left.max()
    assert right.mean() < 128 < left.mean()


def test_a_picture_without_units_has_no_lungs_sheet(tmp_path: Path) -> None:
    scan = replace(
        study(), units=Units.GREY, pixels=np.clip(study().pixels / 1500 + 0.7, 0, 1), spacing_mm=None
    )
    names = {file.stem[3:] for file in write_steps(scan, tmp_path / "out", count=2)}
    assert names == {"overview", *STEPS} - {"lungs"}


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    write_steps(study(), tmp_path / "out", count=1)
    with pytest.raises(OutputExistsError):
        write_steps(study(), tmp_path / "out", count=1)
    write_steps(study(), tmp_path / "out", count=1, force=True)


def test_the_command_line_draws_a_volume(tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(study().pixels)
    image.SetSpacing(SPACING_MM[::-1])
    SimpleITK.WriteImage(image, str(tmp_path / "drawn.nii.gz"))
    out = tmp_path / "out"
    result = CliRunner().invoke(
        app, ["datasets", "show", str(tmp_path / "drawn.nii.gz"), "--steps", "-o", str(out)]
    )
    assert result.exit_code == 0, result.output
    assert (out / "12-lungs.png").is_file()
    result = CliRunner().invoke(app, ["datasets", "show", str(tmp_path / "drawn.nii.gz"), "--steps"])
    assert result.exit_code == 2
