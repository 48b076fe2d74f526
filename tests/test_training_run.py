from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import jsonschema
import pytest
import torch
from safetensors.torch import load_file, save_file

import drawn
from pulmoscope.core.errors import DatasetError, OutputExistsError, RecipeError, ResourceError
from pulmoscope.core.types import Scan
from pulmoscope.datasets.labels import targets
from pulmoscope.datasets.several import load_all
from pulmoscope.datasets.table import SampleTable
from pulmoscope.models.classifier import build
from pulmoscope.recipes import settings
from pulmoscope.recipes.published import find
from pulmoscope.recipes.recipe import Recipe
from pulmoscope.recipes.specs import Phase
from pulmoscope.runtime.bundle import MANIFEST, PARTS
from pulmoscope.training import frames as framing
from pulmoscope.training.classification import Batch, Classification
from pulmoscope.training.loop import Outcome
from pulmoscope.training.parallel.launch import spawned
from pulmoscope.training.run import TrainedRun, claim, fit, load_run, resolve, settled
from pulmoscope.training.summary import SUMMARY

SCHEMAS = Path(__file__).resolve().parents[1] / "docs" / "schemas"
TINY = settings.apply(
    find("xray-binary-cnn"),
    ["model.filters=8", "preprocess.size=32", "batch_size=8", "phases.train.epochs=2"],
)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> SampleTable:
    return drawn.table(tmp_path_factory.mktemp("films"), train=12, val=4)


def nowhere(table: SampleTable) -> SampleTable:
    """The table, its images gone."""
    return dataclasses.replace(table, root=table.root / "nowhere")


def train(
    recipe: Recipe, table: SampleTable, run: Path, *changes: str, phases: tuple[Phase, ...] = ()
) -> TrainedRun:
    changed = settings.apply(recipe, changes)
    changed = dataclasses.replace(changed, phases=phases or changed.phases)
    return fit(changed, table, run, device="cpu", progress=False)


def test_a_run_learns_and_is_whole(films: SampleTable, tmp_path: Path) -> None:
    run = train(TINY, films, tmp_path / "run", "phases.train.epochs=12", "phases.train.learning_rate=0.01")

    assert run.summary["val_accuracy"] >= 0.9
    assert run.recipe.classes == ("Normal", "COVID")
    assert run.recipe.preprocess.mean != 0.5  # measured
    for name, schema in (("run.json", "run"), ("recipe.json", "recipe")):
        content = json.loads((run.folder / name).read_text(encoding="utf-8"))
        jsonschema.validate(
            content, json.loads((SCHEMAS / f"{schema}.schema.json").read_text(encoding="utf-8"))
        )
    assert run.summary["data"]["counts"] == {
        "train": {"Normal": 12, "COVID": 12},
        "val": {"Normal": 4, "COVID": 4},
    }
    with (run.folder / "curves.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["epoch"]) for row in rows] == list(range(1, run.summary["epochs"] + 1))
    losses = [float(row["val_loss"]) for row in rows]
    assert run.summary["val_loss"] == min(losses) == losses[run.summary["best_epoch"] - 1]
    assert (run.folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert list((run.folder / "tensorboard").iterdir())
    assert not (run.folder / "checkpoints").exists()
    assert load_run(run.folder) == run


def test_the_images_of_a_run_are_a_data_set_like_that_it_had(films: SampleTable, tmp_path: Path) -> None:
    places = enumerate(films)
    known = [dataclasses.replace(own, hospital=f"h{at % 2}", unread=at % 3 == 0) for at, own in places]
    two = [own for own in known if own.label in TINY.classes]
    run = train(TINY, films.with_samples(two), tmp_path / "run", "phases.train.epochs=1")

    again = load_all([run.folder / "images.csv"])
    bare = [dataclasses.replace(own, file=Path(own.file).name) for own in again]
    assert bare == two
    assert all(again.path(own).is_file() for own in again)


def test_a_run_takes_no_list_of_images_that_is_not_its_own(films: SampleTable, tmp_path: Path) -> None:
    mine = tmp_path / "run" / "images.csv"
    mine.parent.mkdir()
    for name in ("images.csv", "manifest.csv"):
        mine.with_name(name).write_text("mine", encoding="utf-8")
    with pytest.raises(ResourceError, match="a run writes a file of this name"):
        train(TINY, films, tmp_path / "run")
    assert mine.read_text(encoding="utf-8") == "mine"
    mine.unlink()
    for force in (False, True):
        fit(TINY, films, tmp_path / "run", device="cpu", progress=False, force=force)
        assert mine.with_name("manifest.csv").read_text(encoding="utf-8") == "mine"
        assert mine.is_file()


def test_the_network_kept_gives_the_figures_reported(films: SampleTable, tmp_path: Path) -> None:
    from pulmoscope.training.data import EpochOrder, FramedImages, Loader
    from pulmoscope.training.frames import load_frames

    run = train(TINY, films, tmp_path / "run", "precision=32", "phases.train.epochs=4")
    frames = load_frames(films.split("val"), run.recipe.preprocess, run.recipe.classes, progress=False)
    images = FramedImages(frames, run.recipe.preprocess, None, 0)
    order = EpochOrder(frames.places("val"), 8, 0, 0, shuffle=False)
    (batch, target, *_), *rest = Loader(images, order).epoch()
    labels = target.argmax(dim=1)
    with torch.no_grad():
        logits = run.network()(batch)[:, 0]

    assert not rest
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels.float())
    assert run.summary["val_loss"] == pytest.approx(float(loss), rel=1e-4)
    assert run.summary["val_accuracy"] == pytest.approx(float(((logits > 0) == labels.bool()).float().mean()))


def test_the_same_seed_gives_the_same_weights(films: SampleTable, tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    weights = [
        (train(TINY, films, tmp_path / name, f"seed={seed}").folder / "weights.safetensors").read_bytes()
        for name, seed in (("one", 1), ("two", 1), ("three", 2))
    ]
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_frozen_backbone_stays_as_it_is_with_its_statistics(films: SampleTable, tmp_path: Path) -> None:
    # System E's network has no pretrained weights: it is frozen as it began, whatever the setting says.
    run = train(TINY, films, tmp_path / "run", "phases.train.frozen=backbone", "model.pretrained=true")
    torch.manual_seed(TINY.seed)
    initial = build(TINY.model, 1, 1).state_dict()
    kept = load_file(run.folder / "weights.safetensors")
    changed = {name for name, value in kept.items() if not torch.equal(value, initial[name])}
    assert changed == {"head.output.weight", "head.output.bias"}


def test_frozen_early_layers_stay_as_they_are_with_their_statistics(
    films: SampleTable, tmp_path: Path
) -> None:
    changes = ["phases.train.frozen=early", "phases.train.epochs=1", "model.backbone=mobilenetv2_035"]
    torch.manual_seed(TINY.seed)
    spec = dataclasses.replace(TINY.model, backbone="mobilenetv2_035", pretrained=False, hidden=0)
    initial = build(spec, 1, 1).state_dict()
    backbone = {
        name.removeprefix("backbone."): value for name, value in initial.items() if "backbone." in name
    }
    save_file(backbone, tmp_path / "weights.safetensors")
    changes += [f"model.weights={tmp_path / 'weights.safetensors'}", "model.hidden=0"]
    run = train(TINY, films, tmp_path / "run", *changes)
    kept = load_file(run.folder / "weights.safetensors")
    same = {name for name, value in kept.items() if torch.equal(value, initial[name])}
    early = ("conv_stem", "bn1", "blocks.0", "blocks.1", "blocks.2")  # down to an eighth of a side
    expected = {name for name in kept if name.startswith(tuple(f"backbone.{layer}." for layer in early))}
    assert same == expected


def test_a_restarted_phase_begins_anew_and_takes_the_epochs_of_the_best(
    films: SampleTable, tmp_path: Path
) -> None:
    phases = (
        Phase("first", epochs=4, learning_rate=1e-2),
        Phase(
            "again",
            epochs_of="first",
            learning_rate=0.0,
            optimizer="sgd",
            train_on=("train", "val"),
            restart=True,
        ),
    )
    run = train(TINY, films, tmp_path / "run", phases=phases)
    first, again = run.summary["phases"]

    assert again["epochs"] == first["best_epoch"]
    assert again["val_loss"] is None
    assert run.summary["val_loss"] == first["val_loss"]
    assert not run.summary["val_held_out"]
    torch.manual_seed(TINY.seed)
    initial = build(TINY.model, 1, 1).state_dict()
    kept = load_file(run.folder / "weights.safetensors")
    assert all(
        torch.equal(kept[name], initial[name]) for name, _ in build(TINY.model, 1, 1).named_parameters()
    )


def test_early_stopping_waits_its_patience(films: SampleTable, tmp_path: Path) -> None:
    # With a learning rate of zero and frozen statistics no epoch is better than the first.
    run = train(
        TINY,
        films,
        tmp_path / "run",
        *("phases.train.epochs=9", "phases.train.patience=2", "phases.train.learning_rate=0"),
        *("phases.train.frozen=backbone", "phases.train.optimizer=sgd", "model.pretrained=true"),
    )
    assert (run.summary["epochs"], run.summary["best_epoch"]) == (3, 1)


def test_a_run_needs_a_folder(films: SampleTable, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match=r"file: a run needs a folder \(found: a file\)$"):
        fit(TINY, films, tmp_path / "file", device="cpu", force=True, progress=False)


def test_a_run_is_not_replaced_by_accident(films: SampleTable, tmp_path: Path) -> None:
    run = train(TINY, films, tmp_path / "run")
    kept = (run.folder / "weights.safetensors").read_bytes()

    with pytest.raises(OutputExistsError, match=r"--resume .*--force"):
        fit(TINY, nowhere(films), run.folder, device="cpu", progress=False)  # told before images are read
    assert fit(TINY, films, run.folder, device="cpu", resume=True, progress=False).summary == run.summary
    begun = json.loads((run.folder / "recipe.json").read_text())
    del begun["recipe"]["mixup"], begun["recipe"]["preprocess"]["hull"]  # as before there were such settings
    (run.folder / "recipe.json").write_text(json.dumps(begun))
    assert fit(TINY, films, run.folder, device="cpu", resume=True, progress=False).summary == run.summary
    other = settings.apply(TINY, ["model.dropout=0.1"])
    with pytest.raises(RecipeError, match=r"recipe\.model\.dropout \(0\.3, now 0\.1\)"):
        fit(other, films, run.folder, device="cpu", resume=True, progress=False)
    assert (run.folder / "weights.safetensors").read_bytes() == kept
    for part in (*PARTS, MANIFEST):
        (run.folder / part).write_bytes(b"of the run before")
    assert fit(other, films, run.folder, device="cpu", force=True, progress=False).recipe.model.dropout == 0.1
    assert not [part for part in (*PARTS, MANIFEST) if (run.folder / part).exists()]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("run.json", "{", r"run\.json: is damaged"),
        ("run.json", "{}", r"run\.json: is damaged \(no epochs"),
        ("recipe.json", "[3]", r"recipe\.json: is damaged \(no recipe\)"),
        ("recipe.json", '{"recipe": 3}', "recipe: must be a group"),
        ("weights.safetensors", "?", r"weights\.safetensors: is damaged"),
    ],
)
def test_a_damaged_run_is_told_in_one_line(tmp_path: Path, name: str, content: str, says: str) -> None:
    whole = {
        "run.json": json.dumps(dict.fromkeys(SUMMARY)),
        "recipe.json": json.dumps({"recipe": settings.to_plain(TINY)}),
    }
    for file, text in (whole | {name: content}).items():
        (tmp_path / file).write_text(text)
    with pytest.raises(RecipeError, match=says) as told:
        load_run(tmp_path).network()
    assert "\n" not in str(told.value)


def test_a_run_of_an_earlier_version_is_resumed(films: SampleTable, tmp_path: Path) -> None:
    run = train(TINY, films, tmp_path / "run", "phases.train.epochs=1")
    file = tmp_path / "run" / "recipe.json"
    begun = json.loads(file.read_text(encoding="utf-8"))
    begun["schema_version"] = "1.0"
    for part in ("preprocess", "augment"):
        del begun["recipe"][part]["type"]
    for part in ("slices", "quality", "patient", "ensemble", "normal", "drop", "cache"):
        del begun["recipe"][part]
    begun["recipe"]["title"] = "an older title"
    file.write_text(json.dumps(begun), encoding="utf-8")
    same = settings.apply(TINY, ["phases.train.epochs=1"])
    again = fit(same, films, tmp_path / "run", device="cpu", resume=True, progress=False)
    assert again.summary == run.summary
    assert dataclasses.replace(again.recipe, title=run.recipe.title) == run.recipe


def test_a_damaged_run_is_not_resumed(films: SampleTable, tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text("{")
    with pytest.raises(RecipeError, match=r"recipe\.json: is damaged .*--force"):
        fit(TINY, films, tmp_path, device="cpu", resume=True, progress=False)


def test_a_diverging_run_is_told(films: SampleTable, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="NaN in epoch 1"):
        train(TINY, films, tmp_path / "run", "phases.train.learning_rate=1e30", "phases.train.optimizer=sgd")
    assert not (tmp_path / "run" / "run.json").exists()


def test_an_interrupt_stays_an_interrupt(
    films: SampleTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> Outcome:
        raise KeyboardInterrupt

    monkeypatch.setattr(Classification, "step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(TINY, films, tmp_path / "run")


@pytest.mark.parametrize(("cache", "kept"), [("", True), ("none", False)])
def test_a_run_that_goes_on_decodes_nothing_again(
    films: SampleTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: str, kept: bool
) -> None:
    read: list[Path] = []
    real, recipe = framing.read_xray, settings.apply(TINY, [f"cache={cache}"])

    def counted(path: Path) -> Scan:
        read.append(path)
        return real(path)

    def stopped(*_: object) -> Outcome:
        raise ConnectionAbortedError("stopped")

    monkeypatch.setattr(framing, "read_xray", counted)
    with monkeypatch.context() as patch:
        patch.setattr(Classification, "step", stopped)
        with pytest.raises(ConnectionAbortedError):
            fit(recipe, films, tmp_path, device="cpu", progress=False)
    assert (tmp_path / "prepared").exists() == kept
    fit(recipe, films, tmp_path, device="cpu", resume=True, progress=False)
    assert len(read) == (1 if kept else 2) * 32
    assert not (tmp_path / "prepared").exists()
    fit(recipe, films, tmp_path, device="cpu", resume=True, progress=False)
    assert not (tmp_path / "prepared").exists()


def test_a_run_goes_on_alike_with_worker_processes(
    films: SampleTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(TINY, films, tmp_path / "whole")
    step = Classification.step

    def stop_in_second_epoch(self: Classification, network: object, batch: Batch, done: float) -> Outcome:
        if done >= 0.5:
            raise ConnectionAbortedError("stopped")
        return step(self, network, batch, done)

    with monkeypatch.context() as patch:
        patch.setattr(Classification, "step", stop_in_second_epoch)
        with pytest.raises(ConnectionAbortedError):
            train(TINY, films, tmp_path / "parts")
    parts = fit(TINY, films, tmp_path / "parts", device="cpu", workers=1, resume=True, progress=False)

    assert parts.summary["val_loss"] == whole.summary["val_loss"]
    weights = [(run.folder / "weights.safetensors").read_bytes() for run in (whole, parts)]
    assert weights[0] == weights[1]


def test_progress_is_told_on_standard_error(
    films: SampleTable, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fit(TINY, films, tmp_path / "run", device="cpu")
    said = capfd.readouterr()
    assert said.out == ""
    lines = [line for line in said.err.splitlines() if line.strip()]
    precision, *epochs = lines
    assert "fp32" in precision
    assert [line.split(":")[0] for line in epochs] == ["train 1/2", "train 2/2"]
    assert "held out: loss" in epochs[0]
    assert "waited for data" in epochs[0]
    assert epochs[0].endswith("best")


def test_data_without_a_validation_split_are_refused(tmp_path: Path) -> None:
    table = drawn.table(tmp_path, train=2, val=0, test=1)
    with pytest.raises(DatasetError, match="split val"):
        train(TINY, table, tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "says"), [("model.dropout=2", "at most 0.99"), ("classes=COVID", "at least two")]
)
def test_settings_that_make_no_sense_are_told(change: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        resolve(settings.apply(TINY, [change]), drawn.named(drawn.CLASSES))


def test_a_backbone_without_stages_has_no_early_layers(films: SampleTable, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="frozen=early: timm does not say where"):
        train(TINY, films, tmp_path / "run", "phases.train.frozen=early", "model.pretrained=true")


def test_weights_that_do_not_fit_leave_nothing_behind(films: SampleTable, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such file"):
        train(TINY, films, tmp_path / "run", "model.backbone=mobilenetv2_035", "model.weights=nowhere")
    assert not (tmp_path / "run").exists()


def test_a_recipe_learns_with_margins_and_balanced_weights(films: SampleTable, tmp_path: Path) -> None:
    changes = (
        "loss.kind=ldam",
        "loss.beta=0.9",
        "loss.deferred=0.5",
        "model.output=softmax",
        "model.hidden=0",
    )
    run = train(
        TINY, films, tmp_path / "run", *changes, "phases.train.epochs=12", "phases.train.learning_rate=0.01"
    )
    assert run.summary["val_accuracy"] >= 0.8
    with torch.no_grad():
        logits = run.network()(torch.rand(2, 1, 32, 32))
    assert float(logits.abs().max()) <= 30.001  # cosines, scaled


def test_labels_and_shares_fit_the_classes_of_the_data() -> None:
    """xray-covid on data of two classes, with a table of labels that names a class as itself."""
    labels = {**find("xray-covid").labels, "COVID": "COVID"}
    recipe = dataclasses.replace(find("xray-covid"), labels=labels)
    table = drawn.named(("COVID", "Negative", "Indeterminate", "Typical"))
    table = table.with_samples(dataclasses.replace(own, unread=own.label == "COVID") for own in table)
    found, known = settled(recipe, table)
    assert found.classes == ("Normal", "COVID")
    assert found.labels["Indeterminate"] == "COVID 0.533333333, Normal 0.466666667"
    assert found.unread == {"Normal": 0.222222222}
    assert [warning.split(":")[0] for warning in known.warnings] == ["labels.Indeterminate", "unread"]
    assert settled(found, known) == (found, known)
    shares = targets(known, found.labels, found.classes, found.unread)
    assert shares.sum(axis=1).tolist() == pytest.approx([1] * 4)


def test_two_processes_learn_what_one_learns(films: SampleTable, tmp_path: Path) -> None:
    """The same batches, shared out: the same gradients but for the order of sums, float32's 1e-7 a step.

    Nothing is dropped. Batches of five images are shared out as three and two, so the gradients are not simply those of
    the parts, averaged; nor are BatchNorm's statistics.
    """
    quiet = ("model.dropout=0", "batch_size=5", "precision=32")
    recipe = settings.apply(TINY, [*quiet, "phases.train.epochs=3", "phases.train.learning_rate=0.01"])
    one, two = (
        fit(
            recipe,
            films,
            tmp_path / str(count),
            device="cpu",
            launch=spawned(count) if count > 1 else None,
            progress=False,
        )
        for count in (1, 2)
    )
    assert two.summary["val_accuracy"] == one.summary["val_accuracy"]
    assert two.summary["val_loss"] == pytest.approx(one.summary["val_loss"], abs=1e-5)
    weights = [load_file(run.folder / "weights.safetensors") for run in (one, two)]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=1e-4, rtol=0)
    assert not (two.folder / "checkpoints").exists()
    curves = [
        csv.DictReader((run.folder / "curves.csv").read_text(encoding="utf-8").splitlines())
        for run in (one, two)
    ]
    for own, other in zip(*curves, strict=True):
        assert float(other["train_loss"]) == pytest.approx(float(own["train_loss"]), abs=1e-5)
        assert other["train_accuracy"] == own["train_accuracy"]


@pytest.mark.parametrize("name", ["xray", "ct-three-level", "ct-severity"])
def test_a_finished_run_of_an_earlier_version_is_opened(name: str, tmp_path: Path) -> None:
    old = Path(__file__).parent / "data" / "old_bundles" / "0.1" / name / "bundle.json"
    recipe = json.loads(old.read_text(encoding="utf-8"))["recipe"]
    (tmp_path / "recipe.json").write_text(json.dumps({"recipe": recipe, "data": {}}), encoding="utf-8")
    (tmp_path / "run.json").write_text(
        json.dumps({"epochs": 3, "seconds": 1.5, "data": {}}), encoding="utf-8"
    )
    found = load_run(tmp_path)
    assert found.recipe.name == recipe["name"]
    assert found.summary["epochs"] == 3
    assert found.summary["val_accuracy"] is None


def test_a_recipe_file_that_lacks_its_data_is_told(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps({"recipe": {}}), encoding="utf-8")
    with pytest.raises(RecipeError, match=r"recipe\.json: is damaged \(no data\)"):
        claim(tmp_path, {"recipe": {}, "data": {}}, force=False)
