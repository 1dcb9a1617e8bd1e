"""Search answers what a reader of the R4 text would: compared with a brute-force oracle, on both databases.

The oracle shares nothing with the server: it reads the sent JSON for every question, with dates as datetimes.
"""

import json
import random
import threading
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from record_store.database import open_database
from record_store.migrate import migrate
from record_store.testing import database, postgres_absent, postgres_url

LOINC, SNOMED = "http://loinc.org", "http://snomed.info/sct"
STATUS_SYSTEM = "http://hl7.org/fhir/observation-status"
STUDIES = ["ImagingStudy/s1", "http://other.example/fhir/ImagingStudy/s1"]
PATIENTS = ["p1", "p2", "p3"]
CODES = [(LOINC, "2339-0"), (LOINC, "4548-4"), (SNOMED, "427359005"), (None, "local"), (LOINC, "a,b|c")]
TIMES = ["2024", "2024-05", "2024-05-17", "2024-05-17T10:00:00Z", "2024-05-17T10:00:00.250+02:00", "2023-12-31"]


def make_observations(rng, count):
    return [_observation(rng, number) for number in range(count)]


def _observation(rng, number):
    codings = [_coding(code) for code in rng.sample(CODES, rng.choice([1, 1, 1, 2]))]
    made = {
        "resourceType": "Observation",
        "status": rng.choice(["final", "preliminary", "amended"]),
        "code": {"coding": codings},
        "identifier": [{"system": "urn:x", "value": f"n{number}"}],
    }
    if rng.random() < 0.9:
        made["subject"] = {"reference": rng.choice([f"Patient/{rng.choice(PATIENTS)}", "Group/g1"])}
    if rng.random() < 0.7:
        made["category"] = [{"coding": [{"system": "urn:cat", "code": rng.choice(["imaging", "laboratory"])}]}]
    when = rng.random()
    if when < 0.6:
        made["effectiveDateTime"] = rng.choice(TIMES)
    elif when < 0.8:
        ends = {"start": "2024-03-01", "end": "2024-05-20"}
        made["effectivePeriod"] = {
            name: ends[name] for name in rng.choice([("start", "end"), ("start",), ("end",)])
        }
    if rng.random() < 0.3:
        made["derivedFrom"] = [
            {"reference": rng.choice(["ImagingStudy/s1", "http://other.example/fhir/ImagingStudy/s1"])}
        ]
    return made


def _coding(code):
    system, value = code
    return {"code": value} | ({"system": system} if system else {})


# ---------------------------------------------------------------- the oracle

EARLIEST, LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
PREFIXES = ["", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb"]


def span(text):
    """[first, beyond): the half-open range of a date, worked out with datetime and not with text."""
    if "T" in text:
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
        step = timedelta(milliseconds=1) if "." in text else timedelta(seconds=1)
        return at, at + step
    parts = [int(part) for part in text.split("-")]
    year, month, day = (*parts, 1, 1)[:3]
    first = datetime(year, month, day, tzinfo=UTC)
    if len(parts) == 1:
        return first, first.replace(year=first.year + 1)
    if len(parts) == 2:
        return first, (first + timedelta(days=32)).replace(day=1)
    return first, first + timedelta(days=1)


def spans_of(resource):
    if "effectiveDateTime" in resource:
        return [span(resource["effectiveDateTime"])]
    if "effectivePeriod" in resource:
        period = resource["effectivePeriod"]
        first = span(period["start"])[0] if "start" in period else EARLIEST
        return [(first, span(period["end"])[1] if "end" in period else LATEST)]
    return []


def date_matches(resource, asked):
    prefix, text = (asked[:2], asked[2:]) if asked[:2].isalpha() else ("eq", asked)
    first, beyond = span(text)
    for low, high in spans_of(resource):
        within = first <= low and high <= beyond
        if {
            "eq": within,
            "ne": not within,
            "gt": high > beyond,
            "lt": low < first,
            "ge": high > beyond or within,
            "le": low < first or within,
            "sa": low >= beyond,
            "eb": high <= first,
        }[prefix]:
            return True
    return False


def token_matches(pairs, asked):
    system, bar, code = asked.replace("\\,", "\0").replace("\\|", "\1").partition("|")
    system, code = (each.replace("\0", ",").replace("\1", "|") for each in (system, code))
    if not bar:
        return any(value == system for _, value in pairs)
    if not system:
        return any(owner is None and value == code for owner, value in pairs)
    return any(owner == system and (not code or value == code) for owner, value in pairs)


def codings(concepts):
    return [(each.get("system"), each["code"]) for concept in concepts for each in concept["coding"]]


def values_of(resource, name):
    match name:
        case "code":
            return codings([resource["code"]])
        case "category":
            return codings(resource.get("category", []))
        case "status":
            return [(STATUS_SYSTEM, resource["status"])]
        case "identifier":
            return [(each["system"], each["value"]) for each in resource["identifier"]]


def reference_matches(resource, name, asked):
    if name == "derived-from":
        return any(each["reference"] == asked for each in resource.get("derivedFrom", []))
    target = resource.get("subject", {}).get("reference")
    if name == "patient":
        return target == (asked if "/" in asked else f"Patient/{asked}")
    return target is not None and (target == asked if "/" in asked else target.endswith(f"/{asked}"))


def split_values(value):
    parts = value.replace("\\,", "\0").split(",")
    return [part.replace("\0", "\\,") for part in parts]


def matches(resource, query):
    for name, value in query:
        alternatives = split_values(value)
        if name == "date":
            ok = any(date_matches(resource, each) for each in alternatives)
        elif name in {"patient", "subject", "derived-from"}:
            ok = any(reference_matches(resource, name, each) for each in alternatives)
        else:
            ok = any(token_matches(values_of(resource, name), each) for each in alternatives)
        if not ok:
            return False
    return True


# ---------------------------------------------------------------- random questions


def random_query(rng):
    makers = [_ask_token, _ask_token, _ask_date, _ask_reference]
    return [rng.choice(makers)(rng) for _ in range(rng.choice([1, 1, 2, 3]))]


def _ask_token(rng):
    name = rng.choice(["code", "code", "category", "status", "identifier"])
    if name == "code":
        forms = [form for code in CODES for form in _token_forms(*code)]
    else:
        value = {"category": "imaging", "status": "final", "identifier": "n3"}[name]
        forms = _token_forms({"category": "urn:cat", "status": STATUS_SYSTEM, "identifier": "urn:x"}[name], value)
    return name, ",".join(rng.sample(forms, rng.choice([1, 1, min(2, len(forms))])))


def _token_forms(system, code):
    code = code.replace(",", "\\,").replace("|", "\\|")
    return [code, f"{system or 'urn:none'}|{code}", f"|{code}", f"{system or 'urn:none'}|"]


def _ask_date(rng):
    texts = [rng.choice(PREFIXES) + rng.choice([*TIMES, "2024-03-01", "2024-05-20", "2025"]) for _ in range(2)]
    return "date", ",".join(texts[: rng.choice([1, 1, 2])])


def _ask_reference(rng):
    name = rng.choice(["patient", "patient", "subject", "derived-from"])
    if name == "derived-from":
        return name, rng.choice(["ImagingStudy/s1", "http://other.example/fhir/ImagingStudy/s1"])
    forms = ["p1", "Patient/p2", "Patient/p1,p3", "p2,Patient/p3"] + (
        ["Group/g1", "g1"] if name == "subject" else []
    )
    return name, rng.choice(forms)


# ---------------------------------------------------------------- claims


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(request, tmp_path_factory, make_client_for):
    """A client and what was sent through it by id; shared, so these tests only read."""
    if request.param == "sqlite":
        db = database(tmp_path_factory.mktemp("oracle"))
        yield fill(make_client_for(db))
        db.dispose()
        return
    if reason := postgres_absent():
        pytest.skip(reason)
    with postgres_url() as url:
        db = open_database(url)
        migrate(db)
        yield fill(make_client_for(db))
        db.dispose()


def fill(client):
    stored = {}
    for resource in make_observations(random.Random(11), 60):
        reply = client.post("/fhir/Observation", json=resource, content_type="application/fhir+json")
        assert reply.status_code == 201, reply.data
        stored[reply.headers["Location"].split("/")[-3]] = resource
    return client, stored


def ids_found(client, query):
    bundle = client.get("/fhir/Observation?" + urlencode(query)).get_json(force=True)
    assert bundle["resourceType"] == "Bundle", bundle
    return [entry["resource"]["id"] for entry in bundle.get("entry", [])]


def ids_found_by_form(client, query):
    form = {"data": urlencode(query), "content_type": "application/x-www-form-urlencoded"}
    bundle = client.post("/fhir/Observation/_search", **form).get_json(force=True)
    return [entry["resource"]["id"] for entry in bundle.get("entry", [])]


@pytest.mark.parametrize(("seed", "count"), [(1, 40), pytest.param(2, 1000, marks=pytest.mark.slow)])
def test_random_searches_find_what_the_oracle_finds_by_get_and_by_post(filled, seed, count):
    client, stored = filled
    rng = random.Random(seed)
    for number in range(count):
        query = random_query(rng)
        expected = {name for name, resource in stored.items() if matches(resource, query)}
        assert set(ids_found(client, [*query, ("_count", "100")])) == expected, query
        if number % 10 == 0:
            assert set(ids_found_by_form(client, [*query, ("_count", "100")])) == expected, query
            counted = client.get("/fhir/Observation?" + urlencode([*query, ("_summary", "count")]))
            assert counted.get_json(force=True)["total"] == len(expected), query


SORTS = ["_id", "-_id", "_lastUpdated", "-_lastUpdated", "date", "-date", "status", "-status,date", "code,-_id",
         "identifier", "-category,code,-date"]  # fmt: skip


@pytest.mark.parametrize("sort", SORTS)
def test_pages_of_any_order_are_the_whole_without_repeats(filled, sort):
    client, stored = filled
    paged = walk(client, f"/fhir/Observation?_sort={sort}&_count=7")
    assert len(paged) == len(stored)
    assert set(paged) == set(stored)
    assert paged == ids_found(client, [("_sort", sort), ("_count", "100")])


def test_dates_sort_by_their_start_and_the_undated_stand_last_when_newest_come_first(filled):
    client, stored = filled
    found = ids_found(client, [("_sort", "-date"), ("_count", "100")])
    starts = [min((first for first, _ in spans_of(stored[name])), default=None) for name in found]
    dated = [start for start in starts if start is not None]
    assert starts == dated + [None] * (len(starts) - len(dated))
    assert dated == sorted(dated, reverse=True)


def test_last_updated_is_searched_as_a_date_and_id_as_a_set(filled):
    client, stored = filled
    names = list(stored)
    whole = client.get(f"/fhir/Observation/{names[9]}").get_json(force=True)
    at = whole["meta"]["lastUpdated"]
    assert set(ids_found(client, [("_lastUpdated", f"lt{at}"), ("_count", "100")])) == set(names[:9])
    assert ids_found(client, [("_lastUpdated", at)]) == [names[9]]
    assert ids_found(client, [("_id", f"{names[2]},{names[1]},absent"), ("_sort", "_id")]) == sorted(names[1:3])


def walk(client, url, between=lambda: None):
    found = []
    while url:
        parts = urlsplit(url)
        bundle = client.get(parts.path + "?" + urlencode(parse_qsl(parts.query))).get_json(force=True)
        assert bundle["resourceType"] == "Bundle", bundle
        found += [entry["resource"]["id"] for entry in bundle.get("entry", [])]
        url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), None)
        between()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("sort", ["-date", "-_lastUpdated", "code,-date"])
def test_pages_under_concurrent_writes_neither_repeat_nor_lose_what_was_there(db, make_client, sort):
    client, stored = fill(make_client(db))
    stop, failures = threading.Event(), []

    def write():
        writer, rng = make_client(db), random.Random(3)
        writer_ids = iter(range(10**6))
        while not stop.is_set():
            body = json.dumps(_observation(rng, next(writer_ids)))
            reply = writer.post("/fhir/Observation", data=body, content_type="application/fhir+json")
            if reply.status_code not in {201, 503}:
                failures.append(reply.data)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(5):
            found = walk(client, f"/fhir/Observation?_sort={sort}&_count=5")
            assert len(found) == len(set(found))
            assert set(stored) <= set(found)
    finally:
        stop.set()
        thread.join()
    assert not failures
