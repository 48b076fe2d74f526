"""The parts of the benchmark suite, ``benchmarks/suite.py``."""
