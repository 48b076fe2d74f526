"""The second task, to tell where opacities are: what is learnt from readers' boxes and from simulated opacities."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional

from pulmoscope.core.classes import is_positive
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.training.data import Painting
from pulmoscope.training.frames import Frames


def where_known(frames: Frames, recipe: Recipe, indices: npt.NDArray[np.int64]) -> Frames:
    """The frames, their opacities known nowhere if those that are learnt from show none.

    Images of normal lungs alone, without one box to set against them, would teach that nothing is anywhere.
    """
    maps = frames.maps
    if maps is None or recipe.augmentation.opacities or maps.opacities[indices].any():
        return frames
    return dataclasses.replace(frames, maps=dataclasses.replace(maps, known=np.zeros_like(maps.known)))


def location_loss(opacity: Tensor, maps: Tensor, fraction: float) -> Tensor:
    """Cross-entropy per position, a number, over the images whose opacities a reader has marked; 0 without any.

    Args:
        opacity: logits (batch, rows, columns).
        maps: (batch, side, side) in [0, 1], NaN where nobody knows; brought to the logits' shape by its mean.
        fraction: of the image itself in what was mixed with the batch in reverse, as for mixup.
    """
    wanted = functional.adaptive_avg_pool2d(maps[:, None], (opacity.shape[1], opacity.shape[2]))[:, 0]
    if fraction < 1:
        wanted = fraction * wanted + (1 - fraction) * wanted.flip(0)
    known = ~wanted.isnan()
    if not known.any():
        return opacity.sum() * 0
    return functional.binary_cross_entropy_with_logits(opacity.float()[known], wanted[known])


def painting_of(recipe: Recipe) -> Painting | None:
    """What simulated opacities are labelled as; None where the recipe paints none."""
    if not recipe.augmentation.opacities:
        return None
    typical, other = (recipe.classes.index(name) for name in recipe.opacity_classes)
    normal = frozenset(at for at, name in enumerate(recipe.classes) if not is_positive(name))
    return Painting(recipe.augmentation.opacities, normal, typical, other)
