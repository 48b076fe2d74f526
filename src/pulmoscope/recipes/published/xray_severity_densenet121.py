"""The published backbone of system D's severity: DenseNet-121, as this data can train it."""

from __future__ import annotations

from dataclasses import replace

from pulmoscope.recipes.published import xray_severity

RECIPE = replace(
    xray_severity.RECIPE,
    name="xray-severity-densenet121",
    title="How ill a radiograph is, from the features of a DenseNet-121 (--set features=RUN)",
    deviations="As xray-severity; the published DenseNet-121 knows 18 findings on chest radiographs of several "
    "collections, this one the classes of the data that it is trained on.",
    features="",
)
