"""The same commands on many machines, by Ray, which the extra ``scale`` brings."""
