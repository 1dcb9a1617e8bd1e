"""Bulk Data `$export`: kick-off, files made behind it, and what writers and crashes do to them meanwhile."""

import gzip
import json
import threading
from dataclasses import replace
from datetime import timedelta

import orjson
import pytest

from clinical.errors import Busy, Fault
from fhir_adapters.bulk import making
from fhir_adapters.bulk.making import Exporter, clear_old
from fhir_adapters.bulk.offer import Bulk
from record_store import exports
from record_store.as_of import as_of
from record_store.exports import ExportFile, Place
from record_store.testing import MemoryBlobs
from tests.fhir_adapters.conftest import BASE_URL, client_of, make_fhir

ASYNC = {"Prefer": "respond-async"}
CODE = {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}


class House:
    """A server with exports, and its worker: `work` makes what waits."""

    def __init__(self, db, now, folder):
        self.db, self.now = db, now
        self.blobs = MemoryBlobs(folder)
        self.fhir = replace(make_fhir(db, now), bulk=Bulk(lambda: self.blobs, life_s=3600))
        self.client = client_of(self.fhir)
        self.stop = False

    def exporter(self, **given):
        values = {"executor": "worker-1", "stopping": lambda: self.stop, "settle_s": 0} | given
        return Exporter(self.db, self.blobs, self.now, BASE_URL, **values)

    def put(self, kind, name, **elements):
        body = {"resourceType": kind, "id": name, **elements}
        reply = self.client.put(f"/fhir/{kind}/{name}", json=body, content_type="application/fhir+json")
        assert reply.status_code in {200, 201}, reply.data

    def observation(self, name, patient="p1", **elements):
        subject = {"reference": f"Patient/{patient}"}
        self.put("Observation", name, status="final", code=CODE, subject=subject, **elements)

    def kick_off(self, path="/fhir/$export", headers=(), **options):
        reply = self.client.open(path, headers=ASYNC | dict(headers), **options)
        assert reply.status_code == 202, reply.data
        return reply.headers["Content-Location"].removeprefix("http://127.0.0.1:8080")

    def post(self, path, *parameters, headers=()):
        body = {"resourceType": "Parameters", "parameter": list(parameters)}
        return self.kick_off(path, headers=headers, method="POST", json=body)

    def manifest(self, status):
        reply = self.client.get(status)
        assert reply.status_code == 200, reply.data
        return reply.json

    def lines(self, listed, **headers):
        found = []
        for one in listed:
            reply = self.client.get(one["url"].removeprefix("http://127.0.0.1:8080"), headers=headers)
            assert reply.status_code == 200
            rows = [json.loads(line) for line in reply.data.splitlines()]
            assert len(rows) == one["count"]
            found += rows
        return found

    def exported(self, path="/fhir/$export", *parameters):
        status = self.post(path, *parameters) if parameters else self.kick_off(path)
        assert self.exporter().once() == 1
        return self.manifest(status)

    def names(self, *args):
        return [f"{one['resourceType']}/{one['id']}" for one in self.lines(self.exported(*args)["output"])]


@pytest.fixture
def house(sqlite_db, now, tmp_path):
    return House(sqlite_db, now, tmp_path)


@pytest.fixture
def each(db, now, tmp_path):
    """A house on each database."""
    return House(db, now, tmp_path)


def test_an_export_holds_every_resource_once_with_its_own_digits(house):
    house.put("Patient", "p1", gender="female")
    body = (
        b'{"resourceType": "Observation",\r\n "id": "o1", "status": "final", "code": {"text": "x"},\n'
        b'"valueQuantity": {"value": 1.10}}'
    )
    house.client.put("/fhir/Observation/o1", data=body, content_type="application/fhir+json")
    status = house.kick_off()
    waiting = house.client.get(status)
    assert (waiting.status_code, waiting.headers["X-Progress"]) == (202, "queued")
    assert int(waiting.headers["Retry-After"]) > 0
    house.exporter().once()
    done = house.client.get(status)
    assert done.headers["Expires"]
    manifest = done.json
    assert manifest["request"] == f"{BASE_URL}/$export"
    assert (manifest["requiresAccessToken"], manifest["deleted"], manifest["error"]) == (False, [], [])
    assert [(one["type"], one["count"]) for one in manifest["output"]] == [("Observation", 1), ("Patient", 1)]
    url = manifest["output"][0]["url"].removeprefix("http://127.0.0.1:8080")
    plain = house.client.get(url, headers={"Accept": "application/fhir+ndjson"})
    assert plain.content_type == "application/fhir+ndjson"
    assert plain.data.count(b"\n") == 1
    assert b'"value": 1.10' in plain.data
    packed = house.client.get(url, headers={"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data


def test_what_is_written_while_files_are_made_is_not_in_them(each, monkeypatch):
    monkeypatch.setattr("record_store.as_of.PAGE", 3)
    for number in range(8):
        each.observation(f"o{number}", note=[{"text": "first"}])
    each.client.delete("/fhir/Observation/o2")
    status = each.kick_off()
    exporter = each.exporter(file_bytes=1)  # a file for each resource, and a transaction between them
    adopt, written = each.blobs.adopt_all, []

    def adopt_and_write(parts):
        number = len(written)
        each.observation(f"o{number}", note=[{"text": "second"}])
        each.observation(f"new{number}")
        each.client.delete(f"/fhir/Observation/o{number + 4}")
        written.append(number)
        return adopt(parts)

    monkeypatch.setattr(each.blobs, "adopt_all", adopt_and_write)
    exporter.once()
    found = each.lines(each.manifest(status)["output"])
    assert [one["id"] for one in found] == [f"o{number}" for number in (0, 1, 3, 4, 5, 6, 7)]
    assert {one["note"][0]["text"] for one in found} == {"first"}


def test_filters_mean_the_same_for_what_has_changed_since(each, monkeypatch):
    for number in range(3):
        each.observation(f"a{number}", category=[{"coding": [{"system": "urn:c", "code": "lab"}]}])
        each.observation(f"b{number}", patient="p2")
    status = each.post(
        "/fhir/Patient/$export",
        {"name": "_type", "valueString": "Observation"},
        {"name": "_typeFilter", "valueString": "Observation?category=urn:c|lab"},
        {"name": "_typeFilter", "valueString": "Observation?_id=b0,b1"},
        {"name": "patient", "valueReference": {"reference": "Patient/p1"}},
        {"name": "patient", "valueReference": {"reference": "Patient/p2"}},
    )
    exporter = each.exporter()
    claim = exports.claim

    def claim_and_write(*args):
        export = claim(*args)
        each.observation("a0")  # has lost its category
        each.observation("b0", patient="p3")  # is another patient's
        each.observation("b2", category=[{"coding": [{"system": "urn:c", "code": "lab"}]}])
        return export

    monkeypatch.setattr(making.exports, "claim", claim_and_write)
    exporter.once()
    found = each.lines(each.manifest(status)["output"])
    assert [one["id"] for one in found] == ["a0", "a1", "a2", "b0", "b1"]


def test_patient_level_is_what_names_a_patient(house):
    house.put("Patient", "p1")
    house.put("Patient", "p2")
    house.observation("o1")
    house.observation("o2", patient="p2")
    house.put("Observation", "o3", status="final", code=CODE)
    house.put("Device", "d1")
    assert house.names("/fhir/Patient/$export") == ["Observation/o1", "Observation/o2", "Patient/p1", "Patient/p2"]
    one = {"name": "patient", "valueReference": {"reference": "Patient/p2"}}
    assert house.names("/fhir/Patient/$export", one) == ["Observation/o2", "Patient/p2"]


def test_a_group_s_members_are_exported_and_nobody_else(house):
    for name in ("p1", "p2", "p3"):
        house.put("Patient", name)
        house.observation(f"o-{name}", patient=name)
    members = [
        {"entity": {"reference": "Patient/p1"}},
        {"entity": {"reference": "Patient/p2"}, "inactive": True},
        {"entity": {"reference": "Device/d1"}},
    ]
    house.put("Group", "g1", type="person", actual=True, member=members)
    found = house.names("/fhir/Group/g1/$export?_type=Patient,Observation")
    assert found == ["Observation/o-p1", "Patient/p1"]


def test_a_group_within_a_group_is_followed_and_one_that_holds_itself_ends(house):
    for patient in ("p1", "p2", "p3", "p4"):
        house.put("Patient", patient)
        house.observation(f"o-{patient}", patient)

    def group(name, *members, **more):
        listed = [{"entity": {"reference": one}} for one in members] + ([more] if more else [])
        house.put("Group", name, type="person", actual=True, member=listed)

    group("g1", "Patient/p1", "Group/g2")
    group("g2", "Patient/p2", "Group/g3", entity={"reference": "Patient/p4"}, inactive=True)
    group("g3", "Patient/p3", "Group/g1")
    found = house.names("/fhir/Group/g1/$export?_type=Patient")
    assert found == ["Patient/p1", "Patient/p2", "Patient/p3"]


def test_since_gives_what_has_changed_and_what_was_deleted(each):
    each.observation("o1")
    each.observation("o2")
    each.observation("o3")
    first = each.exported()["transactionTime"]
    each.observation("o2", note=[{"text": "again"}])
    each.client.delete("/fhir/Observation/o3")
    manifest = each.exported(f"/fhir/$export?_since={first}")
    assert [one["id"] for one in each.lines(manifest["output"])] == ["o2"]
    (bundle,) = each.lines(manifest["deleted"])
    assert manifest["deleted"][0]["type"] == "Bundle"
    assert (bundle["type"], bundle["entry"]) == (
        "transaction",
        [{"request": {"method": "DELETE", "url": "Observation/o3"}}],
    )


def test_a_killed_worker_s_export_goes_on_behind_its_last_file(each, monkeypatch):
    for number in range(6):
        each.observation(f"o{number}")
    status = each.kick_off()
    adopt = each.blobs.adopt_all
    stored = []

    def die_at_the_fourth(parts):
        if len(stored) == 3:
            stored.append("dead")
            raise KeyboardInterrupt
        stored.append(parts)
        return adopt(parts)

    monkeypatch.setattr(each.blobs, "adopt_all", die_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        each.exporter(file_bytes=1).once()
    each.observation("o9")
    assert each.client.get(status).headers["X-Progress"].endswith("3 resources in files")
    assert each.exporter(executor="worker-2").once() == 0  # as long as the dead one's lease lasts
    each.now.at += timedelta(seconds=making.LEASE_S)
    assert each.exporter(executor="worker-2", file_bytes=1).once() == 1
    found = each.lines(each.manifest(status)["output"])
    assert [one["id"] for one in found] == [f"o{number}" for number in range(6)]


def test_a_file_of_a_worker_that_dies_before_its_row_is_removed(each, monkeypatch):
    for number in range(3):
        each.observation(f"o{number}")
    first, second = each.kick_off("/fhir/$export?_type=Observation"), each.kick_off("/fhir/$export?_type=Patient")
    with monkeypatch.context() as dying:
        dying.setattr(exports, "come_on", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            each.exporter(file_bytes=1).once()
    assert len(each.blobs.stored) == 1  # the dead one's
    assert each.exporter(file_bytes=1).once() == 1
    assert len(each.blobs.stored) == len(each.manifest(first)["output"]) == 3
    # Neither does it stay when nobody goes on.
    each.put("Patient", "p1")
    with monkeypatch.context() as dying:
        dying.setattr(exports, "come_on", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            each.exporter().once()
    assert len(each.blobs.stored) == 4
    assert [each.client.delete(one).status_code for one in (first, second)] == [202, 202]
    clear_old(each.db, each.blobs, each.now, 3600)
    assert each.blobs.stored == {}


def test_two_workers_of_one_name_add_no_part_twice(house, monkeypatch):
    for number in range(4):
        house.observation(f"o{number}")
    status = house.kick_off("/fhir/$export?_type=Observation")
    adopt, twins = house.blobs.adopt_all, []

    def let_the_twin_go_first(parts):
        if not twins:
            twins.append(exports.claim(house.db, "worker-1", house.now, 60))  # it thinks that it was restarted
            blob = house.blobs.put(b"the twin's")
            made = [ExportFile("output", "Observation", 1, blob.sha256, blob.size)]
            with house.db.write() as conn:
                assert exports.come_on(conn, twins[0], "worker-1", made, Place(0, "o0"), house.now())
        return adopt(parts)

    monkeypatch.setattr(house.blobs, "adopt_all", let_the_twin_go_first)
    house.exporter(file_bytes=1).once()
    assert house.client.get(status).status_code == 202
    assert list(house.blobs.stored.values()) == [b"the twin's"]
    house.exporter(file_bytes=1).once()
    found = house.lines(house.manifest(status)["output"][1:])
    assert [one["id"] for one in found] == ["o1", "o2", "o3"]


def test_a_worker_that_starts_again_takes_up_its_own_at_once_and_one_that_stops_leaves_it(house):
    house.observation("o1")
    status = house.kick_off()
    house.stop = True
    assert house.exporter().once() == 1
    assert house.client.get(status).status_code == 202
    house.stop = False
    assert house.exporter(executor="worker-2").once() == 1
    assert house.manifest(status)["output"]


def test_an_export_that_fails_again_and_again_says_so(house, monkeypatch):
    house.observation("o1")
    status = house.kick_off()
    monkeypatch.setattr(house.blobs, "adopt_all", lambda parts: [Fault("the disk is broken")])
    for _ in range(making.MOST_ATTEMPTS):
        house.now.at += timedelta(seconds=making.AGAIN_S)
        with pytest.raises(Fault):
            house.exporter().once()
    reply = house.client.get(status)
    assert reply.status_code == 500
    assert "the disk is broken" in reply.json["issue"][0]["details"]["text"]
    assert house.exporter().once() == 0


def test_a_cancelled_export_and_an_old_one_are_gone_with_their_files(house):
    house.observation("o1")
    first, second = house.kick_off(), house.kick_off()
    house.exporter().once()
    house.exporter().once()
    url = house.manifest(first)["output"][0]["url"].removeprefix("http://127.0.0.1:8080")
    assert len(house.blobs.stored) == 2
    assert house.client.delete(first).status_code == 202
    assert [house.client.get(one).status_code for one in (first, url)] == [404, 404]
    assert house.client.delete(first).status_code == 404
    assert clear_old(house.db, house.blobs, house.now, 3600) == 1
    assert len(house.blobs.stored) == 1
    house.manifest(second)
    house.now.at += timedelta(hours=1)
    assert house.client.get(second).status_code == 404
    assert clear_old(house.db, house.blobs, house.now, 3600) == 1
    assert house.blobs.stored == {}


def test_a_file_that_cannot_be_removed_yet_is_not_forgotten(house):
    house.observation("o1")
    status = house.kick_off()
    house.exporter().once()
    house.client.delete(status)

    def broken(_name):
        raise Busy("the disk is away")

    with pytest.raises(Busy):
        exports.clear(house.db, house.now(), 3600, broken)
    assert clear_old(house.db, house.blobs, house.now, 3600) == 1
    assert house.blobs.stored == {}


def test_a_worker_that_searches_longer_than_its_lease_keeps_the_export(each, monkeypatch):
    each.observation("o1")
    status = each.kick_off()
    monkeypatch.setattr(making, "RENEW_S", 0.01)
    real, renewed = exports.renew, threading.Event()

    def told(*given):
        ours = real(*given)
        renewed.set()
        return ours

    def slowly(*given, **more):
        each.now.at += timedelta(seconds=making.LEASE_S - 1)
        for _ in range(2):  # the first may have begun before the clock moved
            renewed.clear()
            assert renewed.wait(30)
        each.now.at += timedelta(seconds=2)
        assert exports.claim(each.db, "worker-2", each.now, making.LEASE_S) is None
        yield from as_of(*given, **more)

    monkeypatch.setattr(exports, "renew", told)
    monkeypatch.setattr(making, "as_of", slowly)
    assert each.exporter().once() == 1
    assert each.manifest(status)["output"]


def test_an_export_that_is_cancelled_under_way_stops(each, monkeypatch):
    each.observation("o1")
    status = each.kick_off()
    adopt = each.blobs.adopt_all
    monkeypatch.setattr(each.blobs, "adopt_all", lambda parts: (each.client.delete(status), adopt(parts))[1])
    each.exporter().once()
    assert each.client.get(status).status_code == 404
    assert each.blobs.stored == {}


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        ("/fhir/$export", {}, 400),
        ("/fhir/$export", ASYNC | {"Accept": "application/fhir+xml"}, 406),
        ("/fhir/$export?_outputFormat=text/csv", ASYNC, 400),
        ("/fhir/$export?_type=Nonsense", ASYNC, 400),
        ("/fhir/$export?_type=Nonsense", ASYNC | {"Prefer": "respond-async, handling=lenient"}, 400),
        ("/fhir/$export?_since=2026", ASYNC, 400),
        ("/fhir/$export?_elements=id", ASYNC, 400),
        ("/fhir/$export?what=ever", ASYNC, 400),
        ("/fhir/$export?_typeFilter=Observation%3Fnonsense%3D1", ASYNC, 400),
        ("/fhir/$export?patient=Patient/1", ASYNC, 400),
        ("/fhir/Patient/$export?patient=Patient/1", ASYNC, 400),
        ("/fhir/Patient/$export?_type=Device", ASYNC, 400),
        ("/fhir/Group/nobody/$export", ASYNC, 404),
        ("/fhir/Group/$export", ASYNC, 400),
        ("/fhir/$export-status/nothing", {}, 404),
        ("/fhir/$export-status/nothing/0", {}, 404),
    ],
)
def test_what_is_not_understood_is_refused(fhir, tmp_path, path, headers, expected):
    client = client_of(replace(fhir, bulk=Bulk(lambda: MemoryBlobs(tmp_path))))
    reply = client.get(path, headers=headers)
    assert reply.status_code == expected, reply.data
    assert reply.json["resourceType"] == "OperationOutcome"


def test_a_lenient_client_is_told_what_was_not_used(house):
    house.observation("o1")
    headers = {"Prefer": "respond-async, handling=lenient"}
    status = house.kick_off("/fhir/$export?_elements=id&_type=Observation,Nonsense", headers=headers)
    house.exporter().once()
    manifest = house.manifest(status)
    assert [one["id"] for one in house.lines(manifest["output"])] == ["o1"]
    told = house.lines(manifest["error"])
    assert {one["resourceType"] for one in told} == {"OperationOutcome"}
    assert len(told) == 2


def test_a_client_has_so_many_exports_under_way_and_no_more(house):
    for _ in range(3):
        house.kick_off()
    reply = house.client.get("/fhir/$export", headers=ASYNC)
    assert (reply.status_code, reply.json["issue"][0]["code"]) == (429, "throttled")
    assert reply.headers["Retry-After"]


def test_a_server_without_exports_says_so(client):
    assert client.get("/fhir/$export", headers=ASYNC).status_code == 422


def test_options_tell_what_an_operation_takes(client):
    assert client.options("/fhir/$export").headers["Allow"] == "GET, HEAD, OPTIONS, POST"
    assert "POST" in client.options("/fhir/Observation/$validate").headers["Allow"]


def test_the_capability_statement_names_the_exports(client):
    rest = client.get("/fhir/metadata").json["rest"][0]
    assert "export" in [one["name"] for one in rest["operation"]]
    patient = next(one for one in rest["resource"] if one["type"] == "Patient")
    assert [one["definition"] for one in patient["operation"] if one["name"] == "export"] == [
        "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/patient-export"
    ]
    assert orjson.dumps(rest).count(b"export-status") == 0


def test_a_file_is_no_entry_of_a_batch(house):
    house.put("Patient", "p1")
    house.put("Patient", "p2")
    (file,) = house.exported()["output"]
    entry = {"request": {"method": "GET", "url": file["url"].removeprefix(f"{BASE_URL}/")}}
    reply = house.client.post("/fhir", json={"resourceType": "Bundle", "type": "batch", "entry": [entry]})
    (answered,) = json.loads(reply.data)["entry"]  # two lines of NDJSON made no JSON
    assert answered["response"]["status"] == "404"
