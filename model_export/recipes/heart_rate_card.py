"""The card of heart-rate-trend; every figure is taken from the manifest document."""

from collections.abc import Mapping
from typing import Any

from clinical.trend import HORIZONS_MIN
from model_export.card import card_text, image, table, with_interval
from model_export.recipes.heart_rate_plots import TITLES

Document = Mapping[str, Any]
Figures = Mapping[str, Any]
ENOUGH_WINDOWS = 500  # about two days of readings: fewer say nothing of a person


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
    for part, title in TITLES.items():
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
        for part, title in TITLES.items()
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
        for part, title in TITLES.items()
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
        for part, title in TITLES.items()
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
    rows: list[tuple[str | None, ...]] = [
        (f"{TITLES[part]}: it came so", with_interval(found[part]["alert"], "event_rate_60"), None, None)
        for part in TITLES
        if found[part]
    ]
    rows += [
        (
            f"{TITLES[part]}: {words}",
            with_interval(found[part]["alert"], f"{name}_rate_60"),
            with_interval(found[part]["alert"], f"{name}_ppv_60"),
            with_interval(found[part]["alert"], f"{name}_sensitivity_60"),
        )
        for part in TITLES
        if found[part]
        for name, words in (
            ("leaves", "P10 or P90 lies beyond (the card warns)"),
            ("outside", "P50 lies beyond"),
            ("persistence", "the present rate lies beyond"),
        )
    ]
    return (
        "The personal range holds 96 % of the past week's minutes, within 40 to 130 a minute. The card warns when "
        "the interval reaches beyond it: at least one chance in ten, and no more than that. In an hour:\n\n"
        f"{table(('judged', 'how often', 'and it came so', 'of those that came'), rows)}"
    )


def _wearers(found: Figures) -> str:
    rows = [
        (part, name, one["windows"], *(one[f"skill_mae_{minutes}"] for minutes in HORIZONS_MIN),
         one["coverage_p10_p90"])
        for part in TITLES
        if found[part]
        for name, one in found[part]["by_wearer"].items()
    ]  # fmt: skip
    header = ("part", "wearer", "windows", "skill 15", "skill 30", "skill 60", "coverage")
    held = [
        one["coverage_p10_p90"]
        for one in (found["unseen"] or {"by_wearer": {}})["by_wearer"].values()
        if one["windows"] >= ENOUGH_WINDOWS
    ]
    spread = (
        f" For one unseen person the 80 % interval held between {min(held):.0%} and {max(held):.0%} of what came: "
        "its coverage is an average over people and no promise to one."
        if held
        else ""
    )
    return (
        "Age, sex, race and ethnicity of the wearers are not recorded, so there are no subgroups but the wearers "
        f"themselves.{spread}\n\n{table(header, rows)}"
    )


def _activity(found: Figures) -> str:
    lab = found["activity"]
    if not lab:
        return "Not assessed."
    return (
        f"{lab['sessions']} treadmill sessions of {lab['persons']} persons (applewatch_fitbit_lab), nothing of "
        f"which was learnt from; judged after half an hour, at 15 minutes: MAE {lab['mae_15']:.2f}, persistence "
        f"{lab['persistence_mae_15']:.2f}, skill {with_interval(lab, 'skill_mae_15')}. Negative skill "
        "means that staying put was better: on a treadmill the protocol decides what comes, which no history "
        "tells, and the authors imputed and smoothed these heart rates. Told that the last ten minutes were "
        "walked instead of sat through, at the same heart rate, the forecast moves by "
        f"{lab['walking_shift_15']:+.1f} a minute and is lower in {lab['walking_lowers_share']:.0%} of windows: a "
        "rate that effort explains is expected to fall."
    )


LIMITS = (
    "Eight wearers in the spring of 2016, one make of sensor; of half of them no steps. Optical sensors lose the "
    "pulse in motion. Nobody was ill as far as is known: what fever, arrhythmia, drugs or a ward do to the "
    "forecast is not known. Times are the device's; a record dated in UTC gives no time of day, and the forecast "
    "does without. A person with less than a day of readings is forecast as a stranger. Exercise by protocol is "
    "forecast worse than by staying put (Activity)."
)
