"""The published layouts → one table of samples; leak checks; phantoms."""

from pulmoscope.datasets.layouts.detect import load
from pulmoscope.datasets.table import Sample, SampleTable

__all__ = ["Sample", "SampleTable", "load"]
