"""How ill a radiograph is: not a network from pixels on, but a light one on the features of an X-ray model.

System D names the published one: a DenseNet-121 that knows chest radiographs, and a linear regression on what it sees
(Cohen et al., arXiv 2005.11856). ``xray-severity-densenet121`` is that with our zones; it reads the features of a
trained ``xray-4class-densenet121``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pulmoscope.core.limits import Limits
from pulmoscope.recipes.recipe import TOGETHER, Named


@dataclass(frozen=True, kw_only=True)
class XraySeverityRecipe(Named):
    """How the light network is fitted: by ridge regression, in closed form.

    Attributes:
        features: the X-ray model whose features it reads, a built-in one's name or a bundle's folder.
        penalty: of the ridge regression.
        map_factor: by how much the map of opacities, as one more feature, is spared the penalty; 0: it is none.
        normals: weight of radiographs without pneumonia, as a fraction of the weight of those that are scored, shared
            out evenly among hospitals; ``normal_scores`` the same where scores' thresholds are fitted.
        most_normals: of each hospital.
        most_boxed: radiographs of which the map of opacities learns.
        mirrored: learn from each radiograph also as its mirror image.
        folds: of the cross-validation by patient, which measures and sets the intervals.
        coverage: the fraction of scores that are to lie within their intervals.
    """

    untunable: ClassVar = (
        "all scored images take part in the cross-validation that measures it, so no images are left to compare "
        "settings by"
    )
    joins_data: ClassVar = False
    features: str = "xray-covid"
    penalty: Annotated[float, Limits(1)] = 300.0
    map_factor: Annotated[float, Limits(0)] = 10.0
    normals: Annotated[float, Limits(0)] = 0.3
    normal_scores: Annotated[float, Limits(0)] = 1.0
    most_normals: Annotated[int, Limits(1)] = 400
    most_boxed: Annotated[int, Limits(1)] = 2000
    mirrored: bool = True
    folds: Annotated[int, Limits(2)] = 5
    coverage: Annotated[float, Limits(0.5, 0.99)] = 0.9

    @property
    def refused_options(self) -> tuple[tuple[str, ...], str]:
        """Options of ``train`` that make no sense for this recipe, and why."""
        names = ("--leave-out", "--labels", "--folds", "--resume", "--workers", *TOGETHER, "--device")
        return names, "it is fitted in a minute, as a whole, and cross-validates itself (--set folds=…)"


PUBLISHED = {"mae_extent": 1.14, "mae_opacity": 0.78}

RECIPE = XraySeverityRecipe(
    name="xray-severity",
    title="How ill a radiograph is: extent, opacity and Brixia score from the features of xray-covid",
    paper="system D; the scores: Cohen et al., arXiv 2005.11856; Borghesi and Maroldi, La Radiologia Medica 125, 2020",
    deviations="A linear layer on six zones of the lungs instead of one on the whole image; radiographs without "
    "pneumonia are learnt from, too; Brixia zones and a map of opacities besides.",
    published=PUBLISHED,
)
