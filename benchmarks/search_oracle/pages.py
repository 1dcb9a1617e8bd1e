"""Walks from page to page while others write: nothing that was there is shown twice or left out."""

import random
import threading
from urllib.parse import parse_qsl, urlencode, urlsplit

from benchmarks.search_oracle.records import written
from benchmarks.search_oracle.run import FHIR_JSON


def walk(client, url, between=lambda: None):
    """Return the ids on all pages from `url`; `between` is called after each page."""
    found = []
    while url:
        parts = urlsplit(url)
        bundle = client.get(parts.path + "?" + urlencode(parse_qsl(parts.query))).get_json(force=True)
        assert bundle["resourceType"] == "Bundle", bundle
        found += [entry["resource"]["id"] for entry in bundle.get("entry", [])]
        url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), None)
        between()
    return found


def day(number):
    """Return an effective date."""
    return {"effectiveDateTime": f"2024-{number // 28 + 1:02}-{number % 28 + 1:02}"}


def observation(name, **members):
    """Return an Observation with this id."""
    made = {"resourceType": "Observation", "id": name, "status": "final", "code": {"text": "x"}, **members}
    return {key: value for key, value in made.items() if value is not None}


def put(client, resource):
    """Store it."""
    reply = client.put(f"/fhir/Observation/{resource['id']}", data=written(resource), content_type=FHIR_JSON)
    assert reply.status_code in (200, 201), reply.data
    return reply


def walks_under_writes(make_client, sort, *, runs, size=24):
    """[(repeated, missing)] of `runs` walks while two writers change, move and add what is walked over."""
    client, stop, failures = make_client(), threading.Event(), []
    names = [f"o{number:02}" for number in range(size)]
    for number, name in enumerate(names):
        put(client, observation(name, **day(number)))

    def write(seed):
        writer, rng = make_client(), random.Random(seed)
        while not stop.is_set():
            name = rng.choice(names) if rng.random() < 0.7 else f"new{rng.randrange(60)}"
            body = written(observation(name, status=rng.choice(["final", "amended"]), **day(rng.randrange(300))))
            reply = writer.put(f"/fhir/Observation/{name}", data=body, content_type=FHIR_JSON)
            if reply.status_code not in {200, 201, 503}:
                failures.append(reply.data)

    threads = [threading.Thread(target=write, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    told = []
    try:
        for _ in range(runs):
            found = walk(client, f"/fhir/Observation?_sort={sort}&_count=5&identifier:missing=true&_id:not=x")
            told.append((len(found) - len(set(found)), len(set(names) - set(found))))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    return told
