from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import drawn
from bundles import tiny_bundle
from pulmoscope.apps.cli.main import app
from pulmoscope.core.errors import BundleError
from pulmoscope.recipes import settings
from pulmoscope.recipes.published import changed_settings, find
from pulmoscope.report.names import figure_name, set_title
from pulmoscope.runtime.beside_measure import no_better_than_measure
from pulmoscope.runtime.bundle import Bundle, Thresholds, load
from pulmoscope.training.card import record
from pulmoscope.training.card.record import add_metrics, key_figures
from pulmoscope.training.card.text import model_card


def estimate(value: float | None) -> dict[str, Any]:
    bound = None if value is None else value / 2
    return {"value": value, "low": bound, "high": value, "usable": 10}


OVERALL = {
    "scores": {"accuracy": estimate(0.75), "macro_auroc": estimate(0.875), "mcc": estimate(None)},
    "by_class": {
        "COVID": {"images": 4, "sensitivity": estimate(0.5), "specificity": estimate(1.0)},
        "Normal": {"images": 4, "sensitivity": estimate(1.0), "specificity": estimate(0.5)},
    },
}


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A bundle as training leaves it, in a network of a test's own."""
    recipe = settings.apply(find("xray-binary-cnn"), ["model.filters=8", "classes=COVID,Normal"])
    training_data = {
        "counts": {"train": {"COVID": 3, "Normal": 1200}, "val": {"COVID": 1, "Normal": 2}},
        "sources": {"here": 1202, "there": 4},
        "classes_by_source": {"here": {"Normal": 1202}, "there": {"COVID": 3, "Normal": 1}},
        "warnings": ["no patient ids: splits can't be by patient"],
        "terms": "for research only",
    }
    bare = tiny_bundle(tmp_path / "bundle", temperature=1.5, confidence=0.65, distance=2.5)
    return replace(bare, recipe=settings.to_plain(recipe), training_data=training_data).save()


def evaluation(bundle: Bundle, sources: dict[str, int]) -> dict[str, Any]:
    return {
        "model": {
            "name": bundle.name,
            "version": bundle.version,
            "weights_sha256": bundle.files["model.onnx"],
            "classes": list(bundle.classes),
            "temperature": 1.5,
        },
        "data": {"split": "test", "sources": sources, "predicted": 8, "sha256": "0" * 64},
        "overall": OVERALL,
        "pairwise": {"positive": "COVID", "negative": "Normal", "scores": OVERALL["scores"]},
        "outside_classes": [
            {"source": "nih", "label": "Pneumonia", "images": 9, "called": {"COVID": estimate(0.25)}}
        ],
        "command": "pulmoscope evaluate",
    }


def test_the_card_tells_the_bundles_facts(bundle: Bundle) -> None:
    text = model_card(bundle)
    for fact in (
        "# tiny 0.1",
        "classes are COVID, Normal",
        "train: 1,203 images (COVID 3, Normal 1,200)",
        "Sources: here (1,202), there (4)",
        "Sources that hold a single class: here (Normal).",
        "no patient ids: splits can't be by patient",
        "Terms: for research only",
        "Temperature 1.500",
        "less sure than 0.65",
        "than 2.5 (",
        "Published figures: accuracy 0.79",
        "rotate deg 15.0",
        "128 x 128 pixels",
        "No figure from another hospital is recorded.",
        "No audit is recorded",
        "pulmoscope train xray-binary-cnn --data DATA -o RUN --set model.filters=8",
        "--release 0.1\npulmoscope evaluate RUN --data DATA --split test -o EVALUATION\npulmoscope models record RUN",
        "Apache-2.0",
        "not a medical device",
    ):
        assert fact in text


def test_the_card_tells_all_thresholds_of_referral(bundle: Bundle) -> None:
    assert "By class" not in model_card(bundle)
    assert "normal lungs" not in model_card(bundle)
    limits = Thresholds(0.9, 2.0, {"COVID": 0.6, "Normal": 0.75}, 1.5)
    card = model_card(replace(bundle, thresholds=limits))
    assert "- By class, in place of 0.90: COVID 0.60, Normal 0.75.\n" in card
    assert (
        "- Referred, too: answers that nothing was found, of images farther from normal lungs than 1.5: "
        in card
    )


def test_figures_are_a_column_for_each_data_set(bundle: Bundle) -> None:
    add_metrics(bundle.folder, "test", evaluation(bundle, {"here": 8}))
    made = add_metrics(bundle.folder, "external", evaluation(bundle, {"nih": 8}))
    text = (bundle.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"|  | {set_title('test')} (internal) | {set_title('external')} (external) |" in text
    for key, cells in (
        ("accuracy", "0.750 (0.375–0.750) | 0.750 (0.375–0.750) |"),
        ("mcc", "– | – |"),
        ("AUROC_COVID_against_Normal", "0.875 (0.438–0.875) |"),
        ("nih_Pneumonia_called_COVID", "0.250"),
    ):
        assert f"| {figure_name(key).title} | {cells}" in text
    assert "No figure from another hospital is recorded." not in text
    assert load(bundle.folder) == made


@pytest.mark.parametrize(
    ("evaluated", "trained", "role"),
    [
        ({"here": 8}, {"here": 9, "there": 1}, "internal"),
        ({"here": 8, "": 1}, {"here": 9}, "internal"),
        ({"nih": 8}, {"here": 9}, "external"),
        ({"": 8}, {"unknown": 9}, "unknown"),
        ({"": 8}, {"here": 9}, "unknown"),
        ({"nih": 8}, {"here": 9, "unknown": 1}, "unknown"),
        ({"nih": 8}, {}, "unknown"),
    ],
)
def test_only_named_sources_that_training_does_not_know_are_external(
    bundle: Bundle, evaluated: dict[str, int], trained: dict[str, int], role: str
) -> None:
    known = replace(bundle, training_data={**bundle.training_data, "sources": trained}).save()
    made = add_metrics(known.folder, "test", evaluation(known, evaluated))
    assert made.metrics["test"]["role"] == role
    said = "No figure from another hospital is recorded." in (bundle.folder / "MODEL_CARD.md").read_text(
        encoding="utf-8"
    )
    assert said == (role != "external")


def test_a_kill_between_manifest_and_card_leaves_a_bundle(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: Path, content: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(record, "write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            add_metrics(bundle.folder, "test", evaluation(bundle, {"here": 8}))
    assert load(bundle.folder).metrics["test"]["images"] == 8


def test_an_audit_can_be_recorded(bundle: Bundle) -> None:
    audit = evaluation(bundle, {"here": 8}) | {
        "parts": {"erasure": {"figures": {"auroc_clean": estimate(0.9), "auroc_blackout": estimate(0.5)}}},
        "trust": {"level": "none", "says": "Nobody knows."},
        "verdicts": [{"part": "erasure", "code": "blackout", "level": "good", "says": "Reads lungs."}],
    }
    made = add_metrics(bundle.folder, "audit", audit)
    assert made.metrics["audit"]["role"] == "audit"
    assert made.metrics["audit"]["figures"]["auroc_blackout"] == {"value": 0.5, "low": 0.25, "high": 0.5}
    assert made.metrics["audit"]["verdicts"] == audit["verdicts"]
    assert made.metrics["audit"]["trust"] == audit["trust"]
    card = (bundle.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "No audit" not in card
    section = card.split("## Audit\n")[1].split("\n## ")[0]
    assert "Nobody knows." in section
    assert "- good: Reads lungs." in section


def slices(bundle: Bundle, network: float, *patients: float | None) -> dict[str, Any]:
    """What ``slices.json`` says of patients whose lesions were measured with these AUROCs, None: has one kind only."""
    evaluated = evaluation(bundle, {"nih": 8})
    return {name: evaluated[name] for name in ("model", "data", "command")} | {
        "patients": [
            {
                "patient": "Jane Doe",
                "judged": 20,
                "auroc": estimate(None if lesion is None else 0.7),
                "network_auroc": estimate(None if lesion is None else network),
                "dense_auroc": estimate(None if lesion is None else 0.6),
                "lesion_auroc": estimate(lesion),
            }
            for lesion in patients
        ]
    }


def test_slices_are_recorded_as_the_mean_of_patients_with_both_kinds(bundle: Bundle) -> None:
    made = add_metrics(bundle.folder, "slices", slices(bundle, 0.8, 0.9, None, 0.65))
    kept = made.metrics["slices"]
    assert (kept["role"], kept["images"]) == ("external", 40)
    assert {name: figure["value"] for name, figure in kept["figures"].items()} == {
        "slices_answer": 0.7,
        "slices_network": 0.8,
        "slices_dense": 0.6,
        "slices_lesion": 0.775,
    }
    assert "Jane" not in (bundle.folder / "bundle.json").read_text(encoding="utf-8")
    assert all(figure_name(name).meaning for name in kept["figures"])
    assert no_better_than_measure(made.metrics) is None
    before = (bundle.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    made = add_metrics(bundle.folder, "more", slices(bundle, 0.5, 0.75))
    beside = no_better_than_measure(made.metrics)
    assert beside is not None
    assert (beside.network, beside.measure) == (0.5, 0.75)
    limits = [
        card.split("## Known limits\n")[1].split("\n## ")[0]
        for card in (before, (bundle.folder / "MODEL_CARD.md").read_text(encoding="utf-8"))
    ]
    assert ["0.750" in text for text in limits] == [False, True]


def test_slices_without_two_kinds_can_not_be_recorded(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="infected"):
        add_metrics(bundle.folder, "slices", slices(bundle, 0.8, None))


def test_pictures_have_no_measure_to_compare_a_network_with(bundle: Bundle) -> None:
    pictures = slices(bundle, 0.5, 0.9)
    for patient in pictures["patients"]:
        patient |= {"dense_auroc": estimate(None), "lesion_auroc": estimate(None)}
    made = add_metrics(bundle.folder, "slices", pictures)
    assert set(made.metrics["slices"]["figures"]) == {"slices_answer", "slices_network"}
    assert no_better_than_measure(made.metrics) is None


def test_figures_of_another_model_are_refused(bundle: Bundle) -> None:
    other = evaluation(replace(bundle, name="other"), {"here": 8})
    with pytest.raises(BundleError, match=r"only figures of this bundle .*name: tiny, found: other"):
        add_metrics(bundle.folder, "test", other)
    for fact, value in (("weights_sha256", "0" * 64), ("temperature", 1.25), ("classes", ["COVID"])):
        same_name = evaluation(bundle, {"here": 8})
        same_name["model"][fact] = value
        with pytest.raises(BundleError, match=rf"only figures of this bundle .*{fact}: "):
            add_metrics(bundle.folder, "test", same_name)
    with pytest.raises(
        BundleError, match=r"only a metrics\.json, slices\.json, audit\.json or hospitals\.json"
    ):
        add_metrics(bundle.folder, "test", {"schema_version": "1.0"})
    assert load(bundle.folder).metrics == {}


def test_record_on_the_command_line(bundle: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "metrics.json"
    command = ["models", "record", str(bundle.folder), "--metrics", str(file), "--as", "external"]
    assert isinstance(CliRunner().invoke(app, command).exception, BundleError)
    file.write_text(json.dumps(evaluation(bundle, {"nih": 8})))
    ended = CliRunner().invoke(app, command)
    assert ended.exit_code == 0
    assert load(bundle.folder).metrics["external"]["images"] == 8


@pytest.mark.parametrize("name", drawn.IMAGES)
def test_the_command_in_the_card_gives_the_same_recipe(name: str) -> None:
    changes = [
        "seed=7",
        "classes=Normal,COVID",
        "phases.0.epochs=3",
        "model.pretrained=false",
        "batch_size=5",
    ]
    changed = settings.apply(find(name), changes)
    assert settings.apply(find(name), changed_settings(changed)) == changed
    assert changed_settings(find(name)) == []


def test_a_pair_is_named_by_its_classes() -> None:
    figures = key_figures(None, {"positive": "A", "negative": "B", "scores": OVERALL["scores"]})
    assert list(figures) == ["AUROC_A_against_B", "accuracy_A_against_B"]
