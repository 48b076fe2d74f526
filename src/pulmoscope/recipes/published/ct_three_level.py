"""System B: COVID-19, community-acquired pneumonia or neither, from a CT study, in three levels."""

from __future__ import annotations

from pulmoscope.preprocess.ct import CtPreprocess
from pulmoscope.preprocess.ct_augment import SYSTEM_B
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.recipes.specs import EnsembleSpec, ModelSpec, Phase, SliceSpec, VoteSpec

RECIPE = Recipe(
    name="ct-three-level",
    title="COVID-19, CAP or normal from a CT study: slices, patients, ensemble",
    paper="Garg et al., «Multi-scale residual network for COVID-19 diagnosis using CT-scans», ICASSP 2021, section III",
    published={
        "slice_accuracy": 0.9576,
        "val_accuracy": 0.949,
        "test_accuracy": 0.8889,
        "test_sensitivity_Normal": 0.8857,
        "test_sensitivity_CAP": 0.90,
        "test_sensitivity_COVID": 0.8857,
    },
    deviations=(
        "The range of HU that becomes 0-255 is fixed instead of each study's own. Dropout 0.5 and two slices for one "
        "along z, as the paper names neither. Pretraining is left out unless slices.pretrain names a data set, and "
        "learns all weights, BatchNorm included; BatchNorm is frozen in all later phases. Slices are picked where the "
        "network gives normal no more than one half, get their patient's label, and are learnt from together with the "
        "labelled ones. Of equally accurate epochs the one of least loss is kept. A fifth classifier, gated attention "
        "(Ilse et al. 2018), is trained and compared, but is no part of the ensemble. The ensemble learns from the "
        "scores of patients that the classifiers know, as in the paper; ensemble.scores=folds takes scores of "
        "classifiers trained without them."
    ),
    preprocess=CtPreprocess(),
    augment=SYSTEM_B,
    modality="CT",
    normal="Normal",
    model=ModelSpec(backbone="resnet50", stages=3, hidden=1024, dropout=0.5),
    batch_size=64,
    slices=SliceSpec(interpolate=2),
    phases=(
        Phase("pretrain", learn="pretrain", epochs=10, learning_rate=1e-3, monitor="accuracy"),
        Phase("head", epochs=10, learning_rate=1e-4, frozen="backbone", monitor="accuracy"),
        Phase("tune", epochs=10, learning_rate=1e-5, frozen="norm", monitor="accuracy"),
        Phase("picked", learn="picked", epochs=25, learning_rate=1e-5, frozen="norm", monitor="accuracy"),
    ),
    patient=VoteSpec(),
    ensemble=EnsembleSpec(),
    grid={"phases.tune.learning_rate": (1e-5, 1e-4), "patient.learning_rate": (3e-4, 1e-3)},
)
