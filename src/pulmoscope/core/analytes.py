"""The one catalogue of what is measured in a patient: names, units, LOINC codes, limits.

Clinical values travel as a mapping from the name of an analyte to its value in its unit; what is missing is absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from pulmoscope.core.units import (
    AGE,
    AMOUNT,
    CELL_MASS,
    CELL_VOLUME,
    CELLS,
    ENZYME,
    FILTRATION,
    FRACTION,
    IONS,
    MASS,
    NUMBER,
    PRESSURE,
    RATE,
    SECONDS,
    SEDIMENTATION,
    TEMPERATURE,
    Kind,
    Unit,
    find,
)

MALE, FEMALE = 1.0, 0.0
"""Values of ``sex``."""


@dataclass(frozen=True)
class Conversion:
    """From a unit to the unit of an analyte: value · factor + offset, exactly."""

    unit: Unit
    factor: Fraction
    offset: Fraction = Fraction(0)

    def __call__(self, value: Fraction) -> Fraction:
        """The value in the unit of the analyte."""
        return value * self.factor + self.offset

    def back(self, value: Fraction) -> Fraction:
        """The value in this unit."""
        return (value - self.offset) / self.factor


@dataclass(frozen=True)
class Form:
    """A way to report an analyte: its names, its codes, and what a mole weighs where both mass and moles are given.

    Attributes:
        names: as tables call it, without the unit.
        loinc: codes of LOINC (loinc.org), in blood, serum or plasma.
        molar_g: g/mol of what is reported, per molecule of the analyte.
    """

    names: tuple[str, ...]
    loinc: tuple[str, ...] = ()
    molar_g: Fraction | None = None


@dataclass(frozen=True)
class Analyte:
    """What is measured in a patient.

    Attributes:
        name: in tables of values and in results.
        title: for readers.
        unit: the UCUM code of the unit that its values are in.
        low, high: outside of these, in ``unit``, a value is an error of writing, of unit or of measurement; they are
            wide, and no range of health.
        kind: the units that it may have.
        forms: how it is reported; the first is the analyte itself.
    """

    name: str
    title: str
    unit: str
    low: float
    high: float
    kind: Kind
    forms: tuple[Form, ...]

    @property
    def needs_unit(self) -> bool:
        """Whether a value without a unit is unclear."""
        return len(self.kind) > 1 or self.kind[0].code != "1"

    def conversion(self, form: Form, unit: str, *, ucum: bool = False) -> Conversion | None:
        """How values of a form in a unit become values of the analyte.

        Args:
            unit: a UCUM code; or as tables write it, unless ``ucum``.

        Returns:
            None: the unit is not one of this analyte's.
        """
        canonical = find(self.kind, self.unit)
        assert canonical is not None
        if (found := find(self.kind, unit, ucum=ucum)) is not None and (
            form.molar_g is None or form is self.forms[0] or self._amounts
        ):
            return Conversion(found, found.factor / canonical.factor, found.offset / canonical.factor)
        other = MASS if self._amounts else AMOUNT
        if form.molar_g is None or (found := find(other, unit, ucum=ucum)) is None:
            return None
        weight = 1 / form.molar_g if self._amounts else form.molar_g
        return Conversion(found, found.factor * weight / canonical.factor)

    @property
    def _amounts(self) -> bool:
        return self.unit.partition("/")[0].endswith("mol")

    def units(self, form: Form | None = None) -> Iterator[Conversion]:
        """Every unit that values of a form (None: the first) may have."""
        form = form or self.forms[0]
        others = () if form.molar_g is None else MASS if self._amounts else AMOUNT
        for unit in (*self.kind, *others):
            if (conversion := self.conversion(form, unit.code)) is not None:
                yield conversion


def _one(
    name: str,
    title: str,
    unit: str,
    limits: tuple[float, float],
    kind: Kind,
    names: str = "",
    loinc: str = "",
    molar_g: str = "",
    *others: Form,
) -> Analyte:
    form = Form((name, *names.split()), tuple(loinc.split()), Fraction(molar_g) if molar_g else None)
    return Analyte(name, title, unit, *limits, kind, (form, *others))


_NITROGEN = Form(("bun", "urea_nitrogen"), ("3094-0", "6299-2"), Fraction("28.014"))
_CATALOGUE = (
    _one("age", "Age", "a", (0, 120), AGE, "", "30525-0 21612-7"),
    _one("sex", "Sex", "1", (0, 1), NUMBER, "gender"),
    # vital signs
    _one(
        "spo2",
        "Oxygen saturation",
        "%",
        (20, 100),
        FRACTION,
        "oxygen_saturation o2_saturation",
        "59408-5 2708-6",
    ),
    _one("heart_rate", "Heart rate", "/min", (10, 350), RATE, "pulse", "8867-4"),
    _one("respiratory_rate", "Respiratory rate", "/min", (1, 120), RATE, "breathing_rate", "9279-1"),
    _one("temperature", "Body temperature", "Cel", (20, 45), TEMPERATURE, "body_temperature", "8310-5"),
    _one("systolic_pressure", "Systolic blood pressure", "mm[Hg]", (20, 350), PRESSURE, "systolic", "8480-6"),
    _one(
        "diastolic_pressure",
        "Diastolic blood pressure",
        "mm[Hg]",
        (5, 250),
        PRESSURE,
        "diastolic",
        "8462-4",
    ),
    # inflammation
    _one("crp", "C-reactive protein", "mg/L", (0, 1000), MASS, "hs_crp c_reactive_protein", "1988-5 30522-7"),
    _one("procalcitonin", "Procalcitonin", "ug/L", (0, 2000), MASS, "pct", "33959-8"),
    _one("ferritin", "Ferritin", "ug/L", (0, 300000), MASS, "", "2276-4"),
    _one("il6", "Interleukin 6", "ng/L", (0, 500000), MASS, "il_6 interleukin_6", "26881-3"),
    _one("esr", "Erythrocyte sedimentation rate", "mm/h", (0, 250), SEDIMENTATION, "", "4537-7 30341-2"),
    # blood count
    _one("leukocytes", "Leukocytes", "10*9/L", (0, 1500), CELLS, "wbc leucocytes", "6690-2 26464-8 804-5"),
    _one("neutrophils", "Neutrophils", "10*9/L", (0, 1000), CELLS, "", "751-8 26499-4 753-4"),
    _one("lymphocytes", "Lymphocytes", "10*9/L", (0, 1000), CELLS, "", "731-0 26474-7 732-8"),
    _one("monocytes", "Monocytes", "10*9/L", (0, 500), CELLS, "", "742-7 26484-6"),
    _one("eosinophils", "Eosinophils", "10*9/L", (0, 500), CELLS, "", "711-2 26449-9"),
    _one("basophils", "Basophils", "10*9/L", (0, 500), CELLS, "", "704-7 26444-0"),
    _one(
        "neutrophils_fraction",
        "Neutrophils of leukocytes",
        "%",
        (0, 100),
        FRACTION,
        "neutrophils",
        "770-8 26511-6",
    ),
    _one(
        "lymphocytes_fraction",
        "Lymphocytes of leukocytes",
        "%",
        (0, 100),
        FRACTION,
        "lymphocytes",
        "736-9 26478-8",
    ),
    _one(
        "monocytes_fraction",
        "Monocytes of leukocytes",
        "%",
        (0, 100),
        FRACTION,
        "monocytes",
        "5905-5 26485-3",
    ),
    _one(
        "eosinophils_fraction",
        "Eosinophils of leukocytes",
        "%",
        (0, 100),
        FRACTION,
        "eosinophils",
        "713-8 26450-7",
    ),
    _one(
        "basophils_fraction",
        "Basophils of leukocytes",
        "%",
        (0, 100),
        FRACTION,
        "basophils",
        "706-2 30180-4",
    ),
    _one("erythrocytes", "Erythrocytes", "10*12/L", (0.2, 12), CELLS, "rbc", "789-8 26453-1"),
    _one("haemoglobin", "Haemoglobin", "g/L", (20, 300), MASS, "hemoglobin hgb hb", "718-7 59260-0", "16114"),
    _one("haematocrit", "Haematocrit", "%", (3, 90), FRACTION, "hematocrit hct", "4544-3 20570-8 71833-8"),
    _one("mcv", "Mean corpuscular volume", "fL", (30, 200), CELL_VOLUME, "", "787-2 30428-7"),
    _one("mch", "Mean corpuscular haemoglobin", "pg", (8, 70), CELL_MASS, "", "785-6 28539-5"),
    _one(
        "mchc",
        "Mean corpuscular haemoglobin concentration",
        "g/L",
        (100, 500),
        MASS,
        "",
        "786-4 28540-3",
        "16114",
    ),
    _one("rdw", "Erythrocyte distribution width", "%", (5, 60), FRACTION, "", "788-0 30385-9"),
    _one("platelets", "Platelets", "10*9/L", (0, 5000), CELLS, "plt thrombocytes", "777-3 26515-7 778-1"),
    _one("mpv", "Mean platelet volume", "fL", (2, 30), CELL_VOLUME, "", "32623-1 28542-9"),
    # coagulation
    _one("d_dimer", "D-dimer (FEU)", "mg/L", (0, 1000), MASS, "ddimer", "48065-7"),
    _one("fibrinogen", "Fibrinogen", "g/L", (0.05, 30), MASS, "", "3255-7"),
    _one("prothrombin_time", "Prothrombin time", "s", (3, 400), SECONDS, "", "5902-2"),
    _one("inr", "Prothrombin time, INR", "1", (0.3, 40), NUMBER, "", "6301-6 34714-6"),
    _one("aptt", "Activated partial thromboplastin time", "s", (5, 600), SECONDS, "", "14979-9 3173-2"),
    # heart, liver, kidney, metabolism
    _one("ldh", "Lactate dehydrogenase", "U/L", (5, 50000), ENZYME, "", "2532-0 14804-9 14805-6"),
    _one("troponin_i", "Troponin I", "ng/L", (0, 2000000), MASS, "hs_troponin_i", "10839-9 89579-7 49563-0"),
    _one("nt_probnp", "NT-proBNP", "ng/L", (0, 1000000), MASS, "", "33762-6"),
    _one("alt", "Alanine aminotransferase", "U/L", (0, 50000), ENZYME, "", "1742-6 1743-4 1744-2"),
    _one("ast", "Aspartate aminotransferase", "U/L", (0, 50000), ENZYME, "", "1920-8 30239-8"),
    _one("ggt", "Gamma-glutamyl transferase", "U/L", (0, 20000), ENZYME, "", "2324-2"),
    _one("alp", "Alkaline phosphatase", "U/L", (0, 20000), ENZYME, "", "6768-6"),
    _one("bilirubin", "Bilirubin, total", "umol/L", (0, 1500), AMOUNT, "", "1975-2 14631-6", "584.66"),
    _one("albumin", "Albumin", "g/L", (5, 80), MASS, "", "1751-7 61151-7"),
    _one("globulin", "Globulin", "g/L", (2, 150), MASS, "", "2336-6 10834-0"),
    _one("total_protein", "Protein, total", "g/L", (15, 200), MASS, "protein", "2885-2"),
    _one(
        "creatinine",
        "Creatinine",
        "umol/L",
        (5, 5000),
        AMOUNT,
        "creatinin",
        "2160-0 14682-9 38483-4",
        "113.12",
    ),
    _one(
        "egfr",
        "Estimated glomerular filtration",
        "mL/min",
        (0, 300),
        FILTRATION,
        "",
        "33914-3 62238-1 98979-8",
    ),
    _one("urea", "Urea", "mmol/L", (0.2, 150), AMOUNT, "", "22664-7 3091-6", "60.056", _NITROGEN),
    _one("uric_acid", "Uric acid", "umol/L", (5, 3000), AMOUNT, "urate", "3084-1 14933-6", "168.11"),
    _one("glucose", "Glucose", "mmol/L", (0.2, 150), AMOUNT, "", "2345-7 2339-0 14749-6 15074-8", "180.156"),
    _one("cholesterol", "Cholesterol, total", "mmol/L", (0.1, 60), AMOUNT, "", "2093-3 14647-2", "386.65"),
    _one("sodium", "Sodium", "mmol/L", (80, 220), IONS, "", "2951-2 2947-0"),
    _one("potassium", "Potassium", "mmol/L", (0.8, 15), IONS, "", "2823-3 6298-4"),
    _one("chloride", "Chloride", "mmol/L", (40, 200), IONS, "", "2075-0 2069-3"),
    _one("calcium", "Calcium, total", "mmol/L", (0.3, 8), AMOUNT, "", "17861-6 2000-8", "40.078"),
    _one("bicarbonate", "Bicarbonate", "mmol/L", (1, 80), IONS, "", "1963-8 1959-6 1960-4"),
    # blood gases
    _one("lactate", "Lactate", "mmol/L", (0.05, 60), AMOUNT, "", "2524-7 2518-9 32693-4 14118-4", "90.078"),
    _one("po2", "Oxygen partial pressure", "mm[Hg]", (5, 800), PRESSURE, "pao2", "2703-7 11556-8"),
    _one("pco2", "Carbon dioxide partial pressure", "mm[Hg]", (2, 250), PRESSURE, "paco2", "2019-8 11557-6"),
)

ANALYTES: Mapping[str, Analyte] = {analyte.name: analyte for analyte in _CATALOGUE}
"""Name → analyte, in the order in which they are shown."""
