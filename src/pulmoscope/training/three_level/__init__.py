"""System B (Garg et al., ICASSP 2021): a network for slices, several for patients, one that puts them together."""
