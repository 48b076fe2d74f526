"""The studies that a finished run has not learnt from, judged through the very files that diagnosis runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from pulmoscope.core.types import FloatArray
from pulmoscope.datasets.table import SampleTable
from pulmoscope.quality.anomaly import AnomalyModel
from pulmoscope.quality.imputation import Imputer, NetworkImputer, imputer
from pulmoscope.runtime.severity import SeverityModel
from pulmoscope.runtime.severity_bundle import ANOMALY, IMPUTER, MISGAN, NO_IMPUTER
from pulmoscope.training.severity.judge import Judged, judge
from pulmoscope.training.severity.recipe import SeverityRecipe
from pulmoscope.training.severity.studies import prepare, repaired
from pulmoscope.training.three_level.course import Teller
from pulmoscope.training.three_level.studies import Cache


def imputer_of(model: SeverityModel) -> Imputer | None:
    """What this bundle fills missing regions with; None where it leaves them."""
    kind = model.bundle.imputer
    if kind == MISGAN:
        assert model.imputer is not None
        return NetworkImputer(MISGAN, model.imputer)
    return None if kind == NO_IMPUTER else imputer(kind)


def anomalies_of(model: SeverityModel) -> Callable[[FloatArray], FloatArray] | None:
    """What gives the AnoGAN's score of each slice; None where the bundle has none."""
    if model.anomaly is None:
        return None
    own = AnomalyModel(model.anomaly, ANOMALY)
    return lambda images: own(images)[0]


def judged_studies(
    model: SeverityModel,
    recipe: SeverityRecipe,
    table: SampleTable,
    run: Path,
    teller: Teller,
) -> list[Judged]:
    """Prepare, repair and judge all studies of a table.

    Args:
        recipe: of the run; names the cache.
        table: studies that it has not learnt from.
        run: the folder that the cache is in where the recipe names none.

    Raises:
        InputError: a study can't be read.
    """
    cache = Cache(Path(recipe.cache) if recipe.cache else run / "cache")
    studies = prepare(
        table, recipe.preprocess, recipe.classes, cache, teller, search=recipe.imputer != NO_IMPUTER
    )
    own = imputer_of(model)
    name = model.bundle.files.get(IMPUTER, recipe.imputer)[:32]
    studies = repaired(studies, own, cache, name, teller)
    ask = partial(judge, model, anomalies=anomalies_of(model))
    return [ask(study) for study in teller.track(studies, "Judging studies", len(studies))]
