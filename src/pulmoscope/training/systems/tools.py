"""Networks that recipes share: the lung finder and the view network; and the severity of radiographs."""

from __future__ import annotations

from pathlib import Path

from pulmoscope.core.errors import RecipeError
from pulmoscope.core.files import check_folder
from pulmoscope.recipes.published.xray_lungs import LungRecipe
from pulmoscope.recipes.recipe import Named
from pulmoscope.runtime.xray_severity import MANIFEST
from pulmoscope.training.lung_finder import fit as lung_finder
from pulmoscope.training.systems.base import Figures, Options, Report, System, Told
from pulmoscope.training.view import fit as view
from pulmoscope.training.xray_severity import fit as xray_severity


class Lungs(System):
    """Radiographs with masks of the lungs; the Dice coefficient counts, its mean and the least."""

    figures = ("val_dice", "val_dice_least")

    @classmethod
    def check_free(cls, out: Path, options: Options, folds: int = 0) -> None:
        """See :meth:`System.check_free`."""
        check_folder(out, lung_finder.MARKER, options.force or options.resume)

    def fit(self, out: Path) -> Told:
        """See :meth:`System.fit`."""
        how = self.options
        summary = lung_finder.train_lung_finder(
            self.recipe, self.table, out, resume=how.resume, force=how.force, progress=how.progress
        )
        lines = [
            f"{split}: Dice {dice['mean']:.3f} (least {dice['least']:.3f}) on {dice['films']} films"
            for split, dice in summary["dice"].items()
        ]
        return Told([*lines, f"Lung finder: {out / 'lungs.onnx'}"])

    def prepare(self, cache: Path, progress: bool) -> None:
        """Nothing is shared: reading takes little of a trial's time."""

    def trained(self, recipe: LungRecipe, cache: Path, run: Path, report: Report) -> Figures:
        """Of the split val."""
        dice = lung_finder.train_lung_finder(recipe, self.table, run, force=True, progress=False)["dice"][
            "val"
        ]
        return {"val_dice": dice["mean"], "val_dice_least": dice["least"]}


class Views(System):
    """Pictures of every kind, from data sets of which each is read for itself."""

    @classmethod
    def check_free(cls, out: Path, options: Options, folds: int = 0) -> None:
        """See :meth:`System.check_free`."""
        check_folder(out, view.MARKER, options.force or options.resume)

    def fit(self, out: Path) -> Told:
        """See :meth:`System.fit`."""
        how = self.options
        summary = view.train_view(
            self.recipe, self.tables, out, resume=how.resume, force=how.force, progress=how.progress
        )
        lines = [
            f"{group}, not learnt from: {counts['refused']} of {counts['pictures']} refused"
            for group, counts in summary["unseen"].items()
        ]
        lines += [
            f"{split}, {kind}: {counts['passed']} of {counts['pictures']} taken for a chest's"
            for split, kinds in summary["passed"].items()
            for kind, counts in kinds.items()
        ]
        return Told([*lines, f"View network: {out / 'view.onnx'}"])

    def prepare(self, cache: Path, progress: bool) -> None:
        """Nothing: there are no trials."""

    def trained(self, recipe: Named, cache: Path, run: Path, report: Report) -> Figures:
        """None: see the recipe's ``untunable``."""
        raise RecipeError(f"{recipe.name}: can't be tuned: {recipe.untunable}")


class XraySeverity(System):
    """Radiographs with readers' scores, others without pneumonia or with boxes, from data sets read for themselves."""

    @classmethod
    def check_free(cls, out: Path, options: Options, folds: int = 0) -> None:
        """See :meth:`System.check_free`."""
        check_folder(out, MANIFEST, options.force)

    def fit(self, out: Path) -> Told:
        """See :meth:`System.fit`."""
        how = self.options
        model = xray_severity.train_xray_severity(
            self.recipe,
            self.tables,
            out,
            release=how.release,
            terms=how.terms,
            command=how.command,
            force=how.force,
            progress=how.progress,
        )
        figures = model.facts["figures"]
        lines = [
            f"{name}, patients left out: mean absolute error {row['mae']['value']:.2f} "
            f"({row['mae']['low']:.2f}–{row['mae']['high']:.2f}); the mean of all: {row['mae_of_mean']['value']:.2f}"
            for name, row in figures["cross_validated"].items()
        ]
        lines += [
            f"no pneumonia, {name}: extent {row['left_out']['extent']['value']:.2f} where it is left out"
            for name, row in figures["normals"].items()
        ]
        return Told([*lines, f"Severity model: {out}"])

    def prepare(self, cache: Path, progress: bool) -> None:
        """Nothing: there are no trials."""

    def trained(self, recipe: Named, cache: Path, run: Path, report: Report) -> Figures:
        """None: see the recipe's ``untunable``."""
        raise RecipeError(f"{recipe.name}: can't be tuned: {recipe.untunable}")
