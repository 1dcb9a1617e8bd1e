"""Section 1.6 of the checklist: fhirAuthorization; and where a service may go with it (J9)."""

from collections.abc import Callable

from cds.conformance.bench import FHIR_TOKEN, Bench
from cds.conformance.checks.calls import refused
from cds.conformance.checks.data import several
from cds.conformance.model import Check, Level, Skipped, must

CLAUSE = "FHIR Resource Access"


def _without(name: str) -> Callable[[Bench], None]:
    def run(bench: Bench) -> None:
        granted = bench.grant()
        del granted["fhirAuthorization"][name]
        refused(bench, lambda body: body.update(granted))

    return run


def _other_token_type(bench: Bench) -> None:
    granted = bench.grant()
    granted["fhirAuthorization"] |= {"token_type": "MAC"}
    refused(bench, lambda body: body.update(granted))


def _scopes(bench: Bench) -> None:
    service = bench.service()
    for scope in (
        "patient/*.read user/Observation.read",
        "patient/*.rs",
        "user/Observation.rs?category=laboratory",
    ):
        body = bench.body(service, fhir=True)
        body["fhirAuthorization"]["scope"] = scope
        status = bench.call(service, body).status_code
        must(status == 200, f"a scope of SMART {'v1' if '.read' in scope else 'v2'} is answered {status}")


def _other_patient(bench: Bench) -> None:
    granted = bench.grant()
    granted["fhirAuthorization"]["patient"] = "somebody-else"
    refused(bench, lambda body: body.update(granted))


def _token_is_used(bench: Bench) -> None:
    service = bench.fetching()
    bench.fhir.forget()
    bench.call(service, bench.body(service, prefetch=False, fhir=True))
    shown = {one.token for one in bench.fhir.asked()}
    must(shown == {FHIR_TOKEN}, "the access token was not shown as Bearer to the server that it is for")


def _token_is_kept(bench: Bench) -> None:
    bench.call(bench.service(), bench.body(bench.service(), fhir=True))
    if not bench.seen:
        raise Skipped("nothing was answered")
    told = [answer for answer in bench.seen if FHIR_TOKEN.encode() in answer.content]
    must(not told, "an answer repeats the access token")


def _unlisted_server(bench: Bench) -> None:
    service = bench.fetching()
    bench.elsewhere.forget()
    body = bench.body(service, prefetch=False) | bench.grant(bench.elsewhere.base)
    status = bench.call(service, body).status_code
    must(not bench.elsewhere.asked(), "a FHIR server that is not listed was called, with the token")
    must(400 <= status < 500, f"answered {status}")


def _redirect(bench: Bench) -> None:
    service = bench.fetching()
    bench.fhir.forget()
    bench.elsewhere.forget()
    bench.fhir.behaviour.redirect_to = bench.elsewhere.base
    bench.call(service, bench.body(service, prefetch=False, fhir=True))
    bench.fhir.forget()
    must(not bench.elsewhere.asked(), "a redirect to another server was followed")


def _next_elsewhere(bench: Bench) -> None:
    service, key, full = several(bench)
    body = bench.body(service, fhir=True)
    url = f"{bench.elsewhere.base}/Observation?patient={bench.patient_id}"
    body["prefetch"][key] = full | {"link": [{"relation": "next", "url": url}]}
    bench.elsewhere.forget()
    bench.call(service, body)
    must(not bench.elsewhere.asked(), "link next to another server was followed")


MEMBERS = ("access_token", "token_type", "expires_in", "scope", "subject")
CHECKS = (
    *(
        Check(f"A1.{number}", Level.MUST, CLAUSE, f"fhirAuthorization without {name} is refused", _without(name))
        for number, name in enumerate(MEMBERS, start=1)
    ),
    Check("A1.6", Level.MUST, CLAUSE, "a token_type other than Bearer is refused", _other_token_type),
    Check("A2.1", Level.SHOULD, CLAUSE, "scopes of SMART v1 and v2 are understood", _scopes),
    Check("A3.1", Level.MUST, CLAUSE, "the access token is shown to fhirServer", _token_is_used),
    Check("A4.1", Level.MUST, CLAUSE, "the access token is repeated to nobody", _token_is_kept),
    Check("A5.1", Level.MAY, "own rule", "a token for another patient is refused", _other_patient),
    Check("J9.1", Level.MAY, "own rule", "a FHIR server that is not listed is never called", _unlisted_server),
    Check("J9.2", Level.MAY, "own rule", "a redirect leads nowhere else", _redirect),
    Check("J9.3", Level.MAY, "own rule", "a next link leads nowhere else", _next_elsewhere),
)
