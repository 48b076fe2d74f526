"""The imputer of system A: MisGAN."""
