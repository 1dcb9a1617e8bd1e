"""`/feedback`: what became of the cards, for people; `/feedback.json`: the same for programs. Never a comment."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import orjson
from flask import Blueprint, Response, render_template, request

from cds.feedback.figures import Report
from cds.feedback.report import report_of
from clinical.errors import ClinicalError, IncorrectInput
from clinical.proportion import Proportion
from consilium.pages.curve import HEIGHT, LEFT, TOP, WIDTH, curve_of
from fhir_adapters import outcome
from record_store.feedback_tallies import Span

if TYPE_CHECKING:
    from consilium.pages.views import PagesContext

DAYS = 90
MOST_DAYS = 3660
PERIODS = (7, 30, 90, 365)
FILTERS = ("service", "hook", "model_version", "client")


def add_feedback(pages: Blueprint, context: "PagesContext") -> None:
    """Add the two routes."""
    pages.add_app_template_filter(share, "share")
    pages.add_app_template_filter(curve_of, "curve")

    @pages.get("/feedback")
    def feedback() -> str:
        days = _days()
        report = _report(context, days)
        plot = {"left": LEFT, "top": TOP, "width": WIDTH, "height": HEIGHT}
        return render_template("feedback.html", report=report, days=days, periods=PERIODS, plot=plot)

    @pages.get("/feedback.json")
    def feedback_json() -> Response:
        try:
            report = _report(context, _days())
        except ClinicalError as error:
            return outcome.response(error)
        return Response(orjson.dumps(report.to_json()), mimetype="application/json")


def share(found: Proportion) -> str:
    """Return a share with its 95 % interval: "40 % (12–77)"."""
    if found.share is None or found.interval is None:
        return "–"
    low, high = (round(end * 100) for end in found.interval)
    return f"{found.share * 100:.0f} % ({low}–{high})"


def _days() -> int:
    text = request.args.get("days", str(DAYS))
    if not (text.isascii() and text.isdecimal() and len(text) <= 4 and 1 <= int(text) <= MOST_DAYS):
        raise IncorrectInput(f"days: expected a whole number from 1 to {MOST_DAYS}", expression=["days"])
    return int(text)


def _report(context: "PagesContext", days: int) -> Report:
    now: datetime = context.now()
    only = {name: request.args[name] for name in FILTERS if request.args.get(name)}
    with context.db.read() as conn:
        return report_of(conn, Span(now - timedelta(days=days), now, **only))
