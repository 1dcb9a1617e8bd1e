"""Section 1.3 of the checklist: calls, what must be refused, and how long an answer takes."""

import statistics
from collections.abc import Callable

from cds.conformance.bench import Bench, JsonObject, json_of
from cds.conformance.model import Check, Level, NotApplicable, Skipped, must

REQUEST, RESPONSE = "HTTP Request", "HTTP Response"
CALLS = 3  # of each service; the median is judged
Change = Callable[[JsonObject], object]


def refused(bench: Bench, change: Change) -> None:
    """Pass when a good call is refused once `change` has broken it. Whether it was good is checked first."""
    service = bench.service()
    body = bench.body(service)
    broken = change(body)
    answer = bench.call(service, body if broken is None else broken)
    must(400 <= answer.status_code < 500, f"answered {answer.status_code}")


def _without(name: str) -> Callable[[Bench], None]:
    return lambda bench: refused(bench, lambda body: body.pop(name) and None)


def _with(**members: object) -> Callable[[Bench], None]:
    return lambda bench: refused(bench, lambda body: body.update(members))


def _no_fhir_server(bench: Bench) -> None:
    granted = {key: value for key, value in bench.grant().items() if key == "fhirAuthorization"}
    refused(bench, lambda body: body.update(granted))


def _foreign_hook(bench: Bench) -> None:
    for service, _ in bench.answering():
        served = {one["hook"] for one in bench.services() if one["id"] == service["id"]}
        other = next((hook for hook in ("encounter-discharge", "patient-view") if hook not in served), None)
        if other:
            body = bench.body(service) | {"hook": other, "context": bench.context(other)}
            status = bench.call(service, body).status_code
            must(400 <= status < 500, f"answered {status}")
            return
    raise NotApplicable("every service is for every hook")


def _missing_context_field(bench: Bench) -> None:
    refused(bench, lambda body: body["context"].pop("patientId") and None)


def _unknown_service(bench: Bench) -> None:
    body = bench.body(bench.service())
    answer = bench.send("POST", "/cds-services/no-such-service-here", body=body, token=_token(bench))
    must(answer.status_code == 404, f"answered {answer.status_code}")


def _token(bench: Bench) -> str | None:
    return bench.remote.token("/cds-services/no-such-service-here")


def _cards(bench: Bench) -> None:
    for service, answer in bench.answering():
        body = json_of(answer)
        must(isinstance(body, dict) and isinstance(body.get("cards"), list), f"{service['id']}: no cards array")
        for name in ("systemActions", "extension"):
            must(body.get(name, ["some"]), f"{service['id']}: {name} is there and empty")


def _in_time(bench: Bench) -> None:
    took = {}
    for service, _ in bench.answering():
        times = [bench.call(service, bench.body(service)).elapsed.total_seconds() * 1000 for _ in range(CALLS)]
        took[service["id"]] = statistics.median(times)
    slow = {ident: round(ms) for ident, ms in took.items() if ms > bench.options.target_ms}
    must(not slow, f"median above {bench.options.target_ms} ms: {slow}")


def _unknown_hook(bench: Bench) -> None:
    refused(bench, lambda body: body.update(hook="patient-veiw"))


def _foreign_prefetch(bench: Bench) -> None:
    """Somebody else's Patient among the data: the worst mix-up there is. Our own rule (goal 8b)."""
    service = bench.service()
    if not service.get("prefetch"):
        raise NotApplicable("the service asks for no prefetch")
    body = bench.body(service)
    patients = [value for value in body["prefetch"].values() if value and value["resourceType"] == "Patient"]
    if not patients:
        raise Skipped("the service asks for no Patient")
    patients[0]["id"] = "somebody-else"
    answer = bench.call(service, body)
    must(400 <= answer.status_code < 500, f"answered {answer.status_code}")


CHECKS = (
    Check("C1.1", Level.MUST, REQUEST, "a call without hook is refused", _without("hook")),
    Check("C1.2", Level.MUST, REQUEST, "a call without hookInstance is refused", _without("hookInstance")),
    Check("C1.3", Level.MUST, REQUEST, "a hookInstance that is no UUID is refused", _with(hookInstance="first")),
    Check("C1.4", Level.MUST, REQUEST, "a call without context is refused", _without("context")),
    Check("C1.5", Level.MUST, REQUEST, "a context without a required field is refused", _missing_context_field),
    Check("C1.6", Level.MUST, REQUEST, "fhirAuthorization without fhirServer is refused", _no_fhir_server),
    Check("C1.7", Level.MUST, REQUEST, "a hook that this service is not for is refused", _foreign_hook),
    Check("C1.8", Level.MUST, REQUEST, "a hook that nobody knows is refused", _unknown_hook),
    Check("C1.9", Level.MUST, REQUEST, "a body that is not JSON is refused",
          lambda bench: refused(bench, lambda _: b'{"hook": ')),
    Check("C1.10", Level.MUST, REQUEST, "a body that is no object is refused",
          lambda bench: refused(bench, lambda body: [body])),
    Check("C1.11", Level.MUST, REQUEST, "a hookInstance that is no text is refused", _with(hookInstance=7)),
    Check("C1.12", Level.MUST, REQUEST, "a service that is not there is a 404", _unknown_service),
    Check("C1.13", Level.MAY, "own rule", "another patient's data in the prefetch is refused", _foreign_prefetch),
    Check("C2.1", Level.MUST, RESPONSE, "a good call is answered 200 with a cards array, and nothing empty beside",
          _cards),
    Check("C7.1", Level.SHOULD, "Performance", "an answer takes in the order of 500 ms", _in_time),
)  # fmt: skip
