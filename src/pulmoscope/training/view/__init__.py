"""Training the view network."""
