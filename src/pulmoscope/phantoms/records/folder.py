"""Writing simulated records as a table of patients."""

from __future__ import annotations

import math
from pathlib import Path

from pulmoscope.core.files import claim_folder, csv_text, write_text
from pulmoscope.core.synthetic import SYNTHETIC_SOURCE
from pulmoscope.datasets.splits import assign_splits
from pulmoscope.datasets.table import Sample
from pulmoscope.phantoms.records.draw import draw_records

TABLE, NOTE = "records.csv", "README.txt"
HEADERS = {
    "age": "age_years",
    "spo2": "spo2_pct",
    "crp": "crp_mg_l",
    "ldh": "ldh_u_l",
    "lymphocytes": "lymphocytes_g_l",
    "d_dimer": "d_dimer_mg_l",
}
"""Values whose columns have the unit behind their name."""
_TEXT = (
    "Simulated records, drawn by Pulmoscope. No patients. Figures on them say nothing about patients.\n"
    "true_probability: of the outcome, given all that the record holds; true_probability_values: without what images\n"
    "show; true_probability_complete: with nothing missing and no noise in the readings of images.\n"
)


def write_records(out: Path, count: int, seed: int = 0, force: bool = False) -> Path:
    """Simulate patients and write ``records.csv``, whose column ``source`` says that they are synthetic.

    Raises:
        ValueError: there are fewer than one.
        OutputExistsError: the folder has a table already, and ``force`` is not given.
        ResourceError: it can't be written.
    """
    records = draw_records(count, seed)
    claim_folder(out, TABLE, force)
    names = [f"phantom-{number:05d}" for number in range(1, count + 1)]
    samples = assign_splits(
        [
            Sample(name, str(died), "", name, SYNTHETIC_SOURCE)
            for name, died in zip(names, records.died, strict=True)
        ],
        seed=seed,
    )
    columns = {HEADERS.get(name, name): values for name, values in {**records.values, **records.true}.items()}
    rows = (
        [
            name,
            sample.split,
            SYNTHETIC_SOURCE,
            int(records.died[index]),
            *(None if math.isnan(one[index]) else f"{one[index]:.6g}" for one in columns.values()),
        ]
        for index, (name, sample) in enumerate(zip(names, samples, strict=True))
    )
    write_text(out / NOTE, _TEXT)
    write_text(out / TABLE, csv_text(["patient", "split", "source", "died", *columns], rows))
    return out / TABLE
