"""System A: CT severity, with data quality control that repairs and refuses (arXiv 2507.04252)."""
