"""A model of system A as a judge of a table's studies: read, searched and repaired as in a diagnosis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pulmoscope.core.errors import UnsuitableError
from pulmoscope.core.types import Quality, Units
from pulmoscope.datasets.ct_studies import lungs_of, read_labelled
from pulmoscope.datasets.table import Sample, SampleTable
from pulmoscope.pipeline.ct_missing import missing_flags, searched
from pulmoscope.pipeline.decision import ct_quality
from pulmoscope.pipeline.predict_studies import Seen
from pulmoscope.pipeline.severity import measured_for
from pulmoscope.quality.repair import repaired
from pulmoscope.quality.standard import standard_study
from pulmoscope.runtime.severity import DENSITIES, SeverityModel
from pulmoscope.runtime.severity_bundle import NO_IMPUTER
from pulmoscope.runtime.three_level import StudyOutputs
from pulmoscope.runtime.votes import VOTES


@dataclass(frozen=True)
class SeverityJudge:
    """A model of system A as a judge of a table's studies (see ``pipeline.predict_studies.StudyJudge``)."""

    model: SeverityModel

    @property
    def patient(self) -> tuple[str, ...]:
        """The votes."""
        return VOTES

    @property
    def together(self) -> tuple[str, ...]:
        """The mean of the slices' features is what is known of a patient."""
        return ("mean",)

    @property
    def levels_told(self) -> str:
        """What its votes are."""
        return (
            "Every slice that shows enough lung is judged by itself, and is right where it says its patient's grade, "
            "though most slices of mild disease are clean. The patient follows from the slices by four votes; ensemble "
            f"is the one that this model goes by ({self.model.bundle.vote}), and what the rest of this page is about."
        )

    def read(self, table: SampleTable, sample: Sample) -> Seen:
        """The judged slices of a study, repaired; each has its patient's label."""
        path = table.path(sample)
        scan = read_labelled(path, "")
        if scan.units is not Units.HU or scan.spacing_mm is None:
            rule = f"the model {self.model.bundle.name} reads CT in HU with known spacing"
            raise UnsuitableError(path, rule, scan.units.value)
        bundle, own = self.model.bundle, searched(scan)
        lungs = lungs_of(own.scan)
        assert lungs is not None  # as the scan is in HU
        study = bundle.preprocess.apply(own.scan.pixels, scan.spacing_mm, lungs, own.mask)
        if bundle.imputer == NO_IMPUTER:
            study = standard_study(scan, bundle.preprocess, search=False)
        if not study.judged.any():
            raise UnsuitableError(path, "at least one slice of a chest CT shows lungs", "none")
        places: npt.NDArray[np.intp] = np.flatnonzero(study.judged)
        checked = ct_quality(own.scan, lungs, bundle.training_data.get("sources", ()))
        quality = Quality((*checked.all_flags, *missing_flags(own, lungs)))
        return Seen(
            repaired(study, self.model)[places],
            tuple(int(study.first[place]) for place in places),
            (sample.label,) * len(places),
            quality,
            measured_for(bundle.classes, own.scan, lungs, own.mask),
        )

    def predict(self, images: Any) -> StudyOutputs:
        """All votes; what the ensemble is for a model of three levels is here the vote that the bundle names."""
        said = self.model.predict(images)
        chosen = said.patient[self.model.bundle.vote]
        logits = np.log(np.maximum(chosen, np.float32(1e-9)))
        features = said.vectors[:, :-DENSITIES]
        return StudyOutputs(
            said.slices, said.patient, chosen, logits, {"mean": features.mean(axis=0)}, features
        )
