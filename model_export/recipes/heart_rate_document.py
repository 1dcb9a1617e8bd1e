"""The manifest of heart-rate-trend: what it is for, how it was made, its answers to the source attributes."""

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from clinical.codes import HEART_RATE, STEPS_24_HOURS, STEPS_UNSPECIFIED_TIME
from clinical.trend import DAY_MIN, HIGHEST, HORIZONS_MIN, LOWEST, PAST_DAYS
from model_export.datasets import fitbit_hr
from model_export.recipes.heart_rate_judging import ALPHA, ANSWERED, SHOWN, Chosen
from model_export.recipes.heart_rate_settings import BAND, QUANTILES, Settings
from model_export.transparency import answers
from model_runtime.tasks.coding import coding_document

LIBRARIES = ("keras", "tensorflow-cpu", "numpy", "onnx")
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
    study: Study, chosen: Chosen, metrics: Mapping[str, Any], subjects: tuple[str, ...], seed: int, minutes: float
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
        "reference": {"features": {}, "score": None},
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


def _answers(study: Study) -> dict[str, str]:
    return {
        "output_value": "P10, P50 and P90 of the heart rate in 15, 30 and 60 minutes, per minute; chances of "
        "falling, steady and rising.",
        "output_type": "Prediction (quantile forecast) and classification (trend).",
        "intended_use": "To show beside the present heart rate where it probably goes in the next hour.",
        "intended_population": study.population,
        "out_of_scope": "Diagnosis, arrhythmia, alarms; children; pacemakers; intensive care and anaesthesia.",
        "risks": "A forecast may miss the onset of illness: it continues what was usual. Optical sensors fail in "
        "motion. A reading gap of an hour gives no forecast. On a treadmill it does worse than persistence.",
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
