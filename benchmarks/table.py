"""One Markdown row a run, from what ``recipes.sh`` or ``ablation.sh`` left in a folder.

    python benchmarks/table.py RUNS...

«Within one source» is the AUROC of 1 - P(Normal) for the external set's Pneumonia against its Normal images, where both
are of one source: no knowledge of the source helps there. «Third hospital» are the images in ``normals``.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

from sklearn.metrics import roc_auc_score

HEAD = (
    "| run | recipe, as run | published | epochs | at home | accuracy | MCC | macro AUROC | COVID : Normal AUROC | "
    "accuracy | ECE | elsewhere: AUROC | sensitivity | specificity | Pneumonia called COVID | within one source | "
    "third hospital: Normal called COVID | blackout AUROC | frame kept |"
)


def shown(estimate: dict[str, Any] | None) -> str:
    if estimate is None or estimate["value"] is None:
        return "–"
    return f"{estimate['value']:.3f} ({estimate['low']:.3f}–{estimate['high']:.3f})"


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def pair(metrics: dict[str, Any]) -> dict[str, Any]:
    """COVID against Normal; a binary model's figures are all of that."""
    return metrics["pairwise"] or metrics["overall"]


def within_one_source(predictions: Path) -> str:
    with predictions.open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["label"] in ("Normal", "Pneumonia")]
    sources, labels = {row["source"] for row in rows}, {row["label"] for row in rows}
    if len(sources) != 1 or "" in sources or len(labels) != 2:
        return "–"
    ill, score = zip(
        *((row["label"] == "Pneumonia", 1 - float(row["p_Normal"])) for row in rows), strict=True
    )
    return f"{roc_auc_score(ill, score):.3f}"


def normal_called_covid(normals: Path) -> str:
    if not normals.is_file():
        return "–"
    with normals.open(newline="") as stream:
        called = [row["predicted"] for row in csv.DictReader(stream) if row["label"] == "Normal"]
    return f"{called.count('COVID') / len(called):.3f}" if called else "–"


def row(run: Path) -> str:
    recipe = read(run / "recipe.json")["recipe"]
    split = next(name for name in ("test", "val") if (run / name / "metrics.json").is_file())
    home = read(run / split / "metrics.json")
    away = read(run / "external/metrics.json")
    covid = pair(away)["by_class"]["COVID"]
    pneumonia = [
        group["called"].get("COVID") for group in away["outside_classes"] if group["label"] == "Pneumonia"
    ]
    audit = {result["code"]: result["auroc"] for result in read(run / "audit/audit.json")["results"]}
    published = recipe["published"].get("accuracy")
    cells = [
        run.name,
        f"{recipe['name']} on {recipe['model']['backbone']}, {recipe['preprocess']['size']} px",
        f"{published:.4g}" if published else "–",
        str(read(run / "run.json")["epochs"]),
        split,
        shown(home["overall"]["scores"]["accuracy"]),
        shown(home["overall"]["scores"]["mcc"]),
        shown(home["overall"]["scores"]["macro_auroc"]),
        shown(pair(home)["by_class"]["COVID"]["auroc"]),
        shown(pair(home)["scores"]["accuracy"]),
        shown(home["overall"]["scores"]["calibration_error"]),
        shown(covid["auroc"]),
        shown(covid["sensitivity"]),
        shown(covid["specificity"]),
        shown(pneumonia[0] if pneumonia else None),
        within_one_source(run / "external/predictions.csv"),
        normal_called_covid(run / "normals/predictions.csv"),
        shown(audit["blackout"]),
        shown(audit.get("blackout_framed")),
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    runs = sorted(path.parent for folder in sys.argv[1:] for path in Path(folder).glob("*/audit/audit.json"))
    print(HEAD)
    print("|" + "---|" * (HEAD.count("|") - 1))
    for audit in runs:
        print(row(audit.parent))


if __name__ == "__main__":
    main()
