"""Two scans of one patient compared: which differences are larger than what both may err by."""
