"""Fitting the severity of radiographs: a light network on the features of an X-ray model."""
