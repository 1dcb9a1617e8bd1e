"""What changed between two versions of a model: figures with their intervals, thresholds, inputs, graphs.

Figures are those of the two manifests, so both must come from the same data and way of judging for a difference to
mean something; `same_data` says whether they do.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from model_runtime.manifest import Manifest
from model_runtime.tasks.risk import Risk

INTERVAL = "_ci95"


@dataclass(frozen=True, slots=True)
class Change:
    """One figure in both. apart: True when its 95 % intervals do not overlap, None where there are none."""

    name: str
    old: float
    new: float
    apart: bool | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """same_data: both were trained on sets of equal digests. notes: what changed besides figures, in words."""

    same_data: bool
    figures: tuple[Change, ...]
    notes: tuple[str, ...]


def compare(old: Manifest, new: Manifest) -> Comparison:
    """Compare two manifests of one task. Raises nothing: what only one of them has is a note."""
    before, after = dict(_figures(old.metrics)), dict(_figures(new.metrics))
    figures = tuple(
        Change(name, before[name], after[name], _apart(name, old.metrics, new.metrics))
        for name in before
        if name in after
    )
    notes = [f"only in {old.ref.label}: {name}" for name in before if name not in after]
    notes += [f"only in {new.ref.label}: {name}" for name in after if name not in before]
    return Comparison(
        same_data={one.sha256 for one in old.training.data} == {one.sha256 for one in new.training.data},
        figures=figures,
        notes=(*_changed(old, new), *notes),
    )


def _figures(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _figures(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{key}", float(value)


def _apart(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool | None:
    ends = [_interval(metrics, name) for metrics in (old, new)]
    if ends[0] is None or ends[1] is None:
        return None
    return ends[0][1] < ends[1][0] or ends[1][1] < ends[0][0]


def _interval(metrics: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    *path, last = name.split(".")
    node: Any = metrics
    for key in path:
        node = node.get(key, {})
    found = node.get(f"{last}{INTERVAL}")
    return None if not found or None in found else (float(found[0]), float(found[1]))


def _changed(old: Manifest, new: Manifest) -> Iterator[str]:
    if old.name != new.name or old.task is not new.task:
        yield f"another model: {old.name} ({old.task}) and {new.name} ({new.task})"
    for name in sorted({*old.graphs, *new.graphs}):
        before, after = old.graphs.get(name), new.graphs.get(name)
        if before is None or after is None:
            yield f"graph {name} is only in {new.ref.label if before is None else old.ref.label}"
        elif before.sha256 == after.sha256:
            yield f"graph {name} is the same file"
        elif (before.inputs, before.outputs) != (after.inputs, after.outputs):
            yield f"graph {name} has other inputs or outputs"
    was, now = old.get(Risk), new.get(Risk)
    if was is not None and now is not None:
        yield from _changed_risk(was, now)


def _changed_risk(old: Risk, new: Risk) -> Iterator[str]:
    before, after = ({feature.name for feature in risk.features} for risk in (old, new))
    for name in sorted(before ^ after):
        yield f"input {name} {'is gone' if name in before else 'is new'}"
    thresholds = [{one.graph: one.policy for one in risk.variants} for risk in (old, new)]
    for graph in thresholds[0].keys() & thresholds[1].keys():
        was, now = thresholds[0][graph], thresholds[1][graph]
        if was != now:
            yield (
                f"{graph}: a card from {was.report_from:g} then, {now.report_from:g} now; "
                f"a warning from {was.warn_from:g} then, {now.warn_from:g} now"
            )
