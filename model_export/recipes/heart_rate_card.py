"""Manifest, card and plots of heart-rate-trend; every figure of the card is taken from the manifest document."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinical.codes import HEART_RATE, STEPS_24_HOURS, STEPS_UNSPECIFIED_TIME
from clinical.trend import DAY_MIN, HIGHEST, HORIZONS_MIN, LOWEST, PAST_DAYS
from model_export import plots
from model_export.card import card_text, image, table, with_interval
from model_export.datasets import fitbit_hr
from model_export.metrics import confusion_counts
from model_export.plots import Plot, bar_of
from model_export.recipes.heart_rate_measure import BAND, HIGH, LOW, MIDDLE, RISING, Judged
from model_export.recipes.heart_rate_network import QUANTILES, Settings
from model_export.recipes.heart_rate_training import ALPHA, ANSWERED, SHOWN, Chosen
from model_export.transparency import answers
from model_runtime.histogram import Histogram
from model_runtime.tasks.coding import coding_document

Document = Mapping[str, Any]
Figures = Mapping[str, Any]
LIBRARIES = ("keras", "tensorflow-cpu", "numpy", "onnx")
PARTS = {"known": "known wearers, later time", "unseen": "unseen wearers"}
CLASSES = ("falling", "steady", "rising")
RULE = (
    f"direction_from: the lead of one side at which {ANSWERED:.0%} of true moves beyond 5 a minute within the "
    f"hour get a direction, out of fold; widest: the width that {SHOWN:.0%} of out-of-fold intervals do not "
    "exceed; usual range: 2 % and 98 % quantiles of the past week's minutes from twelve hours of readings on; "
    "guard: the limits at which NEWS2 (Royal College of Physicians, 2017) scores 3"
)


@dataclass(frozen=True, slots=True)
class Study:
    """What a model was learnt from. data: entries of training.data; notice stands first on the card."""

    name: str
    version: str
    title: str
    notice: str | None
    population: str
    source: str
    data: tuple[Mapping[str, Any], ...]

    @classmethod
    def of_fitbit(cls, recordings: fitbit_hr.Recordings, sha256: str) -> "Study":
        """Return the study of the shipped model."""
        entry = {
            "name": fitbit_hr.NAME,
            "citation": fitbit_hr.CITATION,
            "licence": fitbit_hr.LICENCE,
            "subjects": len(recordings.series),
            "rows": recordings.rows,
            "sha256": sha256,
        }
        return cls(
            name="heart-rate-trend",
            version="1.0.0",
            title="Heart rate in the next hour",
            notice="Research demonstration. Eight volunteers with one make of wristband are not a population.",
            population="Adult volunteers with a wrist-worn sensor in daily life, not in hospital; age, sex "
            "and health are not recorded.",
            source="wearers",
            data=(entry,),
        )

    def only_tried(self) -> "Study":
        """Return the study of a run that only shows that the recipe works."""
        return replace(self, notice="Made to try the recipe in seconds: its forecasts mean nothing.")


def document(
    study: Study,
    chosen: Chosen,
    metrics: Mapping[str, Any],
    subjects: tuple[str, ...],
    seed: int,
    minutes: float,
    reference: Mapping[str, Histogram] | None = None,
    score: Histogram | None = None,
) -> dict[str, Any]:
    """Return manifest.json without what the gate fills in."""
    return {
        "schema": 2,
        "name": study.name,
        "version": study.version,
        "title": study.title,
        "task": "forecast",
        "notice": study.notice,
        "intended_use": "From the heart rate of the last hours (and steps, when recorded): what it will probably "
        "be in 15, 30 and 60 minutes, as an interval, and whether it rises, stays or falls, to show beside the "
        "present value.",
        "population": study.population,
        "not_for": "Diagnosis, arrhythmia, alarms, or withholding an examination; children; people with a "
        "pacemaker or on drugs that hold the heart rate; intensive care and anaesthesia.",
        "forecast": forecast_document(chosen, subjects),
        "training": {
            "data": [dict(one) for one in study.data],
            "seed": seed,
            "recipe": RECIPE_TEXT,
            "minutes": minutes,
            "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
        },
        "metrics": dict(metrics),
        "reference": {
            "features": {name: one.document() for name, one in (reference or {}).items()},
            "score": None if score is None else score.document(),
        },
        "transparency": answers(**_answers(study)),
    }


def forecast_document(chosen: Chosen, subjects: tuple[str, ...]) -> dict[str, Any]:
    """Return the key "forecast" (model_runtime.tasks.forecast)."""
    policy = chosen.policy
    week = PAST_DAYS * DAY_MIN
    return {
        "quantity": coding_document(HEART_RATE),
        "unit": "/min",
        "horizons_min": list(HORIZONS_MIN),
        "quantiles": list(QUANTILES),
        "band": BAND,
        "inputs": [
            {
                "name": "heart_rate",
                "label": "Heart rate",
                "unit": "/min",
                "required": True,
                "minimum": LOWEST,
                "maximum": HIGHEST,
                "codes": [coding_document(HEART_RATE)],
                "look_back_min": week,
                "imputation": "none: a minute without a reading is a value of its own (NaN) with a mask in the "
                "graph; a forecast needs a reading in the newest five minutes and in half of the last two hours",
            },
            {
                "name": "steps",
                "label": "Steps",
                "unit": "/min",
                "required": False,
                "minimum": 0.0,
                "maximum": 400.0,
                "codes": [coding_document(STEPS_UNSPECIFIED_TIME), coding_document(STEPS_24_HOURS)],
                "look_back_min": 120,
                "imputation": "none: NaN with a mask in the graph",
            },
        ],
        "policy": {
            "direction_from": round(policy.direction_from, 4),
            "widest": [round(width, 2) for width in policy.widest],
            "usual_low": policy.usual_shares[0],
            "usual_high": policy.usual_shares[1],
            "usual_from_hours": policy.usual_from_hours,
            "guard_low": policy.guard[0],
            "guard_high": policy.guard[1],
            "rule": RULE,
        },
        "intervals": {
            "alpha": ALPHA,
            "rows": chosen.rows,
            "scales": [[round(float(value), 4) for value in pair] for pair in chosen.scales],
        },
        "subjects": list(subjects),
    }


_SETTINGS = Settings()
RECIPE_TEXT = (
    f"Two members, each a GRU of {_SETTINGS.units} units over eight quarters of an hour of three bins (heart "
    "rate, spread, steps, masks) "
    "beside the newest 15 minutes, 24 hourly means, quantiles of the week, the same time on past days and the "
    f"clock; two dense layers of {_SETTINGS.dense}, dropout {_SETTINGS.dropout:g}, L2 {_SETTINGS.l2:g}. Target: "
    "the change from the newest five-minute mean; pinball losses at 0.1, 0.5 and 0.9 and cross-entropy of the "
    f"trend; AdamW with a cosine rate from {_SETTINGS.rate:g}, batches of {_SETTINGS.batch}, {_SETTINGS.epochs} "
    "epochs over six varied copies of the recordings (history cut short, level and range moved, readings thinned "
    "out, steps or clock taken away). Outer quantiles are a softplus away from the middle one (they cannot cross) "
    "and scaled by split conformal ratios from out-of-fold forecasts. Tried in development on the last block of "
    "time, one member, skill at 30 and 60 minutes: GRU 12 epochs 0.171 / 0.204, 24 epochs 0.176 / 0.215, 24 units "
    "0.168 / 0.202, 48 units (12 epochs) 0.163 / 0.188, four hours instead of two 0.176 / 0.215, a TCN of the "
    "same size (12 epochs) 0.171 / 0.204, boosted trees on the same history 0.168 / 0.210."
)


def plots_of(found: Figures, judged: Mapping[str, Judged], losses: Sequence[NDArray[np.float64]]) -> list[Plot]:
    """Return the plots of a card or an evaluation. losses: (epochs, 2) of each fold, none outside training."""
    made = [_skill(found), _coverage(found)]
    if losses:
        made.append(_learning(losses))
    for part, one in judged.items():
        suffix = "" if part == "known" else f"_{part}"
        made += [_confusion(one, suffix, PARTS[part]), _calibration(one, suffix, PARTS[part])]
    fan = _fan(judged)
    return made if fan is None else [*made, fan]


def _skill(found: Figures) -> Plot:
    rows = {
        f"{minutes} min, {part}": {
            "GRU": bar_of(found[part], f"skill_mae_{minutes}"),
            "ridge": bar_of(found[part], f"ridge_skill_mae_{minutes}"),
        }
        for part in PARTS
        if found[part]
        for minutes in HORIZONS_MIN
    }
    return plots.bars(
        rows,
        axis="share of persistence's mean absolute error saved",
        name="skill",
        title="Skill over persistence",
        note="lines: 95 % intervals, days of wearers drawn with replacement",
        baselines={"persistence": 0.0},
    )


def _coverage(found: Figures) -> Plot:
    rows = {
        f"{minutes} min, {part}": {"P10 to P90": bar_of(found[part], f"coverage_p10_p90_{minutes}")}
        for part in PARTS
        if found[part]
        for minutes in HORIZONS_MIN
    }
    return plots.bars(
        rows,
        axis="share of what came that lies between P10 and P90",
        name="coverage",
        title="Coverage of the intervals",
        note="lines: 95 % intervals, days of wearers drawn with replacement",
        baselines={"aim": 1 - ALPHA},
    )


def _learning(losses: Sequence[NDArray[np.float64]]) -> Plot:
    stacked = np.stack(losses)
    return plots.learning(
        {"loss (pinball + trend)": {"learning": stacked[:, :, 0], "judged": stacked[:, :, 1]}},
        name="learning",
        title="Learning curves",
        note="thin lines: folds in time; learning is on varied copies, with dropout, so it lies apart",
    )


def _confusion(judged: Judged, suffix: str, whose: str) -> Plot:
    move = judged.move()[:, -1]
    known = ~np.isnan(move)
    truth = np.where(move > BAND, 2, np.where(move < -BAND, 0, 1))[known]
    counts = confusion_counts(truth, judged.trend[known, -1].argmax(axis=1), len(CLASSES))
    return plots.confusion(
        counts,
        CLASSES,
        name=f"confusion{suffix}",
        title=f"Trend in an hour: {whose}",
        note="rows: what came (more than 5 a minute is a move), columns: the likeliest class",
    )


def _calibration(judged: Judged, suffix: str, whose: str) -> Plot:
    move = judged.move()[:, -1]
    known = ~np.isnan(move)
    days = np.char.add(judged.wearer, judged.day)[known]
    rising = move[known] > BAND, judged.trend[known, -1, RISING], days
    falling = move[known] < -BAND, judged.trend[known, -1, 0], days
    return plots.calibration(
        {"rising": rising, "falling": falling},
        name=f"calibration{suffix}",
        title=f"Chances of the trend in an hour: {whose}",
        resamples=200,
    )


def _fan(judged: Mapping[str, Judged]) -> Plot | None:
    """Plot one forecast: of the moves beyond 10 a minute the one whose error is the median, not the best."""
    if not judged:
        return None
    one = next(iter(judged.values()))
    move = one.move()
    whole = ~np.isnan(move).any(axis=1) & ~np.isnan(one.past).any(axis=1)
    rows = np.flatnonzero(whole & (np.abs(move[:, -1]) > 2 * BAND))
    if not len(rows):
        return None
    errors = np.abs(move[rows, -1] - one.change[rows, -1, MIDDLE])
    row = rows[np.argsort(errors)[len(rows) // 2]]
    newest, past = one.newest[row], one.past[row]
    minutes = np.arange(-5.0 * (len(past) - 1), 1.0, 5.0)
    quantiles = newest + one.change[row][:, [LOW, MIDDLE, HIGH]]
    came = np.append(0.0, HORIZONS_MIN), np.append(newest, one.truth[row])
    usual = None if np.isnan(one.usual[row]).any() else (float(one.usual[row, 0]), float(one.usual[row, 1]))
    return plots.forecast_fan(
        (minutes, past),
        np.array(HORIZONS_MIN, float),
        quantiles,
        observed=came,
        usual=usual,
        note="of all moves beyond 10 a minute, the forecast whose error is the median; band: P10 to P90",
    )


def card(document: Document) -> str:
    """Return card.md."""
    found = document["metrics"].get("cross_validation")
    sections = [("Inputs and outputs", _inputs(document))]
    if found:
        sections += [
            ("How good it is", _figures(found)),
            ("Direction and trend", _directions(document, found)),
            ("Intervals and abstention", _intervals(document, found)),
            ("Leaving the personal range", _alerts(found)),
            ("By wearer", _wearers(found)),
            ("Activity", _activity(found)),
        ]
    return card_text(document, (*sections, ("Limits", LIMITS)))


def _inputs(document: Document) -> str:
    rows = [
        (
            one["label"],
            one["unit"],
            f"{one['minimum']:g} – {one['maximum']:g}",
            ", ".join(f"{code['code']} ({code['display']})" for code in one["codes"]),
            f"{one['look_back_min']} minutes",
            one["imputation"],
        )
        for one in document["forecast"]["inputs"]
    ]
    header = ("input", "unit", "plausible range", "read from (LOINC)", "look back", "when missing")
    return (
        f"{table(header, rows)}\n\nThe trainer and the server make the graph's tensors with one code "
        "(`clinical/trend.py`) from readings by the minute. Output `change`: P10, P50 and P90 of the change of "
        "the newest five-minute mean, as a share of it, at 15, 30 and 60 minutes (the mean of the five minutes "
        "that end then). Output `trend`: chances of falling, steady (within 5 a minute) and rising."
    )


def _figures(found: Figures) -> str:
    rows = []
    for part, title in PARTS.items():
        one = found[part]
        for minutes in HORIZONS_MIN if one else ():
            rows.append((
                f"{title}, {minutes} min",
                f"{one[f'persistence_mae_{minutes}']:.2f}",
                f"{one[f'ridge_mae_{minutes}']:.2f}",
                f"{one[f'mae_{minutes}']:.2f}",
                with_interval(one, f"ridge_skill_mae_{minutes}"),
                with_interval(one, f"skill_mae_{minutes}"),
                f"{one[f'persistence_within_10pct_{minutes}']:.3f} / {one[f'within_10pct_{minutes}']:.3f}",
            ))  # fmt: skip
    header = ("judged", "persistence MAE", "ridge MAE", "GRU MAE", "ridge skill", "GRU skill",
              "within 10 %: persistence / GRU")  # fmt: skip
    flatter = "; ".join(
        f"{title}: {found[part]['mape_complement']:.1f} (persistence "
        f"{found[part]['persistence_mape_complement']:.1f}, ridge {found[part]['ridge_mape_complement']:.1f})"
        for part, title in PARTS.items()
        if found[part]
    )
    return (
        "Out of fold: each fold's model was exported and run by the server's runtime on recordings that went "
        "through the server's FHIR code. Known: blocks of time at each wearer's end, judged without the history "
        "before them; unseen: whole wearers left out. Skill is 1 - MAE / MAE of persistence (the newest "
        "five-minute mean stays); brackets are 95 % intervals over days of wearers.\n\n"
        f"{table(header, rows)}\n\n{image('skill', 'Skill over persistence')}\n\n"
        f"100 - MAPE flatters, because staying put is already close: {flatter}.\n\n"
        f"{image('forecast', 'One forecast')}\n\n{image('learning', 'Learning curves')}"
    )


def _directions(document: Document, found: Figures) -> str:
    rows = [
        (
            f"{title}, {minutes} min",
            with_interval(found[part], f"direction_{minutes}"),
            with_interval(found[part], f"direction_{minutes}_coverage"),
            with_interval(found[part], f"direction_{minutes}_all"),
            with_interval(found[part], f"ridge_direction_{minutes}_all"),
            f"{found[part][f'trend_accuracy_{minutes}']:.3f} / {found[part][f'trend_majority_{minutes}']:.3f}",
        )
        for part, title in PARTS.items()
        if found[part]
        for minutes in HORIZONS_MIN
    ]
    header = ("judged", "direction, when said", "said for", "direction, always", "ridge, always",
              "three classes / largest class")  # fmt: skip
    return (
        "Direction is judged on true moves of more than 5 a minute. It is said when |P(rising) - P(falling)| is "
        "at "
        f'least {document["forecast"]["policy"]["direction_from"]:g}; "said for" is the share of those moves that '
        "got one.\n\n"
        f"{table(header, rows)}\n\n{image('confusion', 'Confusion of the trend')}\n\n"
        f"{image('calibration', 'Calibration of the trend')}"
    )


def _intervals(document: Document, found: Figures) -> str:
    rows = [
        (
            f"{title}, {minutes} min",
            with_interval(found[part], f"coverage_p10_p90_{minutes}"),
            f"{found[part][f'below_p10_{minutes}']:.3f} / {found[part][f'above_p90_{minutes}']:.3f}",
            f"{found[part][f'width_{minutes}']:.1f}",
            f"{found[part][f'sure_{minutes}']:.3f}",
            f"{found[part][f'mae_{minutes}_when_sure']:.2f}",
        )
        for part, title in PARTS.items()
        if found[part]
        for minutes in HORIZONS_MIN
    ]
    header = ("judged", "P10 to P90 holds", "below / above", "mean width", "shown", "MAE when shown")
    widest = ", ".join(f"{width:g}" for width in document["forecast"]["policy"]["widest"])
    return (
        f"{table(header, rows)}\n\n{image('coverage', 'Coverage of the intervals')}\n\n"
        f"An interval wider than {widest} a minute (15, 30, 60 minutes) is not shown as a forecast: the answer is "
        f'"not sure enough". {document["forecast"]["policy"]["rule"]}.'
    )


def _alerts(found: Figures) -> str:
    rows = [
        (
            f"{PARTS[part]}: {words}",
            with_interval(found[part]["alert"], f"{name}_rate_60"),
            with_interval(found[part]["alert"], f"{name}_ppv_60"),
            with_interval(found[part]["alert"], f"{name}_sensitivity_60"),
        )
        for part in PARTS
        if found[part]
        for name, words in (
            ("leaves", "the interval reaches beyond"),
            ("outside", "its middle lies beyond"),
            ("persistence", "the present rate lies beyond"),
        )
    ]
    return (
        "The personal range holds 96 % of the past week's minutes, within 40 to 130 a minute. In an hour:\n\n"
        f"{table(('judged', 'how often', 'and it came so', 'of those that came'), rows)}"
    )


def _wearers(found: Figures) -> str:
    rows = [
        (part, name, one["windows"], *(one[f"skill_mae_{minutes}"] for minutes in HORIZONS_MIN),
         one["coverage_p10_p90"])
        for part in PARTS
        if found[part]
        for name, one in found[part]["by_wearer"].items()
    ]  # fmt: skip
    header = ("part", "wearer", "windows", "skill 15", "skill 30", "skill 60", "coverage")
    return (
        "Age, sex, race and ethnicity of the wearers are not recorded, so there are no subgroups but the wearers "
        f"themselves.\n\n{table(header, rows)}"
    )


def _activity(found: Figures) -> str:
    lab = found["activity"]
    if not lab:
        return "Not assessed."
    return (
        f"{lab['sessions']} treadmill sessions of {lab['persons']} persons (applewatch_fitbit_lab), nothing of "
        f"which was learnt from; judged after half an hour, at 15 minutes: MAE {lab['mae_15']:.2f}, persistence "
        f"{lab['persistence_mae_15']:.2f}, skill {with_interval(lab, 'skill_mae_15')}. When the last ten minutes "
        f"were walked instead of sat through, all else equal, the forecast rises by {lab['walking_lift_15']:.1f} "
        f"a minute (rises in {lab['walking_lift_positive']:.0%} of windows). The authors imputed and smoothed "
        "these heart rates."
    )


LIMITS = (
    "Eight wearers in the spring of 2016, one make of sensor; of half of them no steps. Optical sensors lose the "
    "pulse in motion. Nobody was ill as far as is known: what fever, arrhythmia, drugs or a ward do to the "
    "forecast is not known. Times are the device's; a record dated in UTC gives no time of day, and the forecast "
    "does without. A person with less than a day of readings is forecast as a stranger."
)


def _answers(study: Study) -> dict[str, str]:
    return {
        "output_value": "P10, P50 and P90 of the heart rate in 15, 30 and 60 minutes, per minute; chances of "
        "falling, steady and rising.",
        "output_type": "Prediction (quantile forecast) and classification (trend).",
        "intended_use": "To show beside the present heart rate where it probably goes in the next hour.",
        "intended_population": study.population,
        "out_of_scope": "Diagnosis, arrhythmia, alarms; children; pacemakers; intensive care and anaesthesia.",
        "risks": "A forecast may miss the onset of illness: it continues what was usual. Optical sensors fail in "
        "motion. A reading gap of an hour gives no forecast.",
        "inclusion_exclusion": f"All {study.source} with a heart rate by the minute; windows with a reading in "
        "the newest five minutes and in half of the last two hours.",
        "sensitive_inputs": "None: no demographic, social or health assessment variable is read.",
        "training_representativeness": "Not known: age, sex, race and ethnicity of the wearers are not recorded.",
        "training_relevance": "Daily life with a consumer wristband; not hospital telemetry.",
        "fairness_approach": "No demographic input; the personal range and the forecast come from the person's "
        "own past. Optical sensors read dark skin less well, which this model cannot mend.",
        "bias_approach": "Levels and ranges of the recordings were varied in training; figures are given by "
        "wearer.",
        "validity_internal": "Cross-validation in time and by wearer, above: skill over persistence, direction, "
        "coverage.",
        "fairness_internal": "By wearer only, above; groups are not recorded.",
        "external_source": "applewatch_fitbit_lab: treadmill sessions, see Activity.",
        "external_party": "The developers.",
        "external_process": "The shipped file on all sessions, once.",
        "validity_external": "See Activity: 15 minutes ahead only.",
    }
