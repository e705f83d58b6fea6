"""Sweeps: what a vector does over a range of coefficients, measured, and what its coefficient 1 should be.

options     which coefficients, and how many answers
asked       everything that is asked, controls included, as generations for the engine
others      the wrong trait: other traits' directions, as a control
run         one sweep from beginning to end: asked, judged, made a new version of the vector
judging     answers judged strength by strength, while the next are asked for
unfinished  whether an answer came to an end
curve       from scores to a pole's curve
calibration the rule that sets coefficient 1
table, svg  a curve to look at
"""

from proxy.steering.sweep.curve import PolePoint
from proxy.steering.sweep.options import MAX_COEFFICIENTS, MAX_SWEPT_COEFFICIENT, SweepOptions, grid
from proxy.steering.sweep.others import other_traits
from proxy.steering.sweep.run import curve_stages, measure_curve, parts_key, stages, sweep

__all__ = [
    "MAX_COEFFICIENTS",
    "MAX_SWEPT_COEFFICIENT",
    "PolePoint",
    "SweepOptions",
    "curve_stages",
    "grid",
    "measure_curve",
    "other_traits",
    "parts_key",
    "stages",
    "sweep",
]
