"""`/` says how the server is; `/overlay/<reading>` shows an image with what a model outlined in it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, make_response, redirect, render_template, request
from sqlalchemy import func, select
from werkzeug.wrappers import Response as WerkzeugResponse

from cds.links import LinkSigner
from cds.viewer_handle import redeem
from clinical.clock import Clock, utc_now
from clinical.display import for_display
from clinical.errors import ClinicalError, Denied, NotFound
from clinical.units import shown_unit
from consilium.health import Readiness
from consilium.pages.explain import add_explain
from consilium.pages.feedback import add_feedback
from consilium.pages.png import encode_png
from fhir_adapters import outcome
from model_runtime.manifest import Manifest
from record_store.blobs import Blobs
from record_store.database import Database
from record_store.instances import instances_of
from record_store.readings import StoredReading, reading_by_id
from record_store.seen_tokens import SeenTokens
from record_store.tables import delivery, reading, study, study_job

if TYPE_CHECKING:
    from consilium.explain.reader import Explainer
    from dicom_node.pixels import Decoder

PICTURES_KEPT = 16
# No script, nothing from elsewhere, not in a frame of somebody else's page.
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-store",
}


@dataclass(frozen=True, slots=True)
class PagesContext:
    """What the pages need.

    decoder: made at the first picture, which most web workers never show. root: the path that callers put
    before ours, "" without a proxy that adds one.
    """

    db: Database
    blobs: Blobs
    decoder: Callable[[], "Decoder"]
    links: LinkSigner
    readiness: Callable[[], Readiness]
    manifests: Callable[[], list[Manifest]]
    facts: Mapping[str, Any]
    explainer: Callable[[], "Explainer"]
    root: str = ""
    now: Clock = utc_now


def blueprint(context: PagesContext) -> Blueprint:
    """Return the routes of the pages."""
    pages = Blueprint("pages", __name__, template_folder="templates", static_folder="static")
    pages.add_app_template_filter(shown_unit)
    dress(pages, context.root)
    pages.register_error_handler(ClinicalError, _problem)
    _add_home(pages, context)
    _add_overlay(pages, context)
    add_feedback(pages, context)
    add_explain(pages, context.explainer)
    return pages


def dress(pages: Blueprint, root: str) -> None:
    """Give the pages of a blueprint their style and the headers that keep them to themselves."""
    pages.context_processor(lambda: {"root": root})
    pages.after_request(_secure)


def _add_home(pages: Blueprint, context: PagesContext) -> None:
    @pages.get("/")
    def home() -> str:
        ready = context.readiness()
        away = ready.problems.get("database") or ready.problems.get("migrations")
        return render_template(
            "home.html",
            readiness=ready,
            counts=None if away else _counts(context.db),
            models=context.manifests(),
            **context.facts,
        )


def _add_overlay(pages: Blueprint, context: PagesContext) -> None:
    picture = _picture_reader(context)

    seen = SeenTokens(context.db)

    @pages.get("/overlay/launch")
    def launch() -> WerkzeugResponse:
        # The one-time handle that a SMART app was launched with becomes an ordinary signed link.
        reading_id = redeem(context.links, request.args.get("handle", ""), seen.first_use)
        return redirect(context.links.sign(reading_id), 303)

    @pages.get("/overlay/<reading_id>")
    def overlay(reading_id: str) -> str:
        stored = _permitted(context, reading_id)
        query = request.query_string.decode("ascii", "replace")
        longest = max(stored.reading.image.rows, stored.reading.image.columns)
        return render_template(
            "overlay.html",
            reading=stored.reading,
            recalled=stored.recalled,
            image_url=f"{reading_id}/image.png?{query}",
            label_px=longest / 28,
        )

    @pages.get("/overlay/<reading_id>/image.png")
    def image(reading_id: str) -> Response:
        read = _permitted(context, reading_id).reading.image
        return Response(picture(read.study_uid, read.sop_instance_uid), mimetype="image/png")


def _problem(error: ClinicalError) -> Response:
    # A person followed a link here: what went wrong is a page to read, with the status of `outcome`.
    page = render_template("problem.html", words=error.message, closed=isinstance(error, Denied))
    return make_response(page, outcome.issue_of(error)[1])


def _secure(response: Response) -> Response:
    response.headers.update(SECURITY_HEADERS)
    return response


def _permitted(context: PagesContext, reading_id: str) -> StoredReading:
    context.links.check(reading_id, request.args.get("expires", ""), request.args.get("sig", ""))
    with context.db.read() as conn:
        stored = reading_by_id(conn, reading_id)
    if stored is None:
        raise NotFound("there is no such reading")
    return stored


def _picture_reader(context: PagesContext) -> Callable[[str, str], bytes]:
    @lru_cache(maxsize=PICTURES_KEPT)
    def picture(study_uid: str, sop_instance_uid: str) -> bytes:
        with context.db.read() as conn:
            rows = [row for row in instances_of(conn, study_uid) if row.sop_instance_uid == sop_instance_uid]
        if not rows:
            raise NotFound("the image is no longer here")
        with context.blobs.local_path(rows[0].sha256) as path:
            return encode_png(for_display(context.decoder().read(path).image))

    return picture


def _counts(db: Database) -> list[tuple[str, str, int]]:
    with db.read() as conn:
        found = [
            (what, str(state), int(count))
            for what, table in (("studies", study), ("jobs", study_job), ("deliveries", delivery))
            for state, count in conn.execute(
                select(table.c.state, func.count()).group_by(table.c.state).order_by(table.c.state)
            )
        ]
        total = conn.execute(select(func.count(), func.sum(reading.c.findings)).select_from(reading)).one()
    if total[0]:
        found += [("images read", "done", int(total[0])), ("findings", "reported", int(total[1] or 0))]
    return found
