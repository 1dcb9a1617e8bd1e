"""$ai-confirm: POST [base]/[type]/[id]/$ai-confirm, an operation of ours (R4 3.2): a person decides on a result.

`preliminary` becomes `final`, `amended` or `entered-in-error`, as a new version with a Provenance that says who. A
PUT or PATCH that changes the status decides too: no later reading of the study changes what is not preliminary.
"""

import re
from collections.abc import Sequence
from typing import Any

import orjson
from flask import Response, request
from sqlalchemy import Connection

from clinical.codes import AI_ASSERTED
from clinical.errors import IncorrectInput, PreconditionMissing, Unsupported
from fhir_adapters.publish import publish
from fhir_adapters.resources.labels import Json, concept
from fhir_adapters.rest.accessed import note_written
from fhir_adapters.rest.ai import parameters as said
from fhir_adapters.rest.ai.changes import (
    CONFIRMED,
    ENTERED_IN_ERROR,
    ENTERER,
    MODIFY_STATUS,
    VERIFIER,
    Who,
    changed,
    decision_provenance,
    with_status,
)
from fhir_adapters.rest.ai.reach import result_within
from fhir_adapters.rest.ai.who import asking
from fhir_adapters.rest.fhir import Fhir, Interaction
from fhir_adapters.rest.negotiate import read_json_body
from fhir_adapters.rest.reach import demand_within
from fhir_adapters.rest.versions import demand_match, written
from fhir_adapters.search.index import target_of
from fhir_adapters.strict_json import load_object
from record_store.resource_history import Version
from record_store.resources import NewResource, StoredResource, lock_key, put_all

STATUSES = ("final", "amended", ENTERED_IN_ERROR)
PEOPLE = ("Practitioner", "PractitionerRole", "Organization", "CareTeam")  # R4 DiagnosticReport.resultsInterpreter
_ELSEWHERE = re.compile(rf"https?://[!-~]{{1,1000}}/({'|'.join(PEOPLE)})/[A-Za-z0-9\-.]{{1,64}}")
LONGEST_NOTE = 2_000
KNOWN = {
    "status": ("valueCode", "valueString"),
    "note": ("valueString",),
    "verifier": ("valueReference",),
    "results": ("valueBoolean",),
}
_WORDS = {
    "final": "Confirmed by a person.",
    "amended": "Amended by a person.",
    ENTERED_IN_ERROR: "Entered in error, as a person says.",
}


def answer(fhir: Fhir, resource_type: str, resource_id: str) -> Response:
    """Return the decided version: 200. The same decision again changes nothing."""
    asked = said.asked_of(load_object(read_json_body(request)), KNOWN)
    status, note, verifier = asked.text("status"), asked.text("note"), _verifier(fhir, asked)
    if status not in STATUSES:
        raise IncorrectInput(f"status is one of: {', '.join(STATUSES)}", expression=["status"])
    if len(note) > LONGEST_NOTE:
        raise IncorrectInput(f"note has up to {LONGEST_NOTE} characters", expression=["note"])
    with fhir.db.write() as conn:
        lock_key(conn, f"{resource_type}/{resource_id}")
        found = result_within(fhir, conn, resource_type, resource_id, "u")
        demand_match(found, request.headers.get("If-Match"))
        whole = [found, *(_members(fhir, conn, found) if asked.flag("results") else ())]
        news = [new for one in whole if (new := _decided(fhir, one.stored, status, note, verifier)) is not None]
        for new in news:
            demand_within(new, "u")
        if news:
            put_all(conn, news)
            note_written(fhir, conn, news)
            publish(conn, [_provenance(fhir, news, status, verifier)], fhir.now())
    first = next((one.stored for one in news if (one.type, one.id) == (resource_type, resource_id)), found.stored)
    return written(fhir, first, 200)


def _decided(
    fhir: Fhir, stored: StoredResource, status: str, note: str, verifier: Json | None
) -> NewResource | None:
    """Return the next version, None when that has been decided already."""
    resource = orjson.loads(stored.body)
    labels = [one.get("code") for one in resource.get("meta", {}).get("security", ())]
    if AI_ASSERTED.code not in labels:
        raise Unsupported("that is no result of a model: it has no label AIAST")
    before = resource.get("status")
    if before == status and status != "amended":
        return None
    if before == ENTERED_IN_ERROR or (before not in ("preliminary", *CONFIRMED) and status != ENTERED_IN_ERROR):
        raise PreconditionMissing(f"a result that is {before} cannot become {status}", expression=["status"])
    words = f"{_WORDS[status]} {note}".rstrip()

    def change(resource: dict[str, Any]) -> None:
        with_status(status, words)(resource)
        if verifier is not None and resource["resourceType"] == "DiagnosticReport":
            resource["resultsInterpreter"] = [*resource.get("resultsInterpreter", ()), verifier]

    return changed(fhir, stored, change)


def _members(fhir: Fhir, conn: Connection, report: Version) -> list[Version]:
    """Return the Observations of a report that nobody has decided about."""
    targets = [one.get("reference", "") for one in orjson.loads(report.stored.body).get("result", ())]
    named = [target_of(one, fhir.base_url) for one in targets]
    found = []
    for kind, ident in sorted(set(named)):
        if kind != "Observation":
            continue
        lock_key(conn, f"{kind}/{ident}")
        one = result_within(fhir, conn, kind, ident, "u")
        if orjson.loads(one.stored.body).get("status") == "preliminary":
            found.append(one)
    return found


def _verifier(fhir: Fhir, asked: said.Asked) -> Json | None:
    """Return who decided, where the caller says so for somebody: a program that a person sits at."""
    if not asked.text("verifier"):
        return None
    kind, ident = target_of(asked.text("verifier"), fhir.base_url)
    if kind not in PEOPLE and not _ELSEWHERE.fullmatch(ident):
        raise IncorrectInput(f"a verifier is a reference to one of: {', '.join(PEOPLE)}", expression=["verifier"])
    return {"reference": f"{kind}/{ident}" if kind else ident}


def _provenance(fhir: Fhir, news: Sequence[NewResource], status: str, verifier: Json | None) -> Json:
    who: Who = asking()
    made = decision_provenance(
        resource_id=fhir.new_id(),
        targets=news,
        who=who,
        role=VERIFIER,
        activity=MODIFY_STATUS,
        reason=f"{status}: {_WORDS[status]}",
        recorded=fhir.now(),
    )
    if verifier is not None:
        entered = {"type": concept(ENTERER), "who": who.as_reference()}
        made["agent"] = [{"type": concept(VERIFIER), "who": verifier}, entered]
    return made


INTERACTION = Interaction("$ai-confirm", "POST", "/<resource_type>/<resource_id>/$ai-confirm", answer)
