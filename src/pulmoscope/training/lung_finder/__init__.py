"""Training the lung finder."""
