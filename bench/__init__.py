"""What is measured: accuracy, coverage, memory, speed. Run from the repository root, as ``python -m bench.NAME``."""
