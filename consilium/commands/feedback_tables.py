"""The feedback report as tables in a terminal."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cds.feedback.figures import Answered, ModelReport, Report, ShadowReport
from clinical.proportion import Proportion
from record_store.feedback_tallies import Row

COUNTS = ("sent", "accepted", "overridden", "replaced", "ignored")


def show(report: Report) -> None:
    """Print the report."""
    console = _console()
    console.print(f"Cards sent from {_day(report.span.since)} until {_day(report.span.until)}")
    if not report.groups and not report.shadow:
        console.print("No card was sent.")
    table("Cards", [_group(row, answered) for row, answered in report.groups])
    for model in report.models:
        _model(model)
    table("Held back", report.suppressed)
    for shadow in report.shadow:
        _shadow(shadow)


def table(title: str, rows: Sequence[Row]) -> None:
    """Print rows under their names; nothing when there are none."""
    if not rows:
        return
    printed = Table(*rows[0], title=title, title_justify="left")
    for row in rows:
        printed.add_row(*(Text("" if value is None else str(value)) for value in row.values()))
    _console().print(printed)


def share(found: Proportion) -> str:
    """Return a share as people read it: "40 % (12 to 77) of 5"."""
    if found.share is None or found.interval is None:
        return "-"
    low, high = found.interval
    return f"{found.share * 100:.0f} % ({low * 100:.0f} to {high * 100:.0f}) of {found.whole}"


def _group(row: Row, answered: Answered) -> dict[str, Any]:
    return {
        "service": row["service"],
        "hook": row["hook"],
        "model": " ".join(part for part in (row["model"], row["model_version"]) if part),
        "threshold": row["threshold"],
        "client": row["client"],
        **{name: getattr(answered, name) for name in COUNTS},
        "acceptance (95 %)": share(answered.acceptance),
    }


def _model(model: ModelReport) -> None:
    name = " ".join(part for part in (model.service, model.model, model.model_version) if part)
    _console().print(f"\n{name}: PPV proxy {share(model.ppv_proxy)}; PPV by outcome {share(model.outcomes)}")
    table("Why overridden", [{"reason": one.display, "count": one.count} for one in model.reasons])
    steps = [
        {
            "threshold": step.threshold,
            "cards": step.answered.sent,
            "acceptance (95 %)": share(step.answered.acceptance),
            "PPV by outcome (95 %)": share(step.outcomes),
        }
        for step in model.what_if
    ]
    table("If the threshold were", steps)


def _shadow(one: ShadowReport) -> None:
    failed = ", ".join(f"{name} {count}" for name, count in one.failed.items()) or "none"
    _console().print(
        f"\n{one.service} in shadow mode: {one.calls} calls, {one.spoke} with cards; failures: {failed}"
    )
    measures = [{"measure": name, "share (95 %)": share(value)} for name, value in one.measures.items()]
    table("By outcome, patients", measures if one.by_outcome else [])
    table("Beside the live services", one.against)


def _console() -> Console:
    # Made when it prints: a test or a pipe may have put another standard output in place.
    return Console(highlight=False, markup=False)


def _day(at: datetime) -> str:
    return at.astimezone(UTC).date().isoformat()
