from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from pulmoscope.evaluation import plots
from pulmoscope.evaluation.calibration import reliability
from pulmoscope.evaluation.hospitals import hospital_figures
from pulmoscope.evaluation.metrics import Predictions, evaluate


def predictions(classes: tuple[str, ...], count: int = 60) -> Predictions:
    rng = np.random.default_rng(4)
    truth = rng.integers(len(classes), size=count)
    shares = rng.dirichlet(np.ones(len(classes)), size=count)
    return Predictions(
        files=tuple(map(str, range(count))),
        labels=tuple(classes[number] for number in truth),
        patients=("",) * count,
        sources=("",) * count,
        classes=classes,
        probabilities=shares,
        decisions=tuple("report" if row.max() > 0.6 else "refer" for row in shares),
    )


def test_every_picture_is_a_png_with_something_on_it() -> None:
    own = predictions(("COVID", "Normal", "Tuberculosis", "Viral Pneumonia"))
    metrics = evaluate(own, 0)
    bins = reliability(own.probabilities, own.truth)
    for content in (
        plots.confusion_matrix(metrics),
        plots.roc(own),
        plots.precision_recall(own, metrics),
        plots.reliability_curve(bins, 0.1),
        plots.risk_coverage(own),
    ):
        picture = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_COLOR)
        assert min(picture.shape[:2]) > 400
        assert picture[0, 0].tolist() == [255, 255, 255]
        assert len(np.unique(picture)) > 20


def test_same_predictions_same_bytes() -> None:
    own = predictions(("COVID", "Normal"))
    assert plots.roc(own) == plots.roc(own)


def test_classes_that_the_data_lack_are_left_out() -> None:
    own = predictions(("COVID", "Normal", "Tuberculosis"))
    two = own.select([label != "Tuberculosis" for label in own.labels])
    metrics = evaluate(two, 0)
    assert plots.roc(two).startswith(b"\x89PNG")
    assert plots.confusion_matrix(metrics).startswith(b"\x89PNG")


def test_distributions_show_every_class_and_the_limit() -> None:
    values = np.concatenate([np.linspace(0, 1, 40), np.linspace(2, 3, 25)])
    classes = ["CT-0"] * 40 + ["CT-3"] * 25
    content = plots.distributions(values, classes, "score", 1.5, "limit")
    picture = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_COLOR)
    assert min(picture.shape[:2]) > 300
    assert content == plots.distributions(values, classes, "score", 1.5, "limit")
    assert content != plots.distributions(values, classes, "score")


def test_bland_and_altman_s_plot_tells_different_differences_apart() -> None:
    true, measured = np.array([0.0, 10.0, 40.0]), np.array([1.0, 9.0, 43.0])
    content = plots.bland_altman(true, measured, "study")
    picture = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_COLOR)
    assert min(picture.shape[:2]) > 300
    assert content == plots.bland_altman(true, measured, "study")
    assert content != plots.bland_altman(true, np.array([1.0, 9.0, 37.0]), "study")
    assert plots.bland_altman(true[:1], true[:1], "study").startswith(b"\x89PNG")  # has no limits


def test_hospitals_are_a_line_each_and_those_that_do_not_count_are_hollow() -> None:
    own = predictions(("COVID", "Normal"), 120)
    named = replace(own, hospitals=tuple("abc"[index % 3] for index in range(120)))
    seen: dict[str, bool | None] = {"a": False, "b": False, "c": True}
    one = plots.hospitals(hospital_figures(named, seen, 20))
    unseen: dict[str, bool | None] = dict.fromkeys("abc", False)
    other = plots.hospitals(hospital_figures(named, unseen, 20))
    picture = cv2.imdecode(np.frombuffer(one, dtype=np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[1] > 1000
    assert one != other
    without = named.select([label != "Normal" for label in named.labels])
    assert plots.hospitals(hospital_figures(without, unseen, 0)).startswith(b"\x89PNG")
