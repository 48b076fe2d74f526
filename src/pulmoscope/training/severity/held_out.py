"""The studies that a finished run has not learnt from, predicted through the very files that diagnosis runs."""

from __future__ import annotations

from pulmoscope.core.types import NOT_FILLED
from pulmoscope.datasets.table import SampleTable
from pulmoscope.preprocess.ct_standard import Standardisation
from pulmoscope.quality.repair import imputer_of
from pulmoscope.recipes.recipe import Recipe, expected
from pulmoscope.runtime.bundle import IMPUTER
from pulmoscope.runtime.model import Model
from pulmoscope.training.progress import Reporter
from pulmoscope.training.severity.predicted import PredictedStudy, predicted
from pulmoscope.training.severity.studies import prepare, repaired
from pulmoscope.training.three_level.studies import Cache


def predicted_studies(
    model: Model,
    recipe: Recipe,
    table: SampleTable,
    cache: Cache,
    reporter: Reporter,
) -> list[PredictedStudy]:
    """Prepare, repair and predict all studies of a table.

    Args:
        recipe: of the run.
        table: studies that it has not learnt from.
        cache: of prepared slices.

    Raises:
        InputError: a study can't be read.
    """
    studies = prepare(
        table,
        expected(recipe.preprocess, Standardisation),
        recipe.classes,
        cache,
        reporter,
        search=recipe.controls.imputer != NOT_FILLED,
    )
    imputer = imputer_of(model)
    name = model.bundle.files.get(IMPUTER, recipe.controls.imputer)[:32]
    studies = repaired(studies, imputer, cache, name, reporter)
    return [predicted(model, study) for study in reporter.track(studies, "Predicting studies", len(studies))]
