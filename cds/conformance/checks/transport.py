"""Section 1.1 of the checklist, and the rules that hold for every answer: these checks run last."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx

from cds.conformance.bench import Bench, json_of
from cds.conformance.model import Check, Failed, Level, NotApplicable, Skipped, must

CLAUSE = "Overview"
_MAY_BE_EMPTY = {"$.cards", "$.services"}


def _encrypted(bench: Bench) -> None:
    if bench.loopback():
        raise NotApplicable("the server is on loopback; TLS is judged at its public address")
    must(urlsplit(bench.remote.base_url).scheme == "https", "the server is called over plain http")


def _good(bench: Bench) -> list[httpx.Response]:
    """Return the answers 200 with content of CDS Hooks: not those to a browser's preflight."""
    found = [one for one in bench.seen if one.status_code == 200 and one.request.method in {"GET", "POST"}]
    if not found:
        raise Skipped("nothing was answered 200")
    return found


def _json(bench: Bench) -> None:
    for answer in _good(bench):
        kind = answer.headers.get("Content-Type", "").partition(";")[0]
        must(kind == "application/json" or kind.endswith("+json"), f"an answer is of type {kind or 'none'}")
        json_of(answer)


def _empties(value: object, path: str) -> Iterator[str]:
    if value is None or value in ("", [], {}):
        yield path
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _empties(item, f"{path}.{name}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _empties(item, f"{path}[{number}]")


def _nothing_empty(bench: Bench) -> None:
    for answer in _good(bench):
        body = json_of(answer)
        if isinstance(body, dict) and {"cards", "services"} & body.keys():
            found = [path for path in _empties(body, "$") if path not in _MAY_BE_EMPTY]
            must(not found, f"null or empty: {found[:3]}")


def _plain_json(bench: Bench) -> None:
    for answer in _good(bench):
        json_of(answer)  # strict: comments and trailing commas are no JSON


def _extension(bench: Bench) -> None:
    service = bench.service()
    before = bench.call(service, bench.body(service)).status_code
    body = bench.body(service)
    body["extension"] = {"com.example.request": {"trigger": "opened", "number": 1}}
    body["context"]["extension"] = {"com.example.context": [1, 2]}
    status = bench.call(service, body).status_code
    must(status == before, f"with extension objects it answers {status} in place of {before}")


def _unknown_members(bench: Bench) -> None:
    service = bench.service()
    body = bench.body(service) | {"com.example.more": 1}
    body["context"]["com.example.more"] = "x"
    status = bench.call(service, body).status_code
    must(status == 200, f"answered {status}")


def _extension_of_another_kind(bench: Bench) -> None:
    service = bench.service()
    status = bench.call(service, bench.body(service) | {"extension": "text"}).status_code
    must(400 <= status < 500, f"answered {status}")


def _problems(bench: Bench) -> None:
    told = [one for one in bench.seen if one.status_code >= 400 and one.status_code != 401]
    if not told:
        raise Skipped("no error was seen")
    for answer in told:
        try:
            body = json_of(answer)
        except Failed:
            body = None
        good = isinstance(body, dict) and body.get("resourceType") == "OperationOutcome" and body.get("issue")
        must(good, f"a {answer.status_code} has no OperationOutcome")


def _no_server_error(bench: Bench) -> None:
    if not bench.seen:
        raise Skipped("nothing was answered")
    broken = [one.status_code for one in bench.seen if one.status_code >= 500]
    must(not broken, f"{len(broken)} of {len(bench.seen)} requests were answered with a server error")


CHECKS = (
    Check(
        "T4.1", Level.MUST, "Extensions", "extension objects of request and context are let through", _extension
    ),
    Check("T4.2", Level.SHOULD, "Extensions", "members that nobody knows are ignored", _unknown_members),
    Check("T4.3", Level.MAY, "own rule", "an extension that is no object is refused", _extension_of_another_kind),
    Check("T1.1", Level.MUST, CLAUSE, "the server is called over TLS", _encrypted),
    Check("T1.2", Level.MUST, CLAUSE, "answers are JSON by RFC 8259, and say so", _json),
    Check("T2.1", Level.MUST, CLAUSE, "nothing null or empty is sent", _nothing_empty),
    Check("T3.1", Level.SHOULD, CLAUSE, "no comments and no trailing commas", _plain_json),
    Check("T5.1", Level.SHOULD, "HTTP Status Codes", "every error but a 401 is an OperationOutcome", _problems),
    Check("T5.2", Level.MAY, "own rule", "no request of this checklist is answered with a 5xx", _no_server_error),
)
