"""Distillation: a network learns what another one says of each image, beside what the image's label says.

Hinton, Vinyals and Dean, «Distilling the Knowledge in a Neural Network», 2015, section 2. The teacher is shown the very
image that the student learns from, varied and mixed alike (Beyer et al., «Knowledge Distillation: A Good Teacher Is
Patient and Consistent», CVPR 2022).
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional

from pulmoscope.core.errors import RecipeError
from pulmoscope.preprocess.kinds import ImagePreprocess
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.runtime.bundle import load
from pulmoscope.runtime.network import open_network
from pulmoscope.training.classification import Teaching, both


def softened(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """How far the student's probabilities are from the teacher's, both softened: temperature² · KL, mean of the batch.

    The square keeps gradients as large as those of the labels' loss, whatever the temperature (section 2.1).

    Args:
        student, teacher: logits (batch, classes).
    """
    log_student = functional.log_softmax(student.float() / temperature, dim=1)
    log_teacher = functional.log_softmax(teacher.float() / temperature, dim=1)
    divergence = functional.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
    return temperature**2 * divergence


def teaching_of(recipe: Recipe) -> Teaching | None:
    """What the recipe's teacher makes of the loss; None where it has none.

    The teacher's network runs on the CPU by OpenVINO, image by image, which gives the same answer every time.

    Args:
        recipe: resolved, its normalisation measured.

    Raises:
        BundleError: there is no such model, or its files are damaged.
        RecipeError: it sees radiographs otherwise prepared than the recipe's network.
    """
    light = recipe.light
    if not light.teacher:
        return None
    bundle = load(light.teacher)
    if not isinstance(bundle.preprocess, ImagePreprocess) or _framing(bundle.preprocess) != _framing(
        recipe.framing
    ):
        raise RecipeError(
            f"light.teacher={light.teacher}: must be shown images as the recipe prepares them (found: "
            f"{bundle.preprocess}; the recipe: {recipe.framing})"
        )
    network = open_network(bundle.folder / bundle.network)
    order = [bundle.classes.index(name) for name in recipe.classes]
    ours, theirs = recipe.framing, bundle.preprocess
    scale, shift = ours.std / theirs.std, (ours.mean - theirs.mean) / theirs.std

    def teaching(images: Tensor, logits: Tensor, loss: Tensor) -> Tensor:
        seen = (images.detach().float().cpu() * scale + shift).contiguous().numpy()
        told = both(torch.from_numpy(network(seen)["logits"]))[:, order].to(logits.device)
        return (1 - light.weight) * loss + light.weight * softened(both(logits), told, light.temperature)

    return teaching


def _framing(preprocess: ImagePreprocess) -> ImagePreprocess:
    """What decides which pixels are shown; brightness is put right."""
    return dataclasses.replace(preprocess, mean=0.0, std=1.0)
