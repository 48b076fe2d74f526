"""Values of patients from a table or a FHIR Bundle: read, converted, checked, and linked to an image."""
