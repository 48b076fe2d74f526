"""Figures of hospitals: derived by hand on small cases, and equal to scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pulmoscope.evaluation.calibration import DebiasedError
from pulmoscope.evaluation.hospitals import hospital_figures, section, summary
from pulmoscope.evaluation.metrics import Predictions

CLASSES = ("COVID", "Normal", "Tuberculosis")


def drawn(seed: int, labels: dict[str, int], hospital: str, patients: int = 0) -> Predictions:
    """Predictions of one hospital, ``labels`` → how many, right more often than not."""
    rng = np.random.default_rng(seed)
    names = tuple(name for name, count in labels.items() for _ in range(count))
    scores = rng.normal(size=(len(names), len(CLASSES)))
    for row, name in zip(scores, names, strict=True):
        if name in CLASSES:
            row[CLASSES.index(name)] += 1
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return Predictions(
        files=tuple(f"{hospital}-{number}.png" for number in range(len(names))),
        labels=names,
        patients=tuple(f"p{number % patients}" if patients else "" for number in range(len(names))),
        sources=("folder",) * len(names),
        classes=CLASSES,
        probabilities=shares,
        decisions=tuple("report" if row.max() > 0.6 else "refer" for row in shares),
        hospitals=(hospital,) * len(names),
    )


def joined(*parts: Predictions) -> Predictions:
    def all_of(name: str) -> tuple[str, ...]:
        return tuple(value for part in parts for value in getattr(part, name))

    return Predictions(
        **{
            name: all_of(name)
            for name in ("files", "labels", "patients", "sources", "decisions", "hospitals")
        },
        classes=CLASSES,
        probabilities=np.concatenate([part.probabilities for part in parts]),
    )


def test_shares_by_hand() -> None:
    # label, called, decision
    rows = (
        ("COVID", "COVID", "report"),
        ("COVID", "Normal", "report"),
        ("COVID", "Tuberculosis", "refer"),
        ("COVID", "COVID", "refer"),
        ("Normal", "Normal", "report"),
        ("Normal", "COVID", "refer"),
        ("Indeterminate", "COVID", "report"),
    )
    own = Predictions(
        files=tuple(map(str, range(len(rows)))),
        labels=tuple(label for label, *_ in rows),
        patients=("a", "a", "b", "", "", "c", "c"),
        sources=("",) * len(rows),
        classes=CLASSES,
        probabilities=np.array(
            [[0.8 if name == called else 0.1 for name in CLASSES] for _, called, _ in rows]
        ),
        decisions=tuple(decision for *_, decision in rows),
        hospitals=("h",) * len(rows),
    )
    (found,) = hospital_figures(own, {"h": False}, 0)
    assert (found.images, found.units) == (7, 5)
    covid, normal, strange = (found.by_label[name] for name in ("COVID", "Normal", "Indeterminate"))
    assert (covid.images, normal.images, strange.images) == (4, 2, 1)
    assert {name: own.value for name, own in covid.called.items()} == {"COVID": 0.5, "Normal": 0.25}
    assert {name: own.value for name, own in covid.reported_as.items()} == {"COVID": 0.25, "Normal": 0.25}
    assert (covid.right.value, covid.reported.value) == (0.5, 0.5)
    assert normal.called["COVID"].value == 0.5
    assert normal.reported_as["COVID"].value == 0
    # A label that the model does not know counts in its own row, and nowhere else.
    assert strange.called["COVID"].value == strange.reported.value == 1
    assert strange.right.value is None
    assert found.wrongly_called.value == pytest.approx(3 / 6)
    assert found.wrongly_reported.value == pytest.approx(1 / 6)
    assert found.reported.value == pytest.approx(4 / 7)
    # Fewer than ten of a class say nothing of telling it apart.
    assert found.auroc_within.value is found.calibration_error.value is found.auroc_disease.value is None


def test_auroc_within_is_scikit_learns() -> None:
    own = drawn(1, {"COVID": 30, "Normal": 40, "Tuberculosis": 12, "Indeterminate": 9}, "h")
    (found,) = hospital_figures(own, {"h": False}, 0)
    labels = np.array(own.labels)
    pair = np.isin(labels, ("COVID", "Normal"))
    assert found.auroc_within.value == pytest.approx(
        roc_auc_score(labels[pair] == "COVID", own.probabilities[pair, 0])
    )
    other = np.isin(labels, ("Tuberculosis", "Normal"))
    assert found.auroc_disease.value == pytest.approx(
        roc_auc_score(labels[other] != "Normal", 1 - own.probabilities[other, 1])
    )
    known = labels != "Indeterminate"
    error = DebiasedError(own.probabilities[known, 0], labels[known] == "COVID")
    assert found.calibration_error.value == pytest.approx(float(error(np.ones((1, known.sum())))[0]))


def test_a_hospital_is_judged_by_its_own_images_alone() -> None:
    one, other = drawn(1, {"COVID": 20, "Normal": 20}, "one"), drawn(2, {"Normal": 15}, "other")
    unidentified = drawn(3, {"COVID": 11, "Normal": 12}, "unidentified")
    seen: dict[str, bool | None] = {"one": False, "other": False, "unidentified": False}
    rows = hospital_figures(joined(unidentified, other, one), seen, 50)
    assert [row.hospital for row in rows] == ["one", "other", "unidentified"]
    assert rows[0] == hospital_figures(one, seen, 50)[0]
    assert rows[1].auroc_within.value is None


def test_intervals_hold_the_value_and_go_by_patient() -> None:
    alone = drawn(4, {"COVID": 40, "Normal": 40}, "h")
    grouped = drawn(4, {"COVID": 40, "Normal": 40}, "h", patients=8)
    (one,), (other,) = (hospital_figures(own, {"h": False}, 400) for own in (alone, grouped))
    assert (one.units, other.units) == (80, 8)
    assert one.auroc_within.value == other.auroc_within.value
    for row in (one, other):
        assert row.auroc_within.low is not None
        assert row.auroc_within.value is not None
        assert row.auroc_within.high is not None
        assert row.auroc_within.low < row.auroc_within.value < row.auroc_within.high
        assert row.auroc_within.usable == 400
    assert one.auroc_within != other.auroc_within


def test_means_are_over_hospitals_that_are_known_and_not_learnt_from() -> None:
    parts = [
        drawn(1, {"COVID": 20, "Normal": 20}, "a"),
        drawn(2, {"COVID": 20, "Normal": 20}, "rsna"),
        drawn(3, {"Normal": 10}, "c"),
        drawn(4, {"Normal": 9}, "few"),
        drawn(5, {"COVID": 20, "Normal": 20}, "learnt"),
        drawn(6, {"COVID": 20, "Normal": 20}, "who knows"),
        drawn(7, {"COVID": 20, "Normal": 20}, "unidentified"),
    ]
    seen: dict[str, bool | None] = {part.hospitals[0]: False for part in parts}
    seen |= {"learnt": True, "who knows": None}
    rows = {row.hospital: row for row in hospital_figures(joined(*parts), seen, 0)}
    assert [name for name, row in rows.items() if row.counts] == ["a", "c", "few", "rsna"]
    assert rows["rsna"].plain()["part_of"] == "nih"
    found = summary(list(rows.values()))

    within = {name: rows[name].auroc_within.value for name in ("a", "rsna")}
    assert found["auroc_within"]["hospitals"] == 2
    assert found["auroc_within"]["mean"] == pytest.approx(np.mean(list(within.values())))
    lowest = min(within, key=lambda name: within[name] or 0)
    assert (found["auroc_within"]["worst"]["hospital"], found["auroc_within"]["worst"]["value"]) == (
        lowest,
        within[lowest],
    )

    called = {name: rows[name].by_label["Normal"].called["COVID"].value for name in ("a", "rsna", "c")}
    assert found["normals_called_covid"]["hospitals"] == 3  # nine normal images are too few
    assert found["normals_called_covid"]["mean"] == pytest.approx(np.mean(list(called.values())))
    assert found["normals_called_covid"]["worst"]["value"] == max(called.values())
    assert found["wrongly_called"]["hospitals"] == 3
    assert found["wrongly_reported"]["worst"]["value"] == max(
        rows[name].wrongly_reported.value or 0 for name in called
    )


def test_without_any_hospital_that_counts_there_is_no_mean() -> None:
    rows = hospital_figures(drawn(1, {"COVID": 20, "Normal": 20}, "h"), {"h": True}, 0)
    found = section(rows)
    assert found["summary"]["auroc_within"] == {"hospitals": 0, "mean": None, "worst": None}
    assert found["rows"][0]["auroc_within"]["value"] is not None


def test_a_model_without_normal_has_no_auroc() -> None:
    own = drawn(1, {"COVID": 20, "Normal": 20}, "h")
    renamed = Predictions(
        own.files, own.labels, own.patients, own.sources, ("COVID", "other", "rest"), own.probabilities,
        decisions=own.decisions, hospitals=own.hospitals,
    )  # fmt: skip
    (found,) = hospital_figures(renamed, {"h": False}, 20)
    assert found.auroc_within.value is None
    assert found.by_label["Normal"].called["Normal"].value is None
    assert found.by_label["Normal"].called["COVID"].value is not None


def test_a_model_of_non_covid_has_an_auroc_against_it() -> None:
    """As the model of CT slices, whose contrary of COVID is no Normal."""
    rng, labels = np.random.default_rng(3), ("COVID",) * 12 + ("non-COVID",) * 15 + ("",) * 4
    covid = rng.uniform(size=len(labels))
    own = Predictions(
        files=tuple(map(str, range(len(labels)))), labels=labels, patients=("",) * len(labels),
        sources=("folder",) * len(labels), classes=("non-COVID", "COVID"),
        probabilities=np.stack([1 - covid, covid], axis=1), decisions=("report",) * len(labels),
        hospitals=("h",) * len(labels),
    )  # fmt: skip
    (found,) = hospital_figures(own, {"h": False}, 0)
    assert found.auroc_within.value == pytest.approx(
        roc_auc_score([label == "COVID" for label in labels[:27]], covid[:27])
    )
    assert found.calibration_error.value is not None
    assert found.auroc_disease.value is None


def test_hospitals_and_decisions_are_needed() -> None:
    own = drawn(1, {"COVID": 2}, "h")
    for missing in ("hospitals", "decisions"):
        bare = Predictions(**{**vars(own), missing: ()})
        with pytest.raises(ValueError, match="a hospital and a decision"):
            hospital_figures(bare, {"h": False}, 0)
    with pytest.raises(ValueError, match="one hospital a file"):
        Predictions(**{**vars(own), "hospitals": ("h",)})
