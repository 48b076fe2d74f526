"""A diagnosis as FHIR resources, for systems that take no DICOM (extra ``results``)."""
