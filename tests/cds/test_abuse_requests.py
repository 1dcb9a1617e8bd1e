"""More than 200 bad requests to the hooks: each is the caller's mistake, said where it is, and not repeated.

A case is one change of a call that is answered with a card. Its words (`Zzcanary`) must come back nowhere.
"""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from cds.feedback.desk import Desk
from cds.hooks import HOOKS
from cds.service import Service
from cds.testing import HOOK_INSTANCE, one_card_service

CALL, FEEDBACK = "/cds-services/any", "/cds-services/any/feedback"
JSON = "application/json"
WORD = "Zzcanary Quillon"
GONE = object()  # as a value: the field is left out
ME = {"reference": "Patient/p1"}
THEM = {"reference": "Patient/zzcanary-2"}


def resource(kind: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": kind, "id": "r1", **more}


def bundle(*resources: Any) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in resources]}


ORDER = resource("ServiceRequest", subject=ME)
PILLS = resource("MedicationRequest", subject=ME)
ORDERS = {"draftOrders": bundle(ORDER)}
VISIT = {"encounterId": "e1"}
CONTEXTS: dict[str, dict[str, Any]] = {
    "patient-view": VISIT,
    "order-select": {"selections": ["ServiceRequest/r1"], **ORDERS},
    "order-sign": ORDERS,
    "order-dispatch": {
        "dispatchedOrders": ["ServiceRequest/r1"],
        "performer": "Organization/o1",
        "fulfillmentTasks": [resource("Task", **{"for": ME})],
    },
    "appointment-book": {"appointments": bundle(resource("Appointment", participant=[{"actor": ME}]))},
    "encounter-start": VISIT,
    "encounter-discharge": VISIT,
    "problem-list-item-create": {"conditions": bundle(resource("Condition", subject=ME))},
    "allergyintolerance-create": {"allergyIntolerance": resource("AllergyIntolerance", patient=ME)},
    "medication-refill": {"medications": bundle(PILLS)},
    "medication-verify": {"medication": PILLS},
    "medication-prescribe": {"medications": bundle(PILLS)},
    "order-review": {"orders": bundle(ORDER)},
}
GRANT = {
    "access_token": "t0ken",
    "token_type": "Bearer",
    "expires_in": 300,
    "scope": "patient/*.rs",
    "subject": "c",
}
REPORT = {
    "card": HOOK_INSTANCE,
    "outcome": "overridden",
    "overrideReason": {"userComment": "seen"},
    "outcomeTimestamp": "2026-11-22T09:00:00Z",
}


def call(hook: str = "patient-view", **more: Any) -> dict[str, Any]:
    user = {} if hook == "order-dispatch" else {"userId": "Practitioner/d1"}
    context = {"patientId": "p1", **user, **CONTEXTS[hook]}
    return {"hook": hook, "hookInstance": HOOK_INSTANCE, "context": context, **more}


def changed(whole: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy with `value` at a dotted path."""
    copy = json.loads(json.dumps(whole))
    *parents, last = path.split(".")
    place = copy
    for name in parents:
        place = place[int(name)] if isinstance(place, list) else place[name]
    if value is GONE:
        del place[last]
    else:
        place[last] = value
    return copy


@dataclass(frozen=True)
class Case:
    """at: the path that the answer must name, or one below it; None where the request as a whole is at fault."""

    name: str
    body: Any
    status: int = 400
    at: str | None = None
    path: str = CALL
    method: str = "POST"
    content_type: str | None = JSON
    headers: dict[str, str] = field(default_factory=dict)

    def data(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


# What JSON can hold where something else is due.
KINDS: dict[str, Any] = {
    "null": None,
    "true": True,
    "a number": 4711,
    "a fraction": 0.5,
    "nothing": "",
    "words": WORD,
    "a list": [WORD],
    "lists": [[[]]],
    "no list": [],
    "an object": {"Zzcanary": WORD},
    "no object": {},
}
OBJECTS = {name: value for name, value in KINDS.items() if not isinstance(value, dict)}


def fields_at_the_top() -> list[Case]:
    found = []
    for name in ("hook", "hookInstance", "fhirServer"):
        found += [Case(f"{name}: {kind}", changed(call(), name, value), at=name) for kind, value in KINDS.items()]
    for name in ("context", "prefetch", "extension"):
        found += [
            Case(f"{name}: {kind}", changed(call(), name, value), at=name) for kind, value in OBJECTS.items()
        ]
    for name in ("hook", "hookInstance", "context"):
        found.append(Case(f"{name}: left out", changed(call(), name, GONE), at=name))
    for kind, value in OBJECTS.items():
        body = changed(call(), "context.extension", value)
        found.append(Case(f"context.extension: {kind}", body, at="context.extension"))
    return found


def fields_of_each_hook() -> list[Case]:
    found = []
    for name, hook in HOOKS.items():
        for rule in hook.fields:
            path = f"context.{rule.name}"
            bad: dict[str, Any] = {"null": None, "a number": 4711, "words": WORD, "lists": [[[]]]}
            if rule.required:
                bad["left out"] = GONE
            whole = changed(call(name), path, "Practitioner/d1") if rule.name == "userId" else call(name)
            found += [Case(f"{name} {path}: {kind}", changed(whole, path, v), at=path) for kind, v in bad.items()]
    return found


def identifiers() -> list[Case]:
    ids = ["", " ", "Patient/p1", "../p1", ".", "..", "p1/zzcanary", "p1?zzcanary", "zzcanäry", "z" * 65, "p1\n"]
    found = [Case(f"patientId: {i!r}"[:60], changed(call(), "context.patientId", i), at="context") for i in ids]
    users = [
        "Practitioner",
        "Practitioner/",
        "/d1",
        "Zzcanary/d1",
        "https://zzcanary/Practitioner/d1",
        "Device/d1",
    ]
    found += [Case(f"userId: {u}", changed(call(), "context.userId", u), at="context.userId") for u in users]
    uuids = [HOOK_INSTANCE[:-1], HOOK_INSTANCE + "0", HOOK_INSTANCE.replace("-", ""), f"{{{HOOK_INSTANCE}}}"]
    found += [Case(f"hookInstance: {u}", call(hookInstance=u), at="hookInstance") for u in uuids]
    hooks = ["Patient-View", "patient-view ", "patient_view", "order-sign\u0000", "org.zzcanary.hook", "p" * 5000]
    return found + [
        Case(f"hook: {h!r}"[:40], changed(call(), "hook", h), at=None if "\0" in h else "hook") for h in hooks
    ]


def orders() -> list[Case]:
    def drafts(kind: str, value: Any, at: str = "context.draftOrders") -> Case:
        return Case(f"draftOrders: {kind}", changed(call("order-sign"), "context.draftOrders", value), at=at)

    deep: Any = WORD
    for _ in range(70):
        deep = [deep]
    return [
        drafts("no Bundle", ORDER),
        drafts("entries that are an object", {"resourceType": "Bundle", "entry": {}}),
        drafts("an entry that is words", {"resourceType": "Bundle", "entry": [WORD]}),
        drafts("an entry without a resource", {"resourceType": "Bundle", "entry": [{}]}),
        drafts("a resource without a type", bundle({"id": "zzcanary"})),
        drafts("a type that is a number", bundle({"resourceType": 4711})),
        drafts("a type of another world", bundle({"resourceType": "zzcanary!"})),
        drafts("a Bundle within", bundle(bundle(ORDER))),
        drafts("of somebody else", bundle(ORDER | {"subject": THEM})),
        drafts("of nobody", bundle(changed(ORDER, "subject", GONE))),
        drafts("of a subject that is words", bundle(ORDER | {"subject": WORD})),
        drafts("of a list of subjects", bundle(ORDER | {"subject": [ME, THEM]})),
        Case("draftOrders: nested", changed(call("order-sign"), "context.draftOrders", deep)),
        Case(
            "selections: not among the drafts",
            changed(call("order-select"), "context.selections", ["ServiceRequest/zzcanary"]),
            at="context.selections[0]",
        ),
        Case(
            "selections: absolute",
            changed(call("order-select"), "context.selections", ["https://zzcanary/ServiceRequest/r1"]),
            at="context.selections[0]",
        ),
        Case(
            "selections: 1001",
            changed(call("order-select"), "context.selections", ["ServiceRequest/r1"] * 1001),
            at="context.selections",
        ),
        Case(
            "order-dispatch: two forms that differ",
            changed(call("order-dispatch"), "context.order", "ServiceRequest/zzcanary"),
            at="context.order",
        ),
    ]


def fhir_server() -> list[Case]:
    bad = [
        "ehr.example/fhir",
        "//zzcanary/fhir",
        "ftp://zzcanary/fhir",
        "file:///etc/zzcanary",
        "javascript:zzcanary",
        "https://",
        "https:///fhir",
        "http://[::1",
        "https://zzcanary/" + "a" * 2048,
    ]
    found = [Case(f"fhirServer: {text[:40]}", call(fhirServer=text), at="fhirServer") for text in bad]
    for kind, value in OBJECTS.items():
        body = call(fhirServer="https://ehr.example/fhir", fhirAuthorization=value)
        found.append(Case(f"fhirAuthorization: {kind}", body, at="fhirAuthorization"))
    granted = call(fhirServer="https://ehr.example/fhir", fhirAuthorization=GRANT | {"patient": "p1"})
    for name in (*GRANT, "patient"):
        bad_values: dict[str, Any] = {"null": None, "true": True, "a list": [WORD], "an object": {}, "nothing": ""}
        if name != "patient":
            bad_values["left out"] = GONE
        path = f"fhirAuthorization.{name}"
        found += [Case(f"{path}: {kind}", changed(granted, path, v), at=path) for kind, v in bad_values.items()]
    for name, value in (
        ("access_token", "t0ken\r\nX-Zzcanary: 1"),
        ("access_token", "zzcanary quillon"),
        ("access_token", "z" * 20_000),
        ("access_token", "tökén"),
        ("token_type", "bearer zzcanary"),
        ("token_type", "MAC"),
        ("expires_in", -1),
        ("expires_in", 0.5),
        ("expires_in", "300"),
        ("patient", "zzcanary-2"),
        ("extension", WORD),
    ):
        path = f"fhirAuthorization.{name}"
        found.append(Case(f"{path} = {value!r}"[:70], changed(granted, path, value), at=path))
    without = changed(granted, "fhirServer", GONE)
    return [*found, Case("fhirAuthorization without fhirServer", without, at="fhirServer")]


def prefetch() -> list[Case]:
    bad: dict[str, Any] = {
        **{kind: value for kind, value in KINDS.items() if value is not None},
        "a type that is a list": {"resourceType": ["Patient"]},
        "an entry that is null": {"resourceType": "Bundle", "entry": [None]},
        "entries that are words": {"resourceType": "Bundle", "entry": WORD},
        "a Bundle within": bundle(bundle()),
        "another patient": {"resourceType": "Patient", "id": "zzcanary-2"},
        "a patient without id": {"resourceType": "Patient"},
        "an observation of another": bundle(resource("Observation", subject=THEM)),
        "an observation of nobody": resource("Observation"),
        "an observation of an identifier": resource("Observation", subject={"identifier": {"value": WORD}}),
        "an observation of elsewhere": resource(
            "Observation", subject={"reference": "https://zz/Patient/zzcanary"}
        ),
    }
    known = [
        Case(f"prefetch.patient: {kind}", call(prefetch={"patient": v}), at="prefetch") for kind, v in bad.items()
    ]
    return known + [
        Case(f"prefetch.zzcanary: {kind}", call(prefetch={"zzcanary": v}), at="prefetch")
        for kind, v in bad.items()
    ]


def encodings() -> list[Case]:
    text = json.dumps(call(extension={"zzcanary": "Quillon"}))
    many = "[" * 65 + "]" * 65
    raw = {
        "empty": b"",
        "blank": b" \r\n\t",
        "null": b"null",
        "a list": b"[]",
        "a string": b'"zzcanary"',
        "a number": b"4711",
        "cut off": text[:-1].encode(),
        "cut in a character": text.encode().replace(b"Quillon", b"Quill\xc3"),
        "with more behind it": text.encode() + b"{}",
        "twice": text.encode() * 2,
        "with a trailing comma": text.encode()[:-1] + b",}",
        "with a comment": b"/* zzcanary */" + text.encode(),
        "in single quotes": text.replace('"', "'").encode(),
        "a byte order mark": b"\xef\xbb\xbf" + text.encode(),
        "UTF-16": text.encode("utf-16"),
        "UTF-16 without a mark": text.encode("utf-16-le"),
        "UTF-32": text.encode("utf-32-be"),
        "UTF-7": b"+AHs-" + text.encode(),
        "Latin-1": text.encode().replace(b"Quillon", b"Quill\xf6n"),
        "an overlong character": text.encode().replace(b"Quillon", b"\xc0\xaf"),
        "a surrogate in UTF-8": text.encode().replace(b"Quillon", b"\xed\xa0\x80"),
        "a lone surrogate": text.encode().replace(b"Quillon", rb"\ud800"),
        "a lone low surrogate": text.encode().replace(b"Quillon", rb"\udfff x"),
        "a name that is a lone surrogate": text.encode().replace(b"zzcanary", rb"\udc00"),
        "U+0000": text.encode().replace(b"Quillon", rb"\u0000"),
        "a raw control character": text.encode().replace(b"Quillon", b"\x07"),
        "a raw NUL": text.encode().replace(b"Quillon", b"\x00"),
        "NaN": text.encode().replace(b'"Quillon"', b"NaN"),
        "Infinity": text.encode().replace(b'"Quillon"', b"-Infinity"),
        "1e999": text.encode().replace(b'"Quillon"', b"1e999"),
        "1e99999": text.encode().replace(b'"Quillon"', b"1e99999"),
        "5000 digits": text.encode().replace(b'"Quillon"', b"7" * 5000),
        "5000 decimals": text.encode().replace(b'"Quillon"', b"0." + b"7" * 5000),
        "a leading zero": text.encode().replace(b'"Quillon"', b"0711"),
        "a hexadecimal number": text.encode().replace(b'"Quillon"', b"0x47"),
        "65 lists": text.encode().replace(b'"Quillon"', many.encode()),
        "100,000 lists": b"[" * 100_000,
        "100,000 objects": b'{"a":' * 100_000,
        "100,000 closed": b"]" * 100_000,
        "an escape that is none": text.encode().replace(b"Quillon", rb"\q"),
        "a form": b"hook=zzcanary&context=quillon",
        "gzip without saying so": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
        "a pickle": b"\x80\x04\x95zzcanary.",
        "XML": b"<Bundle xmlns='http://hl7.org/fhir'><zzcanary/></Bundle>",
        "patientId twice": text.encode().replace(
            b'"patientId": "p1"', b'"patientId": "p1", "patientId": "zzcanary"'
        ),
        "hook twice": text.encode().replace(b'{"hook"', b'{"hook": "patient-view", "hook"'),
        "a name twice by its escape": text.encode().replace(b'{"hook"', rb'{"h\u006fok": "patient-view", "hook"'),
        "__proto__ twice": text.encode().replace(b'"Quillon"', b'{"__proto__": 1, "__proto__": 2}'),
    }
    return [Case(f"body: {name}", data) for name, data in raw.items()]


def transport() -> list[Case]:
    good = call()
    kinds = [";", "text/plain", "text/json", "application/xml", "application/fhir+json", "application/jsonp",
             "*/*",
             "multipart/form-data; boundary=zzcanary", "application/x-www-form-urlencoded", "zzcanary", None,
             "application/json; charset=utf-16", "application/json; charset=zzcanary"]  # fmt: skip
    codings = ["gzip", "deflate", "br", "identity, gzip", "zzcanary", "gzip, gzip, gzip"]
    methods = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"]
    nowhere = ["/cds-services/", "/cds-services/zzcanary", "/cds-services/any/", "/cds-services/any/zzcanary",
               "/cds-services/ANY", "/cds-services/any%2Ffeedback/x", "/cds-services/%00",
               "/cds-services/%FF%FE", "/cds-services/../any/x", "/cds-services/any;zzcanary=1",
               "/cds-services/" + "z" * 4000, "/cds-services/any/feedback/zzcanary"]  # fmt: skip
    return [
        *(Case(f"content type {kind}", good, 415, content_type=kind) for kind in kinds),
        *(Case(f"content coding {name}", good, 415, headers={"Content-Encoding": name}) for name in codings),
        *(Case(f"{method} of a service", good, 405, method=method) for method in methods),
        *(Case(f"{method} of its feedback", good, 405, method=method, path=FEEDBACK) for method in methods),
        *(
            Case(f"{method} of discovery", good, 405, method=method, path="/cds-services")
            for method in ("POST", "PUT")
        ),
        *(Case(f"POST to {path}"[:60], good, 404, path=path) for path in nowhere),
        Case("a body of 5 MiB and a byte", b" " * (5 * 1024 * 1024 + 1), 413),
        Case("feedback of 5 MiB and a byte", b" " * (5 * 1024 * 1024 + 1), 413, path=FEEDBACK),
    ]


def feedback() -> list[Case]:
    def about(name: str, body: Any, at: str | None = "feedback") -> Case:
        return Case(f"feedback: {name}", body, at=at, path=FEEDBACK)

    one = {"feedback": [REPORT]}
    lists = {kind: value for kind, value in KINDS.items() if not isinstance(value, list)}
    found = [about(kind, {"feedback": value}) for kind, value in lists.items()]
    found += [
        about(f"an item that is {kind}", {"feedback": [value]}, "feedback[0]") for kind, value in KINDS.items()
    ]
    for name in ("card", "outcome", "outcomeTimestamp"):
        for kind, value in {**KINDS, "left out": GONE}.items():
            found.append(
                about(f"{name}: {kind}", changed(one, f"feedback.0.{name}", value), f"feedback[0].{name}")
            )
    for kind, value in KINDS.items():
        path = "overrideReason"
        found.append(about(f"{path}: {kind}", changed(one, f"feedback.0.{path}", value), f"feedback[0].{path}"))
    times = ["2026-11-22", "2026-11-22T09:00:00", "2026-11-22T09:00:00+01:00", "2026-02-30T09:00:00Z",
             "2026-11-22T25:00:00Z", "0000-01-01T00:00:00Z", "2026-11-22T09:00:00Z zzcanary", "1763802000",
             "２０２６-11-22T09:00:00Z", "2026-11-22T09:00:61Z"]  # fmt: skip
    for text in times:
        body = changed(one, "feedback.0.outcomeTimestamp", text)
        found.append(about(f"at {text}", body, "feedback[0].outcomeTimestamp"))
    accepted = changed(changed(one, "feedback.0.outcome", "accepted"), "feedback.0.overrideReason", GONE)
    return [
        *found,
        about("left out", {}),
        about("accepted without suggestions", accepted, "feedback[0].acceptedSuggestions"),
        about(
            "overridden with suggestions", changed(one, "feedback.0.acceptedSuggestions", [{"id": HOOK_INSTANCE}])
        ),
        about("suggestions that are words", changed(accepted, "feedback.0.acceptedSuggestions", WORD)),
        about("a suggestion that is words", changed(accepted, "feedback.0.acceptedSuggestions", [WORD])),
        about(
            "a comment of 10,001 characters", changed(one, "feedback.0.overrideReason.userComment", "z" * 10_001)
        ),
        about("a card that was never sent", one, "feedback[0].card"),
        about("1001 reports", {"feedback": [REPORT] * 1001}),
        about("the second of two", {"feedback": [REPORT, {}]}, "feedback[1].card"),
        about("not JSON", b"{", None),
    ]


TABLES = (
    fields_at_the_top,
    fields_of_each_hook,
    identifiers,
    orders,
    fhir_server,
    prefetch,
    encodings,
    transport,
    feedback,
)
CASES = {table.__name__: table() for table in TABLES}


@pytest.fixture(scope="module")
def services() -> tuple[Service, ...]:
    """One service of one id on every hook of the library."""
    plain = one_card_service()
    return tuple(
        Service("any", hook, plain.title, plain.description, plain.prefetch, plain.answer)
        for hook in HOOKS.values()
    )


@pytest.fixture
def any_hook(make_client, services, shared_db):
    desk = Desk(shared_db, lambda: pytest.fail("nothing is to be stored"), lambda *_: None)
    return make_client(services, feedback=desk)


def send(client, case: Case):
    return client.open(
        case.path, method=case.method, data=case.data(), content_type=case.content_type, headers=case.headers
    )


def test_there_are_more_than_two_hundred_cases_and_none_is_there_twice():
    cases = [case for table in CASES.values() for case in table]
    sent = {(c.data(), c.path, c.method, c.content_type, *sorted(c.headers.items())) for c in cases}
    assert len({case.name for case in cases}) == len(cases) >= 200
    assert len(sent) >= 200


@pytest.mark.parametrize("hook", HOOKS)
def test_without_a_mistake_every_hook_is_answered_with_the_card(any_hook, hook):
    granted = call(hook, fhirServer="https://ehr.example/fhir", fhirAuthorization=GRANT, extension={"x": WORD})
    for body in (call(hook), granted, call(hook, prefetch={"patient": None, "x": {"resourceType": "Basic"}})):
        answer = any_hook.post(CALL, json=body)
        assert (answer.status_code, len(answer.json["cards"])) == (200, 1), answer.text


@pytest.mark.parametrize("table", CASES)
def test_a_mistake_is_said_where_it_is_and_not_repeated(any_hook, table):
    wrong = {case.name: problem for case in CASES[table] if (problem := problem_of(case, send(any_hook, case)))}
    assert not wrong


def problem_of(case: Case, answer: Any) -> str | None:
    """Return what is wrong with the answer to a case."""
    said = f"{answer.text} {answer.headers}".lower()
    if answer.status_code != case.status:
        return f"{answer.status_code} {answer.text}"
    if "zzcanary" in said or "quillon" in said:
        return f"it repeats what was sent: {answer.text}"
    if "access-control" in said:
        return "it is open to other origins"
    if case.method == "HEAD":
        return None
    outcome = answer.json or {}
    issues = outcome.get("issue", [])
    if outcome.get("resourceType") != "OperationOutcome" or len(issues) != 1 or not issues[0]["details"]["text"]:
        return f"no OperationOutcome of one issue: {answer.text}"
    where = issues[0].get("expression", [""])[0]
    if case.at is not None and where != case.at and not where.startswith((f"{case.at}.", f"{case.at}[")):
        return f"it is said at {where!r}"
    return None
