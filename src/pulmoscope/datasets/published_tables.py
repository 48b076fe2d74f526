"""Published tables of patients whose columns do not say what they hold."""

from __future__ import annotations

from collections.abc import Mapping

SCALED = "scaled_"
SCALED_TABLES: Mapping[str, tuple[str, ...]] = {
    "sirio_libanes": (
        *("age_above65", "age_percentil", "gender", "htn", "immunocompromised", "other"),
        *(
            "bloodpressure_diastolic",
            "bloodpressure_sistolic",
            "heart_rate",
            "respiratory_rate",
            "temperature",
        ),
        *(
            "oxygen_saturation",
            "albumin",
            "be_arterial",
            "be_venous",
            "bic_arterial",
            "bic_venous",
            "billirubin",
        ),
        *(
            "blast",
            "calcium",
            "creatinin",
            "ffa",
            "ggt",
            "glucose",
            "hematocrite",
            "hemoglobin",
            "inr",
            "lactate",
        ),
        *(
            "leukocytes",
            "linfocitos",
            "neutrophiles",
            "p02_arterial",
            "p02_venous",
            "pc02_arterial",
            "pc02_venous",
        ),
        *(
            "pcr",
            "ph_arterial",
            "ph_venous",
            "platelets",
            "potassium",
            "sat02_arterial",
            "sat02_venous",
            "sodium",
        ),
        *("tgo", "tgp", "ttpa", "urea", "dimer", *(f"disease_grouping_{number}" for number in range(1, 7))),
    )
}
"""Tables of scaled values by their names: their columns of values."""
HEADERS: Mapping[str, Mapping[str, str]] = {
    "hannover": {
        "crp_val": "crp_mg_l",
        "d-dimer_val": "d_dimer_mg_l",
        "ldh_val": "ldh_u_l",
        "lymphocytes_val": "lymphocytes_g_l",
        "neutrophils_val": "neutrophils_g_l",
        "po2_val": "po2_mmhg",
        "pco2_val": "pco2_mmhg",
    }
}
"""Published tables whose headers have no units: what they stand for."""
