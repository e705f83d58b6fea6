"""Sweeps: what a vector does over a range of coefficients, measured, and what its coefficient 1 should be.

options     which coefficients, and how many answers
asked       everything that is asked, controls included, as generations for the engine
run         one sweep from beginning to end: asked, judged, made a new version of the vector
curve       from scores to a pole's curve
calibration the rule that sets coefficient 1
table, svg  a curve to look at
"""

from proxy.steering.sweep.options import MAX_COEFFICIENTS, MAX_SWEPT_COEFFICIENT, SweepOptions, grid
from proxy.steering.sweep.run import curve_stages, measure_curve, parts_key, stages, sweep

__all__ = [
    "MAX_COEFFICIENTS",
    "MAX_SWEPT_COEFFICIENT",
    "SweepOptions",
    "curve_stages",
    "grid",
    "measure_curve",
    "parts_key",
    "stages",
    "sweep",
]
