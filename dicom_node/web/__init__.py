"""DICOMweb (PS3.18): one file a resource, registered by one line here.

A `Door` answers whatever comes below its address, also what no resource takes, so that a client reads one form of
errors only. It has a map of its own and stands behind one route of the application, which builds it at first use.
"""

from collections.abc import Callable, Mapping

import structlog
from flask import Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule

from clinical.errors import ClinicalError, Fault
from dicom_node.web import bulkdata, frames, instances, metadata, rendered, search, store
from dicom_node.web.archive import Archive, Resource
from dicom_node.web.problems import http_report, report
from dicom_node.web.trail import noted

__all__ = ["RESOURCES", "Archive", "Door"]

RESOURCES: tuple[Resource, ...] = (
    *search.RESOURCES,
    *instances.RESOURCES,
    *metadata.RESOURCES,
    *frames.RESOURCES,
    *bulkdata.RESOURCES,
    *rendered.RESOURCES,
    *store.RESOURCES,
)

log = structlog.get_logger()


class Door:
    """Everything below one path of this server, such as "/dicom-web"."""

    def __init__(self, archive: Archive, path: str) -> None:
        self._archive = archive
        self._taken: dict[str, dict[str, Resource]] = {}
        for one in RESOURCES:
            self._taken.setdefault(one.rule, {})[one.method] = one
        rules = [Rule(path + rule, endpoint=rule, merge_slashes=False) for rule in self._taken]
        self._map = Map(rules, merge_slashes=False).bind("")

    def answer(self) -> Response:
        """Return the answer to the present request of Flask."""
        try:
            rule, where = self._map.match(request.path, return_rule=True)
        except HTTPException as error:
            return http_report(error.code or 500)
        request.url_rule = rule  # metrics and logs name the resource, not the door
        taken = self._taken[rule.endpoint]
        resource = taken.get("GET" if request.method == "HEAD" else request.method)
        if resource is None:
            allowed = ", ".join(sorted({*taken, *(["HEAD"] if "GET" in taken else [])}))
            return http_report(405, {"Allow": allowed})
        return noted(self._archive, resource, self._answer(resource, where))

    def _answer(self, resource: Resource, where: Mapping[str, str]) -> Response:
        answer: Callable[..., Response] = resource.answer
        try:
            return answer(self._archive, **where)
        except ClinicalError as error:
            return report(error)
        except HTTPException as error:
            return http_report(error.code or 500)
        except Exception as error:  # noqa: BLE001 - the outer edge of these routes
            # Its text may quote a data set.
            log.error("request failed", kind=type(error).__name__, route=str(request.url_rule))  # noqa: TRY400
            return report(Fault("the server failed; its log says where"))
