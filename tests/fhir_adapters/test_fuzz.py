"""Nothing a client sends makes a 5xx, and every refusal is an OperationOutcome. On both databases."""

import json
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fhir_adapters.definitions.structure import structure_of
from fhir_adapters.search.parameters import TYPES
from fhir_adapters.search.parse import names_for

EXAMPLES = settings.default.max_examples  # 100, in `make unit` 20
FUZZ = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]}
anything = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
types = st.sampled_from([*TYPES, "Nonsense", "metadata", "_search"])
names = sorted({name for each in TYPES for name in names_for(each)} | {"_page", "_format", "_include", "x:y"})
modifiers = st.sampled_from(["missing", "exact", "contains", "text", "not", "above", "below", "in", "not-in",
                             "of-type", "identifier", "Patient", "Group", "iterate"])  # fmt: skip
heads = st.sampled_from(["patient.", "subject:Patient.", "_has:Observation:patient:", "_has:Provenance:target:"])
asked = st.tuples(st.lists(heads, max_size=3).map("".join), st.sampled_from(names), modifiers | st.none()).map(
    lambda made: made[0] + made[1] + (f":{made[2]}" if made[2] else "")
)
plausible = st.sampled_from(
    ["final", "http://loinc.org|8867-4", "|x", "x|", "|", ",", "\\", "\\,", "ge2024",
     "ne2024-05-17T10:00:00+02:00",
     "9999-12-31", "0001-01-01T00:00:00+14:00", "Patient/1", "-date", "_id,-status", "0", "1", "999999999999", "%",
     "5.4|http://unitsofmeasure.org|mg", "gt1e400||kg", "ap-0", "a$b", "8480-6$gt5||mm[Hg]", "Observation:subject",
     "Patient:*", "true", "http://hl7.org/fhir/ValueSet/observation-status",
     "'; DROP TABLE resource; --", "\x00", "\U0001f600", "*", "count", "accurate", "json", "eyJhIjoxfQ==.AAAA"]
)  # fmt: skip
values = st.one_of(plausible, anything)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    values,
)
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(anything, inner, max_size=3), max_leaves=8
)
concepts = st.fixed_dictionaries({}, optional={"coding": st.lists(trees, max_size=3) | trees, "text": trees})
shaped = st.one_of(trees, concepts, st.lists(concepts, max_size=2), st.just({"reference": "Patient/1"}))


@st.composite
def bodies(draw):
    """Nearly a resource: real element names, any values, now and then the required ones."""
    resource_type = draw(st.sampled_from(list(TYPES)))
    elements = draw(st.lists(st.sampled_from(list(structure_of(resource_type).elements)), max_size=5))
    made = {name: draw(shaped) for name in elements}
    if draw(st.booleans()):
        made |= {"status": "final", "code": draw(concepts), "subject": {"reference": draw(values)}}
        made = {name: value for name, value in made.items() if name in structure_of(resource_type).elements}
    return resource_type, {"resourceType": resource_type, **made}


def check(reply):
    assert reply.status_code < 500, reply.data[:500]
    if reply.status_code >= 400:
        assert reply.mimetype == "application/fhir+json", (reply.status_code, reply.headers)
        assert json.loads(reply.data)["resourceType"] == "OperationOutcome"
    return reply


@pytest.fixture
def door(db, make_client):
    return make_client(db)


@given(bodies())
@settings(max_examples=EXAMPLES * 3 // 5, **FUZZ)
def test_any_resource_is_stored_or_refused_and_what_is_stored_is_found(door, body):
    resource_type, resource = body
    data = json.dumps(resource)
    reply = check(door.post(f"/fhir/{resource_type}", data=data, content_type="application/fhir+json"))
    if reply.status_code == 201:
        resource_id = json.loads(reply.data)["id"]
        assert check(door.get(f"/fhir/{resource_type}/{resource_id}")).data == reply.data
        assert reply.data in check(door.get(f"/fhir/{resource_type}?_id={resource_id}&_sort=-_lastUpdated")).data


@given(
    types, st.binary(max_size=60) | anything.map(str.encode), st.sampled_from(["application/json", "text/xml", ""])
)
@settings(max_examples=EXAMPLES * 3 // 5, **FUZZ)
def test_any_bytes_are_refused_politely(door, resource_type, data, content_type):
    check(door.post(f"/fhir/{resource_type}", data=data, content_type=content_type))
    check(door.post(f"/fhir/{resource_type}/_search", data=data, content_type=content_type))


@given(types, st.lists(st.tuples(asked | anything, values), max_size=4), st.booleans())
@settings(max_examples=EXAMPLES * 6 // 5, **FUZZ)
def test_any_query_is_answered_or_refused(door, resource_type, pairs, lenient):
    headers = {"Prefer": "handling=lenient"} if lenient else {}
    check(door.get(f"/fhir/{resource_type}?{urlencode(pairs)}", headers=headers))
    form = {"data": urlencode(pairs), "content_type": "application/x-www-form-urlencoded"}
    check(door.post(f"/fhir/{resource_type}/_search", **form, headers=headers))


@given(
    st.lists(anything.map(lambda part: quote(part, safe="")), min_size=1, max_size=5),
    st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
    st.sampled_from(["", "Observation/"]),
)
@settings(max_examples=EXAMPLES * 4 // 5, **FUZZ)
def test_any_address_and_method_is_answered_or_refused(door, parts, method, start):
    path = f"/fhir/{start}" + "/".join(part or "x" for part in parts)
    reply = door.open(path, method=method, headers={"If-None-Match": "x", "Accept": "*/*"})
    if method == "HEAD":
        assert reply.status_code < 500
    else:
        check(reply)


HEADERS = ["Accept", "Prefer", "If-None-Match", "If-Modified-Since", "Content-Type", "Content-Encoding"]


@given(st.sampled_from(HEADERS), st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=30))
@settings(max_examples=EXAMPLES * 3 // 5, **FUZZ)
def test_any_header_is_answered_or_refused(door, name, value):
    for path in ("/fhir/metadata", "/fhir/Patient", "/fhir/Patient/x"):
        check(door.get(path, headers={name: value}))
    check(door.post("/fhir/Patient", data=b"{}", headers={name: value}))
