"""From a bundle to one that computes at another precision, or is stored in another format; verified, or not written."""
