"""A comparison of two models as lines for a terminal."""

from collections.abc import Sequence
from typing import Any

from consilium.shadow.comparison import Row

MOST_NAMED = 20
Json = dict[str, Any]
_DIFFERENCES = {
    "highest_probability": "highest probability where both found",
    "probability_of_malignancy": "probability of malignancy",
    "long_axis_mm": "long axis in mm",
    "short_axis_mm": "short axis in mm",
}
_FAILURES = {"live_jobs": "failed live, jobs", "shadow_images": "failed in shadow, images"}


def in_words(told: Json, rows: Sequence[Row]) -> str:
    """Return the lines; images about which the models disagree are named by their digests."""
    lines = [
        f"live {told['live']}, shadow {told['shadow']}: {told['images']} images of {told['studies']} studies",
        told["caveat"],
        "",
        *_figures(told),
    ]
    alone = told["read_by_one_alone"]
    lines.append(f"read by one alone: {alone['live']} by live, {alone['shadow']} by shadow")
    for key, words in _FAILURES.items():
        lines += _reasons(words, told["failures"][key])
    lines += _reasons("left out in shadow", told["left_out_images"])
    for name, groups in told["subgroups"].items():
        lines += [f"{name} {value}: {_group(figures)}" for value, figures in groups.items()]
    return "\n".join([*lines, *_disagreements(rows)]) + "\n"


def _figures(told: Json) -> list[str]:
    lines = [
        f"finding or none, by {unit}: {_agreement(told['finding_or_none'][unit])}" for unit in ("image", "study")
    ]
    found, overlap = told["findings"], told["overlap"]
    lines.append(
        f"findings: {found['same']} the same, {found['only_live']} only live, {found['only_shadow']} only shadow"
    )
    lines.append(
        f"overlap where both found (n {overlap['n']}): Dice {_n(overlap['dice'])}, IoU {_n(overlap['iou'])}"
    )
    lines += [f"{words}: {_differences(told[name])}" for name, words in _DIFFERENCES.items()]
    for side, taken in told["seconds_an_image"].items():
        lines.append(
            f"seconds an image, {side} (n {taken['n']}): median {_n(taken['median'])}, p95 {_n(taken['p95'])}"
        )
    return lines


def _agreement(one: Json) -> str:
    low, high = one["kappa_interval"] or (None, None)
    same = one["agreement"]
    return (
        f"both {one['both']}, only live {one['only_live']}, only shadow {one['only_shadow']},"
        f" neither {one['neither']}; the same {_n(same['share'])} ({_n(same['low'])} to {_n(same['high'])});"
        f" kappa {_n(one['kappa'])} ({_n(low)} to {_n(high)});"
        f" positive agreement {_n(one['positive_agreement'])}, negative {_n(one['negative_agreement'])}"
    )


def _differences(one: Json) -> str:
    if not one["n"]:
        return "n 0"
    limits = f", limits of agreement {_n(one['low'])} to {_n(one['high'])}" if one["low"] is not None else ""
    return f"n {one['n']}, shadow - live {_n(one['mean'])}{limits}"


def _group(figures: Json) -> str:
    if "suppressed" in figures:
        return str(figures["suppressed"])
    return f"n {figures['images']}, " + _agreement(figures["finding_or_none"]["image"])


def _reasons(words: str, told: dict[str, int]) -> list[str]:
    return [f"{words}: {count}: {reason}" for reason, count in told.items()]


def _disagreements(rows: Sequence[Row]) -> list[str]:
    apart = [row for row in rows if row.table.first or row.table.second]
    if not apart:
        return []
    lines = ["", "images in which one alone found something (study, image):"]
    for row in apart[:MOST_NAMED]:
        lines.append(f"  {row.study} {row.image}: {'live' if row.table.first else 'shadow'}")
    return lines + ([f"  and {len(apart) - MOST_NAMED} more (--json --each)"] if len(apart) > MOST_NAMED else [])


def _n(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"
