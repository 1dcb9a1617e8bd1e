"""$export: kick-off at [base]/$export, [base]/Patient/$export and [base]/Group/[id]/$export (Bulk Data IG 2.0).

What it asks for becomes a row; a worker makes the files, and `export_status` tells how far it is.
"""

from collections.abc import Callable
from dataclasses import replace

from flask import Response, request

from clinical.errors import IncorrectInput, NotFound, Unsupported
from fhir_adapters.bulk.asked import GROUP, PATIENT, SYSTEM, Pairs, asked_of, pairs_of
from fhir_adapters.bulk.offer import Bulk
from fhir_adapters.bulk.plan import types_of
from fhir_adapters.outcome import TooMany, body_response, outcome
from fhir_adapters.rest.fhir import Fhir, Interaction, allowed, caller, require_type
from fhir_adapters.rest.negotiate import preferences, read_json_body
from fhir_adapters.rest.reach import read_within
from fhir_adapters.strict_json import load_object
from record_store import exports

STATUS_PATH = "/$export-status/<export_id>"
LONGEST_KICKOFF = 8_000


def offer(fhir: Fhir) -> Bulk:
    """Return what exports work with. Raises Unsupported where this server has none."""
    if fhir.bulk is None:
        raise Unsupported("this server makes no exports")
    return fhir.bulk


def client() -> str:
    """Return who asks: whoever kicked an export off, and nobody else, may ask for it."""
    return caller().client_id


def answer(fhir: Fhir) -> Response:
    """Export everything."""
    return _kick_off(fhir, SYSTEM)


def answer_patients(fhir: Fhir) -> Response:
    """Export what is in the compartments of patients."""
    require_type("Patient")
    return _kick_off(fhir, PATIENT)


def answer_group(fhir: Fhir, resource_id: str) -> Response:
    """Export what is in the compartments of a group's members."""
    require_type("Group")
    with fhir.db.read() as conn:
        found = read_within(fhir, conn, "Group", resource_id)
        if found is None or found.deleted:
            raise NotFound("there is no Group with that id")
    return _kick_off(fhir, GROUP, resource_id)


def answer_no_group(_fhir: Fhir) -> Response:
    """Refuse an export of no group: it is not that there are none."""
    raise IncorrectInput("name the group: Group/[id]/$export", expression=["Group"])


def _kick_off(fhir: Fhir, level: str, group: str = "") -> Response:
    bulk = offer(fhir)
    wishes = preferences(request)
    if "respond-async" not in wishes:
        raise IncorrectInput("an export is answered later: send Prefer: respond-async")
    lenient = wishes.get("handling") == "lenient"
    posted = request.method == "POST"
    pairs = _posted() if posted else list(request.args.items(multi=True))
    pairs = [(name, value) for name, value in pairs if name != "_format"]
    asked = asked_of(pairs, level=level, group=group, base_url=fhir.base_url, lenient=lenient, posted=posted)
    for kind in asked.types:
        allowed(kind, "r")
    if not caller().everything:
        asked = replace(asked, grant=caller().as_json())
    if not types_of(asked):
        raise IncorrectInput("no type that was asked for can be exported at this level", expression=["_type"])
    kickoff = f"{fhir.base_url.rstrip('/')}{request.full_path.removeprefix(_root()).rstrip('?')}"
    if len(kickoff) > LONGEST_KICKOFF:
        raise IncorrectInput("the request is too long: send its parameters by POST")
    export_id, now = fhir.new_id(), fhir.now()
    with fhir.db.write() as conn:
        if exports.under_way(conn, client()) >= bulk.most_of_a_client:
            most = bulk.most_of_a_client
            raise TooMany(f"{most} exports of this client are under way: wait or cancel one", retry_after_s=60)
        exports.ask(conn, export_id, client(), kickoff, asked.as_json(), now)
    told = outcome(
        "informational", "the export is queued; Content-Location tells how far it is", severity="information"
    )
    response = body_response(told, 202)
    response.headers["Content-Location"] = status_url(fhir, export_id)
    return response


def status_url(fhir: Fhir, export_id: str) -> str:
    """Return where an export's state is told."""
    return f"{fhir.base_url.rstrip('/')}{STATUS_PATH.replace('<export_id>', export_id)}"


def _root() -> str:
    return request.path[: request.path.index("/fhir") + len("/fhir")] if "/fhir" in request.path else ""


def _posted() -> Pairs:
    if request.args:
        raise IncorrectInput("a POSTed export has its parameters in the body")
    return pairs_of(load_object(read_json_body(request)))


def _both(path: str, answer: Callable[..., Response]) -> tuple[Interaction, Interaction]:
    return Interaction("$export", "GET", path, answer), Interaction("$export", "POST", path, answer)


INTERACTIONS = (
    *_both("/$export", answer),
    *_both("/Patient/$export", answer_patients),
    *_both("/Group/<resource_id>/$export", answer_group),
    *_both("/Group/$export", answer_no_group),
)
