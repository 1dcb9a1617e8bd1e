"""The plots of a model card. Named series in, `Plot` out: PNG and SVG of the same figure.

Most take `Scored` series: (truth, probability), and a third array `patient` where patients have several rows.
Every estimate stands with its n and its 95 % interval, and beside the baseline that costs nothing.
"""

from model_export.plots.agreement import calibration, confusion
from model_export.plots.comparison import Bar, bar_of, bars
from model_export.plots.course import forecast_fan, histogram, learning
from model_export.plots.discrimination import froc, precision_recall, roc, selective
from model_export.plots.scored import Scored
from model_export.plots.style import Plot

__all__ = [
    "Bar",
    "Plot",
    "Scored",
    "bar_of",
    "bars",
    "calibration",
    "confusion",
    "forecast_fan",
    "froc",
    "histogram",
    "learning",
    "precision_recall",
    "roc",
    "selective",
]
