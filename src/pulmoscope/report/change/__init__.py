"""What has changed since an earlier scan of the same patient: as plain data, and in words and tables."""
