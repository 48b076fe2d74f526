"""From a recipe to what trains it: the one place that picks."""

from __future__ import annotations

from pulmoscope.recipes.published.outcome_clinical import OutcomeRecipe
from pulmoscope.recipes.published.xray_lungs import LungRecipe
from pulmoscope.recipes.published.xray_severity import XraySeverityRecipe
from pulmoscope.recipes.published.xray_view import ViewRecipe
from pulmoscope.recipes.recipe import Named, Recipe, expected
from pulmoscope.training.systems.base import Options as Options
from pulmoscope.training.systems.base import System as System
from pulmoscope.training.systems.base import Told as Told
from pulmoscope.training.systems.images import Images
from pulmoscope.training.systems.outcomes import Outcomes
from pulmoscope.training.systems.studies import Grades as Grades
from pulmoscope.training.systems.studies import Studies
from pulmoscope.training.systems.tools import Lungs, Views, XraySeverity


def kind_of(recipe: Named) -> type[System]:
    """What trains a recipe."""
    if isinstance(recipe, LungRecipe):
        return Lungs
    if isinstance(recipe, ViewRecipe):
        return Views
    if isinstance(recipe, XraySeverityRecipe):
        return XraySeverity
    if isinstance(recipe, OutcomeRecipe):
        return Outcomes
    system = expected(recipe, Recipe)
    if system.slices is None:
        return Images
    return Grades if system.grades else Studies
