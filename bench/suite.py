"""The modules of cases.

Each is a module of this package, ``bench_NAME``, with ``cases(*, quick=False)``, which yields `Case` or, for what
this machine cannot do, `Skip`, one at a time: the memory of one is given back before the next is made. With `quick` it
yields those that together, at a tenth of a second a contestant, take seconds.
"""

from __future__ import annotations

OPERATIONS = ("moments", "gaussian_filter", "warp", "random_field", "cross_moments", "elastic_transform")
"""In the order of the report."""
