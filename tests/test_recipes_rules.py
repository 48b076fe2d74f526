from __future__ import annotations

import dataclasses

import pytest

from pulmoscope.core.errors import RecipeError
from pulmoscope.recipes import settings
from pulmoscope.recipes.published import RECIPES, chosen, find
from pulmoscope.recipes.recipe import Named
from pulmoscope.recipes.rules import check
from pulmoscope.recipes.specs import Phase

TRANSFER = find("xray-binary-resnet50v2")


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_recipe_and_grid_point_is_within(recipe: Named) -> None:
    check(recipe)
    for path, values in recipe.grid.items():
        for value in values:
            check(settings.apply(recipe, [f"{path}={value}"]))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("model.dropout=2", r"model\.dropout=2\.0: must be at least 0 and at most 0\.99"),
        ("model.filters=0", r"model\.filters=0: must be at least 1"),
        ("model.hidden=-1", "at least 0"),
        ("preprocess.size=0", r"preprocess\.size=0: must be at least 32 and at most 4096"),
        ("preprocess.std=0", "at least 0.001"),
        ("preprocess.edge=0.5", r"at most 0\.45"),
        ("preprocess.clahe_grid=0", "at least 1"),
        ("augment.film=3.5", r"augment\.film=3\.5: must be at least 0 and at most 3$"),
        ("augment.flip=-0.1", "at least 0"),
        ("augment.zoom=1", r"at most 0\.9"),
        ("label_smoothing=1", r"at most 0\.99"),
        ("loss.beta=1", r"loss\.beta=1\.0: must be at least 0 and at most 0\.9999999"),
        ("loss.scale=0", r"at least 0\.001"),
        ("preprocess.hull=true", r"needs preprocess\.region=lungs \(found: full\)"),
        ("average=1", r"at most 0\.99999"),
        ("batch_size=1", "at least 2"),
        ("seed=-1", r"seed=-1: must be at least 0 and at most 4294967295"),
        ("phases.1.learning_rate=-1", r"phases\.all-data\.learning_rate=-1\.0: must be at least 0$"),
        ("phases.0.learning_rate=inf", "at least 0"),
        ("phases.0.learning_rate=nan", "at least 0"),
        ("phases.0.momentum=1", r"at most 0\.9999"),
        ("phases.0.weight_decay=-1", "at least 0"),
        ("phases.0.patience=-1", "at least 0"),
        ("phases.0.epochs=0", r"phases\.frozen\.epochs=0: must be at least 1"),
        ("phases.0.epochs=-3", "at least 0"),
        ("phases.0.epochs_of=later", "no earlier phase"),
        ("phases.0.name=a/b", "file name"),
        ("phases.1.name=frozen", "unique"),
        ("phases.0.train_on=foo", r"phases\.frozen\.train_on=foo: must be train, val or both"),
        ("phases.0.train_on=", "train, val or both"),
    ],
)
def test_what_is_beyond_the_limits_is_told_in_one_line(change: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says) as told:
        check(settings.apply(TRANSFER, [change]))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("preprocess.hidden=1.5", r"preprocess\.hidden=1\.5: must be at least 0 and at most 1"),
        ("preprocess.room=1", r"at most 0\.5"),
        ("preprocess.region=full", r"needs preprocess\.region=lungs \(found: full\)"),
        ("modality=XRAY", r"modality=XRAY, preprocess: needs XrayPreprocess \(found: SlicePreprocess\)"),
    ],
)
def test_a_slices_recipe_has_limits_of_its_own(change: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        check(settings.apply(find("ct-slice-covid"), [change]))


def test_a_recipe_has_a_phase() -> None:
    with pytest.raises(RecipeError, match="has no phase"):
        check(dataclasses.replace(TRANSFER, phases=()))


def test_the_ends_are_within() -> None:
    check(
        settings.apply(TRANSFER, ["augment.flip=1", "model.dropout=0", "seed=0", "phases.0.learning_rate=0"])
    )


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("ct-three-level", "balance=0.2"),
        ("ct-three-level", "drop=CAP"),
        ("ct-severity-resnet18", "positive=CT-1"),
        ("ct-three-level", "cache=none"),
        ("ct-slice-covid", "drop=CT-4"),
        ("xray-covid", "phases.train.learn=picked"),
        ("xray-covid", "phases.train.frozen=norm"),
        ("ct-three-level", "phases.tune.restart=true"),
        ("ct-severity-resnet18", "phases.train.patience=2"),
        ("ct-three-level", "slices.per_study=2"),
        ("ct-severity-resnet18", "phases.train.optimizer=adam"),
        ("ct-severity-resnet18", "phases.train.monitor=loss"),
        ("ct-severity-resnet18", "slices.interpolate=2"),
        ("ct-severity-resnet18", "patient.l1=0.1"),
        ("ct-severity-resnet18", "patient.decides=ensemble"),
        ("ct-severity-resnet18", "preprocess.hu_low=300"),
    ],
)
def test_a_setting_that_would_do_nothing_is_refused(name: str, change: str) -> None:
    setting = change.partition("=")[0]
    with pytest.raises(RecipeError, match=setting.replace(".", "|")) as told:
        chosen(name, [change])
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["xray-covid", "xray-binary-resnet50v2"])
def test_layers_that_have_learnt_nothing_are_not_frozen(name: str) -> None:
    scratch = settings.apply(find(name), ["model.pretrained=false", "model.weights="])
    with pytest.raises(
        RecipeError, match=r"phases\.\w+\.frozen=\w+: would freeze .* model\.pretrained=false"
    ) as told:
        check(scratch)
    assert "\n" not in str(told.value)
    check(settings.apply(scratch, ["model.weights=here.safetensors"]))
    free = [f"phases.{number}.frozen=none" for number in range(len(scratch.phases))]
    check(settings.apply(scratch, free))


def test_layers_that_an_earlier_phase_has_taught_can_be_frozen() -> None:
    two = (Phase("all", epochs=1), Phase("head", epochs=1, frozen="backbone"))
    scratch = dataclasses.replace(settings.apply(TRANSFER, ["model.pretrained=false"]), phases=two)
    check(scratch)
    again = dataclasses.replace(two[1], restart=True)
    with pytest.raises(RecipeError, match=r"phases\.head\.frozen=backbone"):
        check(dataclasses.replace(scratch, phases=(two[0], again)))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["robust=0.1", "class_weights=true"], r"robust: weighs .*class_weights=true, label_smoothing=0\)"),
        (
            ["robust=0.1", "label_smoothing=0.1"],
            r"robust: weighs .*class_weights=false, label_smoothing=0\.1\)",
        ),
        (["class_weights=true", "augment.opacities=0.1"], "class_weights: need labels of one class each"),
        (["class_weights=true", "unread.COVID=0.1"], "class_weights: need labels of one class each"),
    ],
)
def test_weights_do_not_go_with_what_has_weights_or_shares_of_its_own(changes: list[str], says: str) -> None:
    plain = dataclasses.replace(find("xray-covid"), labels={}, unread={"COVID": 0.0}, label_smoothing=0.0)
    check(settings.apply(dataclasses.replace(plain, unread={}), ["class_weights=true"]))
    with pytest.raises(RecipeError, match=says):
        check(settings.apply(plain, changes))
    shared = dataclasses.replace(plain, unread={}, class_weights=True, labels={"?": "COVID 0.5, Normal 0.5"})
    with pytest.raises(RecipeError, match="class_weights: need"):
        check(shared)


def test_a_loss_that_does_not_go_with_the_recipe_is_refused() -> None:
    weighed = settings.apply(TRANSFER, ["loss.kind=focal", "class_weights=true"])
    with pytest.raises(
        RecipeError, match=r"plain cross-entropy alone.*\(found: loss\.kind=focal, loss\.beta=0\)"
    ):
        check(weighed)
    deep = settings.apply(TRANSFER, ["loss.kind=ldam", "model.hidden=8", "model.output=softmax"])
    with pytest.raises(RecipeError, match=r"needs a single last layer.*\(found: 8, 1, softmax\)"):
        check(deep)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            ["labels.Unsure=COVID 0.4, Normal 0.4"],
            r"^labels: .* sum to 1 \(found: COVID 0\.4, Normal 0\.4\)$",
        ),
        (["unread.Normal=1"], r"^unread: .* \(found: 1\)$"),
        (["unread.Normal=0.6", "unread.Other=0.5"], r"sum to less than 1 \(found: 1\.1\)"),
        (["unread.Normal=-0.1"], "^unread: shares must be above 0"),
        (["labels.Unsure=COVID 0.4, Normal 0.6", "model.output=sigmoid"], r"softmax alone .*output=sigmoid"),
        (
            ["labels.Unsure=COVID 0.4, Normal 0.6", "loss.kind=focal"],
            r"plain cross-entropy .*loss\.kind=focal",
        ),
        (["unread.Normal=0.1", "loss.beta=0.9"], r"plain cross-entropy .*loss\.beta=0\.9"),
        (["augment.opacities=0.1", "model.output=sigmoid"], "softmax alone"),
        (["robust=0.1", "loss.kind=focal"], "plain cross-entropy"),
        (
            ["robust=0.1", "class_weights=true"],
            r"^robust: .*\(found: class_weights=true, label_smoothing=0\)$",
        ),
        (["robust=0.1", "label_smoothing=0.1"], r"^robust: .*label_smoothing=0\.1\)$"),
        (["locate=1", "model.stages=3"], r"^locate: .*\(found: 3, loss\.kind=cross-entropy\)$"),
        (["locate=1", "loss.kind=ldam", "model.hidden=0"], r"^locate: .*\(found: 1, loss\.kind=ldam\)$"),
    ],
)
def test_what_is_learnt_from_shares_and_groups_must_go_together(changes: list[str], says: str) -> None:
    softmax = settings.apply(TRANSFER, ["model.output=softmax"])
    with pytest.raises(RecipeError, match=says) as told:
        check(settings.apply(softmax, changes))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("change", ["unread.Normal=0.2", "augment.opacities=0.1", "robust=0.1", "locate=0.3"])
def test_what_goes_together_is_within(change: str) -> None:
    shared = ["model.output=softmax", "labels.Typical=COVID", "labels.Unsure=COVID 0.4, Normal 0.6", change]
    check(settings.apply(TRANSFER, shared))


@pytest.mark.parametrize("change", ["locate=0.3", "augment.opacities=0.1"])
def test_opacities_are_told_of_in_x_rays_alone(change: str) -> None:
    with pytest.raises(RecipeError, match=r"are for X-rays alone \(found: modality=CT\)"):
        check(settings.apply(find("ct-slice-covid"), ["model.output=softmax", "model.stages=1", change]))
