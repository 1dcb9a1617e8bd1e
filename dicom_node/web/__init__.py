"""DICOMweb (PS3.18): one file a resource, registered by one line here.

Addresses below /dicom-web that no resource takes are answered here as well, so that a client reads one form of
errors only.
"""

from collections.abc import Callable
from functools import partial

import structlog
from flask import Blueprint, Response, request
from werkzeug.exceptions import HTTPException

from clinical.errors import ClinicalError, Fault
from dicom_node.web import bulkdata, frames, instances, metadata, rendered, search, store
from dicom_node.web.archive import Archive, Resource
from dicom_node.web.limits import ROOT
from dicom_node.web.problems import http_report, report

__all__ = ["RESOURCES", "ROOT", "Archive", "blueprint"]

RESOURCES: tuple[Resource, ...] = (
    *search.RESOURCES,
    *instances.RESOURCES,
    *metadata.RESOURCES,
    *frames.RESOURCES,
    *bulkdata.RESOURCES,
    *rendered.RESOURCES,
    *store.RESOURCES,
)
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

log = structlog.get_logger()


def blueprint(archive: Archive) -> Blueprint:
    """Return the routes below /dicom-web."""
    routes = Blueprint("dicomweb", __name__)
    by_rule: dict[str, dict[str, Resource]] = {}
    for one in RESOURCES:
        by_rule.setdefault(one.rule, {})[one.method] = one
    for rule, taken in by_rule.items():
        name = "dicomweb " + rule.replace(".", "")
        routes.add_url_rule(
            ROOT + rule,
            endpoint=name,
            view_func=partial(_answer, archive, taken),
            methods=_METHODS,
            provide_automatic_options=False,
        )
    for rule in ("", "/", "/<path:rest>"):
        routes.add_url_rule(
            ROOT + rule,
            view_func=_nowhere,
            methods=_METHODS,
            provide_automatic_options=False,
            endpoint=f"no {rule}",
        )
    routes.register_error_handler(ClinicalError, report)
    routes.register_error_handler(HTTPException, lambda error: http_report(error.code or 500))
    routes.register_error_handler(Exception, _unexpected)
    return routes


def _answer(archive: Archive, taken: dict[str, Resource], **where: str) -> Response:
    method = "GET" if request.method == "HEAD" else request.method
    resource = taken.get(method)
    if resource is None:
        allowed = ", ".join(sorted({*taken, *(["HEAD"] if "GET" in taken else [])}))
        return http_report(405, {"Allow": allowed})
    answer: Callable[..., Response] = resource.answer
    return answer(archive, **where)


def _nowhere(**_where: str) -> Response:
    return http_report(404)


def _unexpected(error: Exception) -> Response:
    # The outer edge of these routes: the error's text may quote a data set.
    log.error("request failed", kind=type(error).__name__, route=str(request.url_rule))
    return report(Fault("the server failed; its log says where"))
