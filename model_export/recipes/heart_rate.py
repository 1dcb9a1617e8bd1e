"""heart-rate-trend: where a heart rate goes in the next hour, from the wearers of fitbit_hr.

Chosen by cross-validation in time (the last part of each wearer's days, as in the held-out data) and by wearer;
the shipped file has then learnt from everything.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinical.trend import HIGHEST, LOWEST, Windows, summaries
from model_export.datasets import applewatch_fitbit_lab as lab
from model_export.datasets import fitbit_hr
from model_export.datasets.folders import folder_digest, sets_at
from model_export.onnx.gate import NETWORKS, Candidate, GraphCandidate, release
from model_export.recipe import Progress, Recipe, TrainOptions
from model_export.recipes import heart_rate_ridge as ridge
from model_export.recipes.heart_rate_activity import activity_figures
from model_export.recipes.heart_rate_card import Study, card, document, plots_of
from model_export.recipes.heart_rate_measure import Judged, figures, limited
from model_export.recipes.heart_rate_network import INPUTS, Network, compiled, graph, together
from model_export.recipes.heart_rate_training import (
    FULL,
    QUICK,
    UNCHOSEN,
    Chosen,
    Scales,
    choose,
    cross_validate,
    fit_members,
    fit_ridge,
    forecasts,
    judge_examples,
    out_of_fold,
)
from model_export.recipes.heart_rate_windows import Examples, Series, to_judge
from model_runtime.engine import Engine, LocalEngine
from model_runtime.histogram import Histogram, histogram_of
from model_runtime.library import Library
from model_runtime.manifest import Manifest
from model_runtime.tasks.forecast import CHANGE, TREND, Forecast

SEED = 20261122
LAYOUT = {fitbit_hr.NAME: fitbit_hr.LAYOUT, lab.NAME: lab.LAYOUT}
TOLD = "known", "unseen"
QUICK_MIN = 3 * 24 * 60
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


def train(data: Path | None, out: Path, *, seed: int, progress: Progress, options: TrainOptions) -> Path:
    """Cross-validate, choose, fit on everything and export. See model_export.recipe.Train."""
    folder = fitbit_hr.folder_of(data)
    recordings = fitbit_hr.load(folder)
    sets = sets_at(folder, LAYOUT)
    study = Study.of_fitbit(recordings, folder_digest(folder))
    sessions = lab.load(sets[lab.NAME]) if lab.NAME in sets else ()
    return make(study, recordings.series, out, seed=seed, progress=progress, options=options, sessions=sessions)


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
    """Train one study's model on recordings and write its folder. Returns it."""
    started = time.monotonic()
    plan = QUICK if options.quick else FULL
    if options.quick:
        longest = sorted(series, key=lambda name: -np.count_nonzero(~np.isnan(series[name].heart_rate)))
        series = {name: fitbit_hr.part(series[name], 0, QUICK_MIN) for name in sorted(longest[:2])}
        study = study.only_tried()

    def export(
        members: Sequence[Network], scales: Scales, line: ridge.Coefficients, rows: Examples, to: Path
    ) -> Path:
        text = document(study, Chosen(UNCHOSEN, scales, len(rows)), {}, tuple(series), seed, 0.0)
        return release(_candidate(text, _Made(members, scales, line, rows), {}), to)[0]

    results = cross_validate(series, plan, seed, export, progress)
    chosen, judged = choose(results), out_of_fold(results)
    progress("fitting on everything", 0, 1)
    members, _ = fit_members(series, plan, seed)
    made = _Made(members, chosen.scales, fit_ridge(series), _required(to_judge(series)))
    found: dict[str, Any] = {part: figures(judged[part]) if part in judged else None for part in TOLD}
    found["judged"] = "cross-validation, out of fold"
    found["activity"] = None
    plots = plots_of(found, judged, [one.losses for one in results if one.fold.known])
    if sessions:
        text = document(study, chosen, {}, tuple(series), seed, 0.0)
        with tempfile.TemporaryDirectory(prefix="consilium-lab-") as scratch:
            folder, _ = release(_candidate(text, made, {}), Path(scratch))
            found["activity"] = _activity(folder, sessions)
    minutes = round((time.monotonic() - started) / 60, 1)
    reference = _reference(made.examples, judged)
    text = document(study, chosen, {"cross_validation": found}, tuple(series), seed, minutes, *reference)
    extra = {f"plots/{plot.name}.{kind}": getattr(plot, kind) for plot in plots for kind in ("png", "svg")}
    progress("export gate", 0, 1)
    folder, parity = release(_candidate(text, made, extra), out)
    if options.keep_trainer:
        _keep(members, folder)
    (said,) = parity.values()
    progress(f"parity {said.difference:.1e} over {said.rows} rows", 1, 1)
    return folder


def _reference(examples: Examples, judged: Mapping[str, Judged]) -> tuple[dict[str, Histogram], Histogram | None]:
    """Return what drift is measured against: inputs of everything learnt from, and forecasts out of fold."""
    found = summaries(examples.windows)
    inputs = {name: histogram_of(values) for name, values in found.items() if not np.isnan(values).all()}
    said = [one.change[:, -1, 1] for one in judged.values()]
    return inputs, histogram_of(np.concatenate(said)) if said else None


def _candidate(text: Mapping[str, Any], made: _Made, extra: Mapping[str, bytes]) -> Candidate:
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
    return Candidate(document=text, graphs={"model": model}, card=card, arrays={"ridge": made.line}, extra=extra)


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


def evaluate(folder: Path, data: Path | None, *, progress: Progress, plots: Path | None) -> Mapping[str, Any]:
    """Measure the exported file on recordings that went through the server's feature code.

    Wearers that the manifest names are "known", all others "unseen". See model_export.recipe.Evaluate.
    """
    manifest = Library(folder.parent).manifest(folder.name)
    sets = sets_at(fitbit_hr.folder_of(data), LAYOUT)
    result: dict[str, Any] = {"model": manifest.name, "version": manifest.version, "sha256": manifest.digest}
    result["sets"] = {}
    for part in (*TOLD, "activity"):
        result[part] = None
    if fitbit_hr.NAME in sets:
        progress(f"measuring {fitbit_hr.NAME}", 0, len(sets))
        result |= _recorded(manifest, folder, sets[fitbit_hr.NAME], result["sets"], plots)
    if lab.NAME in sets and result["activity"] is None:
        progress(f"measuring {lab.NAME}", 1, len(sets))
        sessions = lab.load(sets[lab.NAME])
        result["activity"] = _activity(folder, sessions)
        result["sets"][lab.NAME] = {
            "sha256": folder_digest(sets[lab.NAME]),
            "subjects": len({one.person for one in sessions}),
            "judged": "all sessions; nothing was learnt from this set",
        }
    return result


def _recorded(
    manifest: Manifest, folder: Path, data: Path, sets: dict[str, Any], plots: Path | None
) -> dict[str, Any]:
    """Return the figures of recordings, and note the set."""
    digest = folder_digest(data)
    recordings = fitbit_hr.load(data)
    sets[fitbit_hr.NAME] = {"sha256": digest, "subjects": len(recordings.series), "rows": recordings.rows}
    if manifest.training.was_on(digest):
        found = dict(manifest.metrics["cross_validation"])
        sets[fitbit_hr.NAME]["judged"] = found["judged"]
        if plots is not None:
            _copy_plots(folder, plots)
        return found
    judged = judge(folder, recordings.series)
    told: dict[str, Any] = {part: figures(judged[part]) if part in judged else None for part in TOLD}
    told["judged"] = "all wearers; known ones at another time than was learnt from"
    sets[fitbit_hr.NAME]["judged"] = told["judged"]
    if plots is not None:
        plots.mkdir(parents=True, exist_ok=True)
        for plot in plots_of(told, judged, []):
            for kind in ("png", "svg"):
                (plots / f"{plot.name}.{kind}").write_bytes(getattr(plot, kind))
    return told


def judge(folder: Path, series: Series) -> dict[str, Judged]:
    """Return a model's forecasts for recordings as "known" and "unseen"; a part without windows is absent."""
    library = Library(folder.parent)
    manifest = library.manifest(folder.name)
    part = manifest.require(Forecast)
    examples = judge_examples(series)
    if examples is None:
        return {}
    engine: Engine = LocalEngine(library)
    line = library.arrays(manifest.name, "ridge")
    judged = limited(forecasts(engine, manifest.name, line, examples), part.policy)
    known = np.isin(judged.wearer, list(part.subjects))
    return {name: judged.rows(rows) for name, rows in zip(TOLD, (known, ~known), strict=True) if rows.any()}


def _activity(folder: Path, sessions: Sequence[lab.Session]) -> dict[str, Any] | None:
    return activity_figures(LocalEngine(Library(folder.parent)), folder.name, sessions)


def _required(examples: Examples | None) -> Examples:
    if examples is None:
        raise ValueError("the recordings hold no window to learn from")
    return examples


def _keep(members: Sequence[Network], folder: Path) -> None:
    (folder / "trainer").mkdir(exist_ok=True)
    for number, one in enumerate(members, start=1):
        one.save(folder / "trainer" / f"member_{number}.keras")


def _copy_plots(folder: Path, plots: Path) -> None:
    plots.mkdir(parents=True, exist_ok=True)
    for path in sorted((folder / "plots").glob("*.*")):
        (plots / path.name).write_bytes(path.read_bytes())


RECIPE = Recipe(
    name="heart-rate-trend",
    title="GRU on two hours of heart rate: P10, P50, P90 and trend at 15, 30 and 60 minutes",
    data_sets=(fitbit_hr.NAME, lab.NAME),
    seed=SEED,
    train=train,
    evaluate=evaluate,
)
