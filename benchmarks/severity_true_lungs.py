"""How well severity is measured within true lungs: what is left of the error is not due to the lung mask.

    python benchmarks/severity_true_lungs.py DATA OUT [--bootstrap 1000]

DATA and the results in OUT are those of ``pulmoscope evaluate measure --data DATA -o OUT``, which measures within the
lungs that it finds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pulmoscope.datasets.several import load_all
from pulmoscope.pipeline.truth.evaluate import evaluate_measure


def main() -> None:
    """Measure every study within its drawn lungs, and sum up."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("data", type=Path)
    ask.add_argument("out", type=Path)
    ask.add_argument("--bootstrap", type=int, default=1000)
    options = ask.parse_args()
    found = evaluate_measure(
        load_all([options.data]), options.out, bootstrap=options.bootstrap, true_lungs=True
    )
    for failure in found["data"]["failures"]:
        sys.stderr.write(f"left out: {failure['file']}: {failure['reason']}\n")
    affected, right = found["percent_affected"], found["grades"]["right"]
    sys.stdout.write(
        f"{found['data']['compared']} studies  mean absolute error {_interval(affected['mean_absolute_error'])}  "
        f"bias {_interval(affected['bias'])}  worst {affected['worst']['difference']:+.1f}  "
        f"grade as the truth's {_interval(right)}\n"
    )


def _interval(estimate: dict[str, float]) -> str:
    low, high = estimate["low"], estimate["high"]
    return f"{estimate['value']:.2f}" + ("" if low is None else f" ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
