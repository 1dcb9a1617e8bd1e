"""Search answers what a reader of the R4 text would: compared with a brute-force oracle, on both databases.

The oracle (`benchmarks/search_oracle`) shares nothing with the server: it reads the sent JSON for every question.
More searches than the suite has time for: python -m benchmarks.search_oracle --queries 2000 [--postgres URL].
"""

import json
import random
from urllib.parse import urlencode, urlsplit

import pytest

from benchmarks.search_oracle import compare, fields
from benchmarks.search_oracle.asking import Asking
from benchmarks.search_oracle.pages import day, observation, put, walk, walks_under_writes
from benchmarks.search_oracle.run import differences, fill
from record_store.database import open_database
from record_store.testing import database, postgres_url
from tests.fhir_adapters.conftest import START

SEED = 3


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(request, tmp_path_factory, make_client_for):
    """A client and what was sent through it by "Type/id"; shared, so these tests only read."""
    if request.param == "sqlite":
        db = database(tmp_path_factory.mktemp("oracle"))
        client = make_client_for(db)
        yield client, fill(client)
        db.dispose()
        return
    with postgres_url(request.getfixturevalue("postgres_template")) as url:
        db = open_database(url)
        client = make_client_for(db)
        yield client, fill(client)
        db.dispose()


def ids_found(client, query):
    bundle = client.get("/fhir/Observation?" + urlencode(query)).get_json(force=True)
    assert bundle["resourceType"] == "Bundle", bundle
    return [entry["resource"]["id"] for entry in bundle.get("entry", [])]


def observations(stored):
    return {key.split("/")[1]: one for key, one in stored.items() if one["resourceType"] == "Observation"}


@pytest.mark.parametrize("count", [50, pytest.param(500, marks=pytest.mark.slow)])
def test_random_searches_find_what_the_oracle_finds_by_get_and_by_post(filled, count):
    client, stored = filled
    assert list(differences(client, stored, SEED, count, START)) == []


def test_a_total_is_the_number_of_what_is_found(filled):
    client, stored = filled
    asking = Asking(random.Random(5), stored, START.replace(hour=0))
    for _ in range(10):
        kind, asks = asking.query()
        pairs = [(ask.name, ask.value) for ask in asks]
        expected = sum(
            one["resourceType"] == kind and all(ask.holds(one) for ask in asks) for one in stored.values()
        )
        counted = client.get(f"/fhir/{kind}?{urlencode([*pairs, ('_summary', 'count')])}")
        assert counted.get_json(force=True)["total"] == expected, (kind, pairs)


SORTS = ["_id", "-_id", "_lastUpdated", "-_lastUpdated", "date", "-date", "status", "-status,date", "code,-_id",
         "identifier", "-category,code,-date", "value-quantity", "-combo-value-quantity,subject"]  # fmt: skip


@pytest.mark.parametrize("sort", SORTS)
def test_pages_of_any_order_are_the_whole_without_repeats(filled, sort):
    client, stored = filled
    paged = walk(client, f"/fhir/Observation?_sort={sort}&_count=9")
    assert sorted(paged) == sorted(observations(stored))
    assert paged == ids_found(client, [("_sort", sort), ("_count", "100")])


def test_dates_sort_by_their_start_and_the_undated_stand_last_when_newest_come_first(filled):
    client, stored = filled
    found = ids_found(client, [("_sort", "-date"), ("_count", "100")])
    spans_of = fields.DATES["Observation"]["date"]
    starts = [min((first for first, _ in spans_of(observations(stored)[name])), default=None) for name in found]
    dated = [start for start in starts if start is not None]
    assert starts == dated + [None] * (len(starts) - len(dated))
    assert dated == sorted(dated, reverse=True)


def test_last_updated_is_searched_as_a_date_and_id_as_a_set(filled):
    client, stored = filled
    names = list(observations(stored))
    whole = client.get(f"/fhir/Observation/{names[9]}").get_json(force=True)
    at = whole["meta"]["lastUpdated"]
    assert set(ids_found(client, [("_lastUpdated", f"lt{at}"), ("_count", "100")])) == set(names[:9])
    assert ids_found(client, [("_lastUpdated", at)]) == [names[9]]
    assert ids_found(client, [("_id", f"{names[2]},{names[1]},absent"), ("_sort", "_id")]) == sorted(names[1:3])


def test_the_oracle_s_numbers_are_those_of_the_standard():
    holds = compare.number_holds
    for text, inside, outside in (("100", "99.5", "100.5"), ("1e2", "50", "150"), ("100.00", "99.995", "100.005")):
        for value, expected in ((inside, True), (outside, False)):
            exact = compare.Fraction(value)
            assert holds(exact, exact, "eq", text) is expected


# ---------------------------------------------------------------- pages while others write


@pytest.mark.parametrize("sort", ["date", "-date", "-_lastUpdated", "status,-date", "-value-quantity,_id"])
def test_what_is_changed_between_pages_is_shown_once_at_its_old_place(db, make_client, sort):
    client, rng = make_client(db), random.Random(7)
    for number in range(12):
        put(client, observation(f"o{number:02}", **day(number), valueQuantity={"value": number}))
    moves = iter(rng.sample(range(12), 12))

    def change():
        for _ in range(2):
            number, at = next(moves, 0), rng.randrange(300)
            moved = day(at) | {"valueQuantity": {"value": at}} if at % 4 else {}
            put(client, observation(f"o{number:02}", status=rng.choice(["amended", "final"]), **moved))
        put(client, observation(f"new{rng.randrange(10**6)}", **day(rng.randrange(300))))
        client.delete("/fhir/Observation/o03")

    whole = walk(client, f"/fhir/Observation?_sort={sort}&_count=100")
    paged = walk(client, f"/fhir/Observation?_sort={sort}&_count=3", change)
    assert len(paged) == len(set(paged))
    old = [name for name in paged if not name.startswith("new")]
    assert [name for name in old if name != "o03"] == [name for name in whole if name != "o03"]


def test_what_no_longer_matches_is_not_shown_and_what_comes_to_match_is_shown_at_most_once(db, make_client):
    client = make_client(db)
    for number in range(9):
        put(client, observation(f"o{number}", **day(number), status="final" if number != 5 else "amended"))

    def change():
        put(client, observation("o5", **day(0)))
        put(client, observation("o7", **day(7), status="amended"))

    paged = walk(client, "/fhir/Observation?status=final&_sort=date&_count=2", change)
    assert sorted(paged) in (
        ["o0", "o1", "o2", "o3", "o4", "o5", "o6", "o8"],
        ["o0", "o1", "o2", "o3", "o4", "o6", "o8"],
    )


def test_too_many_changes_are_told_and_not_guessed(db, make_client, monkeypatch):
    monkeypatch.setattr("record_store.page_snapshot.MAX_CHANGED", 2)
    client = make_client(db)
    for number in range(6):
        put(client, observation(f"o{number}", **day(number)))
    url = client.get("/fhir/Observation?_sort=date&_count=2").get_json(force=True)["link"][1]["url"]
    for number in range(3):
        put(client, observation(f"o{number}", **day(number + 40)))
    reply = client.get(urlsplit(url).path + "?" + urlsplit(url).query)
    assert reply.status_code == 400
    assert "search again" in json.dumps(reply.get_json(force=True))


@pytest.mark.slow
@pytest.mark.parametrize("sort", ["-date", "-_lastUpdated", "status,-date"])
def test_pages_under_concurrent_writes_neither_repeat_nor_lose_what_was_there(db, make_client, sort):
    assert walks_under_writes(lambda: make_client(db), sort, runs=4) == [(0, 0)] * 4
