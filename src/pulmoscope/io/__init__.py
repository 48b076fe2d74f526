"""Files → scans: PNG, JPEG, TIFF, DICOM and zips of them; a result per file, errors and all."""
