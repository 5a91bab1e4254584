"""The ``numpy`` backend: every operation in plain NumPy and SciPy, float64. It is the specification."""
