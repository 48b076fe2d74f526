"""Which algorithm has found what an object shows: what it is called, and what kind it is (PS3.16, CID 7162)."""

from __future__ import annotations

from highdicom import AlgorithmIdentificationSequence
from pydicom.sr.codedict import codes

from pulmoscope.core.results import MANUFACTURER
from pulmoscope.core.types import Diagnosis
from pulmoscope.core.version import VERSION


def network(diagnosis: Diagnosis) -> AlgorithmIdentificationSequence:
    """The bundle whose networks have read the scan."""
    model = diagnosis.model
    return AlgorithmIdentificationSequence(
        name=model["name"],
        family=codes.DCM.ArtificialIntelligence,
        version=model["version"],
        source=MANUFACTURER,
        parameters={"sha256": model["sha256"]},
    )


def measurement(name: str) -> AlgorithmIdentificationSequence:
    """What of a CT is measured by its density and shape, without learning: it comes with the software."""
    return AlgorithmIdentificationSequence(
        name=name, family=codes.DCM.MorphologicalOperations, version=VERSION, source=MANUFACTURER
    )
