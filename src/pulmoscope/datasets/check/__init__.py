"""What a data set holds, what leaks in it, and what could be learnt from it instead of disease."""
