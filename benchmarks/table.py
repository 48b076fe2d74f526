"""One Markdown row a run, from what ``benchmarks/recipes.sh`` left in a folder: at home, elsewhere, without lungs.

python benchmarks/table.py RUNS...
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HEAD = (
    "| run | recipe, as run | published | epochs | accuracy | MCC | macro AUROC | COVID : Normal AUROC | accuracy | "
    "ECE | elsewhere: AUROC | sensitivity | specificity | Pneumonia called COVID | blackout AUROC |"
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


def row(run: Path) -> str:
    recipe = read(run / "recipe.json")["recipe"]
    home, away = read(run / "test/metrics.json"), read(run / "external/metrics.json")
    covid = pair(away)["by_class"]["COVID"]
    pneumonia = [
        group["called"].get("COVID") for group in away["outside_classes"] if group["label"] == "Pneumonia"
    ]
    blackout = next(
        result for result in read(run / "audit/audit.json")["results"] if result["code"] == "blackout"
    )
    published = recipe["published"].get("accuracy")
    cells = [
        run.name,
        f"{recipe['name']} on {recipe['model']['backbone']}, {recipe['preprocess']['size']} px",
        f"{published:.4g}" if published else "–",
        str(read(run / "run.json")["epochs"]),
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
        shown(blackout["auroc"]),
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
