"""The patient's values beside an image: which file they come from, and what of it is linked to a scan."""
