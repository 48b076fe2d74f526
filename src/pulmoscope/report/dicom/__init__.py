"""A diagnosis as DICOM objects: their sources, their UIDs and dates, and the objects themselves (extra ``results``)."""
