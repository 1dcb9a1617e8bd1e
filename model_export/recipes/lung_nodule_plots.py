"""The plots of the lung nodule card. The only picture shown is a made-up chest: no patient's leaves the data."""
# ruff: noqa: ANN401 - matplotlib is untyped

from collections.abc import Sequence
from typing import Any

import numpy as np

from model_export import plots
from model_export.plots import Plot, style
from model_export.plots.style import house_style
from model_export.recipes.lung_nodule_data import SPEC, Sets
from model_export.recipes.lung_nodule_measure import Look, asked, froc_curve

Losses = Sequence[Sequence[float]]


def plots_of(
    projections: Sequence[Look], labelled: Sequence[Look], sets: Sets, losses: Losses, seed: int, step: int = 250
) -> list[Plot]:
    """Return FROC by size, ROC on real radiographs and learning curves; what was not measured is left out.

    losses: a series for each fold, one value every `step` steps.
    """
    made = []
    if projections:
        groups = {
            "visible, 15 mm or more": asked(2, 15.0),
            "visible, 10 mm or more": asked(2, 10.0),
            "visible, all sizes": asked(2, 0.0),
            "all, 15 mm or more": asked(0, 15.0),
        }
        curves = {
            name: froc_curve(projections, wanted, seed)
            for name, wanted in groups.items()
            if any(wanted(nodule) for one in projections for nodule in one.item.nodules)
        }
        made.append(
            plots.froc(curves, title="Nodules found in simulated radiographs", note="bands: 95 %, patients drawn")
        )
    if labelled:
        made.append(_roc(labelled, sets, seed))
    if losses:
        longest = max(map(len, losses))
        table = np.full((len(losses), longest), np.nan)
        for row, loss in zip(table, losses, strict=True):
            row[: len(loss)] = loss
        note = "thin: folds and the shipped model, which learns longest"
        made.append(plots.learning({"loss": {"training": table}}, step=f"{step} steps", note=note))
    return made


def _roc(labelled: Sequence[Look], sets: Sets, seed: int) -> Plot:
    reports = [sets.reports[one.item.name] for one in labelled]
    truth = np.array([report.nodule_or_mass for report in reports], np.bool_)
    patient = np.array([one.item.patient for one in labelled], np.str_)
    series = {"this model": (truth, np.array([one.score for one in labelled], np.float64), patient)}
    chexnet = np.array([report.chexnet for report in reports], np.float64)
    known = np.isfinite(chexnet)
    if known.any():
        series["CheXNet (7 M par., 112,000 images)"] = (truth[known], chexnet[known], patient[known])
    return plots.roc(series, title="Nodule or mass in the report's text, real radiographs", seed=seed)


@house_style()
def overlay(look: Look, limits: Any) -> Plot:
    """Return a made-up chest with the outline that the server would draw."""
    figure = style.sheet(3.9)
    grey = look.item.pixels[::2, ::2]
    labels = look.findings(limits)[1].labels[::2, ::2] > 0
    for place, title in enumerate(("made-up chest with one nodule", "what the server outlines")):
        axes = style.panel(figure, 0.15 + 3.35 * place, 0.1, 3.0, 3.0)
        axes.imshow(grey, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(title, loc="left", size=9)
        axes.set_axis_off()
        if place:
            axes.contour(labels, levels=[0.5], colors=[style.colour_of(1)], linewidths=1.5)
    alt = "A made-up chest radiograph with one added nodule, and the same with the outline of the model."
    return style.finish(
        figure,
        name="phantom",
        title="A phantom, no patient",
        note=f"{SPEC.rows} pixels, halved",
        alt=alt,
        colours=style.PICTURE_COLOURS,
    )
