"""Published data sets: one file a layout, and which of them a folder has."""
