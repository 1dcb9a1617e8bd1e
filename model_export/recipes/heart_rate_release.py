"""From recordings to a model folder of the kind heart-rate-trend. Imports the training stack."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinical.trend import DAY_MIN, HIGHEST, LOWEST, Windows, summaries
from model_export.datasets import applewatch_fitbit_lab as lab
from model_export.datasets import fitbit_hr
from model_export.onnx.gate import NETWORKS, Candidate, GraphCandidate, release
from model_export.recipe import Progress, TrainOptions
from model_export.recipes import heart_rate_ridge as ridge
from model_export.recipes.heart_rate_activity import activity_figures
from model_export.recipes.heart_rate_card import card
from model_export.recipes.heart_rate_document import Study, document
from model_export.recipes.heart_rate_graph import graph
from model_export.recipes.heart_rate_judging import UNCHOSEN, Chosen, Scales, choose, out_of_fold
from model_export.recipes.heart_rate_measure import PARTS, Judged, figures
from model_export.recipes.heart_rate_network import Network, compiled, together
from model_export.recipes.heart_rate_plots import plots_of
from model_export.recipes.heart_rate_settings import INPUTS
from model_export.recipes.heart_rate_training import FULL, QUICK, cross_validate, fit_members, fit_ridge
from model_export.recipes.heart_rate_windows import Examples, Series, to_judge
from model_runtime.histogram import histogram_of
from model_runtime.library import Library
from model_runtime.tasks.forecast import CHANGE, TREND

SEED = 20261122  # of the rows that are compared
QUICK_MIN = 3 * DAY_MIN
GATE_ROWS = 384
TENSORS: Mapping[str, Mapping[str, Any]] = {
    "recent": {
        "axes": ["window", "five minutes, oldest first", "heart rate, its spread, steps"],
        "unit": "/min",
        "range": [0.0, 400.0],
    },
    "minutes": {"axes": ["window", "minute, oldest first"], "unit": "/min", "range": [LOWEST, HIGHEST]},
    "hours": {"axes": ["window", "hour, oldest first"], "unit": "/min", "range": [LOWEST, HIGHEST]},
    "person": {
        "axes": ["window", "week: five quantiles, hours known; same time on past days: four; clock: sine, cosine"],
        "unit": "/min, h and 1",
        "range": [-1.0, HIGHEST],
    },
    CHANGE: {"axes": ["window", "horizon", "quantile"], "unit": "1", "range": [None, None]},
    TREND: {"axes": ["window", "horizon", "falling, steady, rising"], "unit": "", "range": [0.0, 1.0]},
}


@dataclass(frozen=True, slots=True)
class _Made:
    """Members with what belongs to them, on their way through the gate."""

    members: Sequence[Network]
    scales: Scales
    line: ridge.Coefficients
    examples: Examples


@dataclass(frozen=True, slots=True)
class _Text:
    """What the manifests of one training have in common."""

    study: Study
    subjects: tuple[str, ...]
    seed: int

    def document(self, chosen: Chosen, metrics: Mapping[str, Any], minutes: float = 0.0) -> dict[str, Any]:
        return document(self.study, chosen, metrics, self.subjects, self.seed, minutes)


def make(
    study: Study,
    series: Series,
    out: Path,
    *,
    seed: int,
    progress: Progress,
    options: TrainOptions,
    sessions: Sequence[lab.Session] = (),
) -> Path:
    """Cross-validate on the recordings, choose, fit on all of them, and write the model's folder. Returns it.

    sessions: of the laboratory, to judge on; nothing is learnt from them.
    """
    started = time.monotonic()
    plan = QUICK if options.quick else FULL
    if options.quick:
        series, study = _little(series), study.only_tried()
    text = _Text(study, tuple(series), seed)

    def export(
        members: Sequence[Network], scales: Scales, line: ridge.Coefficients, rows: Examples, to: Path
    ) -> Path:
        made = _Made(members, scales, line, rows)
        return release(_candidate(text.document(Chosen(UNCHOSEN, scales, len(rows)), {}), made), to)[0]

    results = cross_validate(series, plan, seed, export, progress)
    chosen, judged = choose(results), out_of_fold(results)
    progress("fitting on everything", 0, 1)
    made = _Made(fit_members(series, plan, seed)[0], chosen.scales, fit_ridge(series), _required(to_judge(series)))
    found: dict[str, Any] = {part: figures(judged[part]) if part in judged else None for part in PARTS}
    found["judged"] = "cross-validation, out of fold"
    found["activity"] = _activity(text.document(chosen, {}), made, sessions)
    plots = plots_of(found, judged, [one.losses for one in results if one.fold.known])
    minutes = round((time.monotonic() - started) / 60, 1)
    whole = text.document(chosen, {"cross_validation": found}, minutes) | _reference(made.examples, judged)
    extra = {f"plots/{plot.name}.{kind}": getattr(plot, kind) for plot in plots for kind in ("png", "svg")}
    progress("export gate", 0, 1)
    folder, parity = release(_candidate(whole, made, extra), out)
    if options.keep_trainer:
        _keep(made, folder)
    progress(f"parity {parity['model'].difference:.1e} over {parity['model'].rows} rows", 1, 1)
    return folder


def _little(series: Series) -> Series:
    """Return three days of the two longest recordings."""
    longest = sorted(series, key=lambda name: -np.count_nonzero(~np.isnan(series[name].heart_rate)))
    return {name: fitbit_hr.part(series[name], 0, QUICK_MIN) for name in sorted(longest[:2])}


def _activity(text: Mapping[str, Any], made: _Made, sessions: Sequence[lab.Session]) -> Mapping[str, Any] | None:
    """Return the figures of the laboratory, by the file that will be shipped."""
    if not sessions:
        return None
    with tempfile.TemporaryDirectory(prefix="consilium-lab-") as scratch:
        folder, _ = release(_candidate(text, made), Path(scratch))
        return activity_figures(Library(folder.parent).verify(folder.name), sessions)


def _reference(examples: Examples, judged: Mapping[str, Judged]) -> dict[str, Any]:
    """Return what drift is measured against: inputs of everything learnt from, and forecasts out of fold."""
    inputs = {
        name: histogram_of(values).document()
        for name, values in summaries(examples.windows).items()
        if not np.isnan(values).all()
    }
    said = [one.change[:, -1, 1] for one in judged.values()]
    score = histogram_of(np.concatenate(said)).document() if said else None
    return {"reference": {"features": inputs, "score": score}}


def _candidate(text: Mapping[str, Any], made: _Made, extra: Mapping[str, bytes] | None = None) -> Candidate:
    network = compiled(together(made.members, made.scales))

    def reference(rows: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        said = network({name: rows[name] for name in INPUTS})
        return {name: np.asarray(said[name]) for name in (CHANGE, TREND)}

    model = GraphCandidate(
        model=graph(made.members, made.scales),
        reference=reference,
        rows=gate_rows(made.examples.windows),
        limits=NETWORKS,
        output=TREND,
        thresholds=(text["forecast"]["policy"]["direction_from"],),
        tensors=TENSORS,
        decide=lambda trend: np.abs(trend[:, :, 2] - trend[:, :, 0]),
    )
    return Candidate(
        document=text, graphs={"model": model}, card=card, arrays={"ridge": made.line}, extra=extra or {}
    )


def gate_rows(known: Windows) -> dict[str, NDArray[np.float32]]:
    """Return rows to compare: real ones first, then at and beyond the ends, with everything missing, and random.

    The newest bin is always known: without it nobody asks the model.
    """
    rng = np.random.default_rng(SEED)
    real = known.rows(rng.permutation(len(known))[:GATE_ROWS]).inputs()
    found = {}
    for name, shape in INPUTS.items():
        ends = [np.full(shape, value) for value in (LOWEST, HIGHEST, LOWEST - 10, HIGHEST + 50, np.nan)]
        random = rng.uniform(LOWEST, HIGHEST, (GATE_ROWS, *shape))
        random[rng.random(random.shape) < 0.3] = np.nan
        found[name] = np.concatenate([real[name], np.stack(ends), random]).astype(np.float32)
    newest = found["recent"][:, -1, 0]
    newest[np.isnan(newest)] = 70.0
    return found


def _required(examples: Examples | None) -> Examples:
    if examples is None:
        raise ValueError("the recordings hold no window to learn from")
    return examples


def _keep(made: _Made, folder: Path) -> None:
    """Keep the whole model as the gate's reference was, in the trainer's own format."""
    (folder / "trainer").mkdir(exist_ok=True)
    together(made.members, made.scales).save(folder / "trainer" / "model.keras")
