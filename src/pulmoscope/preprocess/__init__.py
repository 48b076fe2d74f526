"""Arrays in, arrays out: region, contrast, resampling and augmentation."""
