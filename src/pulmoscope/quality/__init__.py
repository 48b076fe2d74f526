"""Quality rules and out-of-distribution scores."""
