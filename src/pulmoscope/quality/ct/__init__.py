"""What is checked of a CT before a model answers: its lungs, values, orientation, slices and size."""
