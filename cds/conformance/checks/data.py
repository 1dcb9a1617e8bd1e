"""Sections 1.3 and 1.5 of the checklist: prefetch that came, that did not come, and fetching the rest."""

import copy
import re
from urllib.parse import parse_qsl

from cds.client.remote import JsonObject
from cds.conformance.bench import FHIR_TOKEN, Bench, cards_of
from cds.conformance.model import Check, Level, NotApplicable, Skipped, must
from cds.prefetch import parse_query
from clinical.errors import ClinicalError

CALLING, TEMPLATE = "Calling a CDS Service: prefetch", "Prefetch Template"
_TOKENS = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
_USER = re.compile(r"user(Practitioner|PractitionerRole|Patient|RelatedPerson)Id")
_PLAIN = re.compile(r"context\.[A-Za-z][A-Za-z0-9]*|user(Practitioner|PractitionerRole|Patient|RelatedPerson)Id")


def _nothing_obtainable(bench: Bench) -> None:
    """412, or the very answer that the service gives without data; never fewer cards for want of data."""
    asking = [(one, said) for one, said in bench.answering() if one.get("prefetch") and cards_of(said)]
    if not asking:
        raise NotApplicable("no service that asks for prefetch gave a card")
    for service, _ in asking:
        status = bench.call(service, bench.body(service, prefetch=False)).status_code
        must(status == 412, f"{service['id']}: without data and without a way to it, answered {status}")


def _no_permission(bench: Bench) -> None:
    service = bench.fetching()
    bench.fhir.forget()
    kinds = ("Patient", "Observation", "Condition", "FamilyMemberHistory", "ServiceRequest", "Encounter")
    bench.fhir.behaviour.fail = dict.fromkeys(kinds, 403)
    status = bench.call(service, bench.body(service, prefetch=False, fhir=True)).status_code
    bench.fhir.forget()
    must(status == 412, f"the FHIR server refuses everything, answered {status}")


def _fetches(bench: Bench) -> None:
    bench.answering()  # raises when nothing could be asked at all
    try:
        bench.fetching()
    except Skipped:
        must(not bench.options.reaches_fhir, "nothing was sent, and nothing was asked of fhirServer")
        raise Skipped("the service called our FHIR server never; can it reach it, and does it allow it?") from None


def _fetches_only_what_is_missing(bench: Bench) -> None:
    service, key = _searching(bench)
    body = bench.body(service, fhir=True)
    del body["prefetch"][key]
    bench.fhir.forget()
    answer = bench.call(service, body)
    must(answer.status_code == 200, f"answered {answer.status_code}")
    must(len(bench.fhir.asked()) == 1, f"one key was missing, {len(bench.fhir.asked())} queries were made")


def _searching(bench: Bench) -> tuple[JsonObject, str]:
    """Return a service that fetches, and the last of its keys that is a search."""
    service = bench.fetching()
    keys = [key for key, query in service["prefetch"].items() if "?" in query]
    if not keys:
        raise NotApplicable("the service searches for nothing")
    return service, keys[-1]


def _not_asked_again(bench: Bench, value: JsonObject | None) -> None:
    service, key = _searching(bench)
    body = bench.body(service, fhir=True)
    body["prefetch"][key] = value
    bench.fhir.forget()
    answer = bench.call(service, body)
    must(not bench.fhir.asked(), "the FHIR server was asked for what the client had settled")
    must(answer.status_code in {200, 412}, f"answered {answer.status_code}")


def _failed_query(bench: Bench) -> None:
    issue = {"severity": "error", "code": "timeout", "details": {"text": "the client's query timed out"}}
    _not_asked_again(bench, {"resourceType": "OperationOutcome", "issue": [issue]})


def _more_pages(bench: Bench) -> None:
    service, key, full = several(bench)
    body = bench.body(service, fhir=True)
    first = copy.deepcopy(full)
    first["entry"] = full["entry"][:1]
    query = f"Observation?patient={bench.patient_id}&_page=1"
    first["link"] = [{"relation": "next", "url": f"{bench.fhir.base}/{query}"}]
    body["prefetch"][key] = first
    bench.fhir.forget()
    bench.fhir.behaviour.page_size = 1
    answer = bench.call(service, body)
    asked = bench.fhir.asked()
    bench.fhir.forget()
    must(asked and asked[0].query == query, "the next page was not asked for")
    must(asked[0].token == FHIR_TOKEN, "the next page was asked for without the token")
    must(answer.status_code == 200, f"answered {answer.status_code}")


def several(bench: Bench) -> tuple[JsonObject, str, JsonObject]:
    for service in bench.fetchers():
        for key, value in bench.body(service)["prefetch"].items():
            entries = (value or {}).get("entry", [])
            if len(entries) > 1 and entries[0]["resource"]["resourceType"] == "Observation":
                return service, key, value
    raise Skipped("no key has several Observations in this record")


def _either_way(bench: Bench) -> None:
    service = bench.fetching()
    bench.fhir.forget()
    sent = bench.call(service, bench.body(service))
    fetched = bench.call(service, bench.body(service, prefetch=False, fhir=True))
    must(fetched.status_code == 200, f"with what it fetched itself it answered {fetched.status_code}")
    said = [sorted(str(card.get("summary")) for card in cards_of(answer)) for answer in (sent, fetched)]
    must(said[0] == said[1], "the cards differ with what was sent and what was fetched")


def _queries(bench: Bench) -> list[str]:
    found = [query for one in bench.services() for query in one.get("prefetch", {}).values()]
    if not found:
        raise NotApplicable("no service asks for prefetch")
    return found


def _tokens_are_known(bench: Bench) -> None:
    for query in _queries(bench):
        try:
            parse_query(query)
        except ClinicalError as problem:
            must(False, problem.message)


def _tokens_are_filled(bench: Bench) -> None:
    service = bench.fetching()
    bench.fhir.forget()
    bench.call(service, bench.body(service, prefetch=False, fhir=True))
    asked = [one.query for one in bench.fhir.asked()]
    must(not any("{{" in query or "%7B%7B" in query for query in asked), "a token was sent as it stands")
    must(any(bench.patient_id in query for query in asked), "context.patientId was not put in")


def _paths(bench: Bench) -> None:
    tokens = {token for query in _queries(bench) for token in _TOKENS.findall(query)}
    if all(_PLAIN.fullmatch(token) for token in tokens):
        raise NotApplicable("no template uses FHIRPath")
    _tokens_are_known(bench)


def _user_tokens(bench: Bench) -> None:
    using = [one for one in bench.services() if any(_USER.search(q) for q in one.get("prefetch", {}).values())]
    if not using:
        raise NotApplicable("no template uses the user's id")
    for service in using:
        body = bench.body(service, prefetch=False, fhir=True)
        body["context"]["userId"] = "RelatedPerson/r1"
        bench.fhir.forget()
        bench.call(service, body)
        must(
            not any(re.search(r"(=|/)(&|$)", one.query) for one in bench.fhir.asked()), "an empty value was asked"
        )


def _encoded(bench: Bench) -> None:
    service = bench.fetching()
    body = bench.body(service, prefetch=False, fhir=True)
    body["context"]["patientId"] = f"{bench.patient_id}&_id=somebody-else"
    bench.fhir.forget()
    status = bench.call(service, body).status_code
    widened = [q for q in (one.query for one in bench.fhir.asked()) if ("_id", "somebody-else") in _parameters(q)]
    must(not widened, "an id with an ampersand became another parameter of the query")
    must(400 <= status < 500, f"answered {status}")


def _parameters(query: str) -> list[tuple[str, str]]:
    return parse_qsl(query.partition("?")[2])


CHECKS = (
    Check("C3.1", Level.MUST, CALLING, "data neither sent nor obtainable is a 412", _nothing_obtainable),
    Check("C3.2", Level.MUST, CALLING, "data that the FHIR server refuses is a 412", _no_permission),
    Check("C4.1", Level.MUST, CALLING, "what was not sent is fetched from fhirServer", _fetches),
    Check("C4.2", Level.MUST, CALLING, "only what is missing is fetched", _fetches_only_what_is_missing),
    Check("C5.1", Level.SHOULD, CALLING, "an OperationOutcome means that the client failed: not asked again",
          _failed_query),
    Check("C6.1", Level.MUST, CALLING, "null means that there is none: not asked again",
          lambda bench: _not_asked_again(bench, None)),
    Check("C6.2", Level.MUST, CALLING, "an empty Bundle means that there is none: not asked again",
          lambda bench: _not_asked_again(bench, {"resourceType": "Bundle", "type": "searchset", "total": 0})),
    Check("C6.3", Level.MUST, CALLING, "a Bundle with link next is followed with the token", _more_pages),
    Check("C8.1", Level.SHOULD, CALLING, "the same is said with prefetch and with own access", _either_way),
    Check("P1.1", Level.MUST, TEMPLATE, "templates use known tokens only", _tokens_are_known),
    Check("P1.2", Level.MUST, TEMPLATE, "tokens are replaced from the context", _tokens_are_filled),
    Check("P2.1", Level.MAY, TEMPLATE, "FHIRPath in templates keeps to the simple subset", _paths),
    Check("P3.1", Level.MAY, TEMPLATE, "a token without a value is not asked with nothing", _user_tokens),
    Check("P4.1", Level.MAY, "own rule", "a value never widens a query", _encoded),
)  # fmt: skip
