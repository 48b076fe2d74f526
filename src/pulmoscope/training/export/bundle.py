"""From a finished training run to a bundle: networks, calibration, thresholds, validation figures, card.

Everything after the networks' files is measured through these very files, as diagnosis will run them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from pulmoscope.core.files import write_text
from pulmoscope.datasets.table import SampleTable
from pulmoscope.runtime.bundle import CARD, MANIFEST, Bundle
from pulmoscope.training.card.text import model_card
from pulmoscope.training.export.images import of_images
from pulmoscope.training.export.studies import of_studies
from pulmoscope.training.frames import Frames
from pulmoscope.training.hardware import clear_about_resources
from pulmoscope.training.progress import Reporter
from pulmoscope.training.run import PREPARED, load_run


def export_bundle(
    run: Path,
    table: SampleTable,
    version: str = "",
    *,
    terms: str = "",
    cache: str = "",
    progress: bool = True,
    frames: Frames | None = None,
    hospitals: bool = True,
) -> Bundle:
    """Make a finished run's folder a bundle.

    A model of studies that has learnt from simulated ones says so in its name.

    Args:
        run: the folder of a finished run; ``bundle.json`` and its parts are written into it, over older ones.
        table: what the run was trained on.
        version: of the bundle; empty: ``own-`` and the beginning of the network's SHA-256, which no release has.
        terms: the data's licence or terms of use, for the model card.
        cache: the folder of prepared slices that a run of studies was given; empty: its own, which is removed.
        frames: the images of train and val, framed already; None: they are framed here.
        hospitals: look at radiographs of every hospital as diagnosis does, so that the bundle can tell a strange one;
            it takes minutes, and changes no answer.

    Raises:
        BundleError: the network file does not say what torch says; no ``bundle.json`` is left then.
        RecipeError: the folder holds no finished run, or one of an earlier version.
        DatasetError, InputError: the images or studies can't be read.
        ResourceError: memory or disk ran out.
    """
    with clear_about_resources(f"exporting {run}"):
        trained = load_run(run)
        if trained.recipe.slices is None:
            (run / MANIFEST).unlink(missing_ok=True)
            made = of_images(trained, table, version, terms, progress, frames, hospitals)
        else:
            made = of_studies(trained, table, version, terms, cache, Reporter.of(progress))
            (run / MANIFEST).unlink(missing_ok=True)
        write_text(run / CARD, model_card(made))
        shutil.rmtree(
            run / PREPARED, ignore_errors=True
        )  # first: a kill must not leave patients' slices in a bundle
        return made.save()
