"""The FHIR R4 API: one file an interaction, registered by one line here.

Addresses under /fhir that no interaction takes are answered here as well, so that a client that speaks FHIR
only ever reads OperationOutcomes.
"""

import re
from collections.abc import Callable
from functools import partial

from flask import Blueprint, Response, g, request
from werkzeug.exceptions import HTTPException, UnsupportedMediaType

from clinical.errors import ClinicalError
from fhir_adapters import outcome
from fhir_adapters.rest import (
    ai_confirm,
    ai_recall,
    ai_replay,
    api_docs,
    bundle,
    capabilities,
    configuration,
    create,
    delete,
    door,
    everything,
    export,
    export_status,
    history,
    lastn,
    patch,
    read,
    search_compartment,
    search_system,
    search_type,
    stats,
    subscription_events,
    subscription_status,
    translate,
    update,
    validate,
    vread,
)
from fhir_adapters.rest.fhir import Fhir, Interaction
from fhir_adapters.rest.negotiate import require_json_answer

__all__ = ["INTERACTIONS", "ROOT", "Fhir", "blueprint"]

INTERACTIONS: tuple[Interaction, ...] = (
    read.INTERACTION,
    vread.INTERACTION,
    search_type.INTERACTION,
    search_type.BY_FORM,
    search_compartment.INTERACTION,
    search_compartment.BY_FORM,
    search_system.INTERACTION,
    search_system.WITH_SLASH,
    search_system.BY_FORM,
    everything.INTERACTION,
    everything.BY_POST,
    lastn.INTERACTION,
    lastn.BY_POST,
    create.INTERACTION,
    update.INTERACTION,
    update.CONDITIONAL,
    patch.INTERACTION,
    patch.CONDITIONAL,
    delete.INTERACTION,
    delete.CONDITIONAL,
    history.INTERACTION,
    history.OF_TYPE,
    validate.INTERACTION,
    ai_confirm.INTERACTION,
    ai_recall.INTERACTION,
    ai_replay.INTERACTION,
    ai_replay.STATUS,
    bundle.INTERACTION,
    bundle.WITH_SLASH,
    *export.INTERACTIONS,
    *export_status.INTERACTIONS,
    *stats.INTERACTIONS,
    *subscription_status.INTERACTIONS,
    *subscription_events.INTERACTIONS,
    translate.INTERACTION,
    translate.BY_BODY,
)
ROOT = "/fhir"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


def blueprint(fhir: Fhir) -> Blueprint:
    """Return the blueprint at /fhir. Opens nothing."""
    routes = Blueprint("fhir", __name__, url_prefix=ROOT)
    described = (capabilities.interaction(INTERACTIONS), api_docs.interaction(INTERACTIONS))
    every = (*described, configuration.INTERACTION, *INTERACTIONS)
    for number, each in enumerate(every):
        # OPTIONS is answered by the fallback, which knows what an address really takes.
        routes.add_url_rule(
            each.path,
            f"{number}-{each.code}",
            partial(door.answered, fhir, each),
            provide_automatic_options=False,
            methods=[each.method],
        )
    fallback = _fallback(every)
    for path in ("", "/", "/<path:rest>"):
        routes.add_url_rule(
            path, f"fallback{path}", fallback, provide_automatic_options=False, methods=list(_METHODS)
        )
    open_to_all = {f"{ROOT}{each.path}" for each in every if each.code in door.OPEN}

    def admit() -> None:
        # What says how to get a token is told to who has none (SMART 2.2 conformance, R4 3.1.0.12).
        if request.path not in open_to_all:
            g.grant = fhir.access.admit(request.headers.get("Authorization"), request.path)
            g.consents = fhir.consents

    routes.before_request(admit)
    routes.before_request(_negotiate)
    routes.register_error_handler(ClinicalError, outcome.response)
    routes.register_error_handler(HTTPException, _http)
    return routes


def _negotiate() -> None:
    # The files of an export are NDJSON, whatever a client says that it takes.
    if request.method != "OPTIONS" and not (request.endpoint or "").endswith(f"-{export_status.FILE}"):
        require_json_answer(request, request.args.getlist("_format") if request.query_string else ())


def _http(error: HTTPException) -> Response:
    # The framework's own descriptions may quote the request; these are ours (`negotiate`).
    words = error.description if isinstance(error, UnsupportedMediaType) else None
    return outcome.http_response(error.code or 500, text=words)


def _fallback(interactions: tuple[Interaction, ...]) -> Callable[..., Response]:
    patterns = [
        (re.compile(re.sub("<[a-z_]+>", "[^/]+", each.path.replace("$", "[$]"))), each) for each in interactions
    ]

    def answer(rest: str = "") -> Response:
        fitting = [each for pattern, each in patterns if pattern.fullmatch(f"/{rest}")]
        if not fitting:
            return outcome.http_response(404)
        # "/metadata" also looks like a type; the address with the fewest blanks is meant.
        blanks = min(each.path.count("<") for each in fitting)
        methods = {each.method for each in fitting if each.path.count("<") == blanks} | {"OPTIONS"}
        methods |= {"HEAD"} if "GET" in methods else set()
        allow = {"Allow": ", ".join(sorted(methods))}
        return (
            Response(status=204, headers=allow)
            if request.method == "OPTIONS"
            else outcome.http_response(405, allow)
        )

    return answer
