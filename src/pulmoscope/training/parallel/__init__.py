"""Several processes that train together: how they are started, and what they share of every batch."""
