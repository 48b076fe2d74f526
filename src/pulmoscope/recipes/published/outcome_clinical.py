"""A patient's outcome from values: not a published system, but two plain models that stand a missing value anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pulmoscope.core.limits import Limits
from pulmoscope.datasets.patients import PatientTable, Window, read_patients
from pulmoscope.recipes.recipe import TOGETHER, Named


@dataclass(frozen=True, kw_only=True)
class OutcomeRecipe(Named):
    """How a model of an outcome is trained. Its strength is chosen by cross-validation within the split train.

    Attributes:
        table: the file with the values, in the data set's folder.
        outcomes: the file with the outcomes, where ``table`` has a row a time instead of a row a patient.
        outcome: the column of what is predicted, 0 or 1.
        happens: what that is, in words; empty: the column's name.
        hospital: whose patients these are; empty: as the table says.
        inputs: the values that are learnt from, by their names in the catalogue; empty: all of the table. Those of
            images (``xray_extent``, ``xray_opacity``, ``xray_brixia``, ``ct_percent``) are fused late, beside the
            log-odds of all others.
        model: ``logistic``: a regression of standardised values, with an indicator of each missing one; ``boosting``:
            gradient boosting of trees with one value each, which is a sum of functions of steps.
        hours: of a table with a row a time: values taken within so many hours from admission.
        folds: of the cross-validation.
        penalties: of the logistic regression: the inverse strengths (C) of the L2 penalty that are tried.
        rounds: of boosting: the numbers of trees that are tried.
        learning_rate, leaves, least_patients: of boosting: of a tree, and of each of its leaves.
        bootstrap: models for the interval, trained on patients drawn again.
        sensitivity: that the threshold reaches on the split val.
    """

    untunable: ClassVar = "it compares its settings by itself, by cross-validation within the split train"
    tabular: ClassVar = True
    table: str = "wuhan.csv"
    outcomes: str = ""
    outcome: str = "died"
    happens: str = ""
    hospital: str = ""
    inputs: tuple[str, ...] = ()
    model: Literal["logistic", "boosting"] = "logistic"
    hours: Annotated[float, Limits(0, 1e6)] = 24.0
    folds: Annotated[int, Limits(2, 20)] = 5
    penalties: Annotated[tuple[float, ...], Limits(1e-6, 1e6)] = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
    rounds: Annotated[tuple[int, ...], Limits(1, 5000)] = (10, 20, 40, 80, 160)
    learning_rate: Annotated[float, Limits(1e-4, 1)] = 0.1
    leaves: Annotated[int, Limits(2, 64)] = 4
    least_patients: Annotated[int, Limits(1)] = 10
    bootstrap: Annotated[int, Limits(2, 5000)] = 200
    sensitivity: Annotated[float, Limits(0.5, 1)] = 0.9

    @property
    def refused_options(self) -> tuple[tuple[str, ...], str]:
        """Options of ``train`` that make no sense for this recipe, and why."""
        names = ("--leave-out", "--labels", "--resume", "--workers", *TOGETHER, "--device")
        return names, "it learns from a table of values in seconds"

    def patients_in(self, folder: Path) -> PatientTable:
        """The recipe's table in a folder (errors: see :func:`~pulmoscope.datasets.patients.read_patients`)."""
        return read_patients(folder, self.table, self.outcome, self.outcomes, Window(self.hours))


RECIPE = OutcomeRecipe(
    name="outcome-clinical",
    title="Outcome of a patient from values: blood, vital signs, and what images show",
)
