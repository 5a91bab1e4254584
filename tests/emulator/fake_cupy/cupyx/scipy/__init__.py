"""Stands in for CuPy's companion, for the rehearsal of the benchmarks."""
