"""The anomaly score of system A: AnoGAN and f-AnoGAN."""
