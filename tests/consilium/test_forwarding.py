"""AI results at another FHIR server: the right patient or nobody, the newest version, nobody's change undone."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from clinical.errors import IncorrectInput
from consilium.forwarding import CHANGED, GONE, KEPT, Forwarding, Offering, purge_deliveries
from consilium.matching import Matching
from fhir_adapters.allow_list import AllowedServer, Network
from fhir_adapters.publish import publish
from fhir_adapters.remote.exchange import Exchange
from fhir_adapters.remote.server import Patience, RemoteServer
from fhir_adapters.validation.refusal import demand_valid
from record_store import fhir_deliveries
from record_store.database import open_database
from record_store.deliveries import RetryPolicy
from record_store.resource_history import latest
from record_store.resources import put
from record_store.tables import audit
from tests.fhir_adapters.remote_double import Double, Says

OURS = "https://consilium.example/fhir"
AIAST = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "AIAST"}
PATIENT = {"resourceType": "Patient", "id": "p", "identifier": [{"system": "urn:mrn", "value": "17"}]}
CODE = {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}


def observation(own="o", **more):
    made = {"resourceType": "Observation", "id": own, "meta": {"security": [AIAST]}, "status": "preliminary"}
    return made | {"code": CODE, "subject": {"reference": "Patient/p"}} | more


def report(own="r", **more):
    made = {"resourceType": "DiagnosticReport", "id": own, "meta": {"security": [AIAST]}, "status": "preliminary"}
    return made | {"code": CODE, "subject": {"reference": "Patient/p"}} | more


class There:
    """A FHIR server that keeps what it is given."""

    def __init__(self, patients=("ehr-1",)):
        self.kept, self.patients = {}, list(patients)
        self.double = Double({"/fhir": [self._write], "/fhir/Patient": [self._find]})

    def _find(self, came):
        entries = [{"resource": {"resourceType": "Patient", "id": one}} for one in self.patients]
        return Says(200, {"resourceType": "Bundle", "entry": entries})

    def _write(self, came):
        kind = came.path.partition("?")[0].split("/")[2]
        if came.method == "GET":
            return self._read(kind, came.path.partition("?")[0].split("/")[3:])
        sent = json.loads(came.body)
        known = {one["identifier"][-1]["value"]: own for own, one in self.kept.items()}
        own = came.path.split("/")[3] if came.method == "PUT" else known.get(sent["identifier"][-1]["value"])
        if came.method == "POST" and own:
            return self._said(200, kind, own)
        version = int(self.kept.get(own, {}).get("v", 0)) + 1
        if came.method == "PUT" and came.headers.get("if-match") != f'W/"{version - 1}"':
            return Says(412)
        own = own or f"there-{len(self.kept)}"
        self.kept[own] = sent | {"v": version}
        return self._said(201 if came.method == "POST" else 200, kind, own)

    def _read(self, kind, path):
        if not path:  # a search by our identifier
            found = [one | {"id": own} for own, one in self.kept.items() if one["resourceType"] == kind]
            return Says(200, {"resourceType": "Bundle", "entry": [{"resource": one} for one in found]})
        one = self.kept.get(path[0])
        if one is None:
            return Says(410)
        return Says(200, one | {"id": path[0], "meta": one["meta"] | {"versionId": str(one["v"])}})

    def _said(self, status, kind, own):
        version = self.kept[own]["v"]
        headers = {"Location": f"{kind}/{own}/_history/{version}", "ETag": f'W/"{version}"'}
        return Says(status, headers=headers)


class House:
    """The store, the matching and the sending; `at` is the clock."""

    def __init__(self, db, there):
        self.db, self.there, self.at = db, there, datetime(2026, 1, 1, tzinfo=UTC)
        self.exchange = Exchange([AllowedServer(there.double.base, Network.LOOPBACK)])
        remote = RemoteServer(there.double.base, self.exchange, None, Patience(tries=1, timeout_s=30))
        self.states = []
        self.forwarding = Forwarding(
            db,
            {"ehr": lambda: remote},
            OURS,
            RetryPolicy(max_attempts=3, first_s=10, jitter=lambda: 1.0),
            lambda: self.at,
            lambda _name, state: self.states.append(state),
        )
        self.matching = Matching(db, lambda: self.at, OURS, offering=Offering(("ehr",)))

    def write(self, *resources):
        with self.db.write() as conn:
            publish(conn, resources, self.at)
        self.at += timedelta(seconds=1)

    def send(self):
        self.matching.once()
        for name in self.forwarding.due():
            self.forwarding.deliver(name)

    def row(self, own="o"):
        with self.db.read() as conn:
            return next(one for one in fhir_deliveries.listed(conn) if one.id == own)


@pytest.fixture
def house(sqlite_db):
    made = House(sqlite_db, There())
    made.write(PATIENT)
    yield made
    made.exchange.close()
    made.there.double.close()


def test_what_a_model_says_is_written_through_with_the_patient_as_known_there(house):
    contained = {"resourceType": "Device", "id": "d"}
    house.write(
        observation(
            valueQuantity={"value": 72.5, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"},
            contained=[contained],
            device={"reference": "#d"},
            derivedFrom=[{"reference": "ImagingStudy/s"}],
        ),
        report(result=[{"reference": "Observation/o"}]),
        observation("human", meta={}),
    )
    house.send()
    found, told = house.there.kept["there-0"], house.there.kept["there-1"]
    assert found["subject"] == told["subject"] == {"reference": "Patient/ehr-1"}
    assert found["device"] == {"reference": "#d"}
    assert found["derivedFrom"] == [{"reference": f"{OURS}/ImagingStudy/s"}]
    assert found["identifier"] == [{"system": OURS, "value": "Observation/o"}]
    assert found["meta"] == {"security": [AIAST]}
    assert told["result"] == [{"reference": "Observation/there-0"}]
    assert len(house.there.kept) == 2
    demand_valid({name: value for name, value in found.items() if name != "v"}, "Observation")
    asked = [one for one in house.there.double.came if one.path.startswith("/fhir/Patient")]
    assert {one.path for one in asked} == {"/fhir/Patient?identifier=urn:mrn%7C17&_count=2"}
    with house.db.read() as conn:
        noted = conn.execute(select(audit).where(audit.c.action == "fhir-result-delivery")).all()
    assert [(one.outcome, one.subject) for one in noted] == [
        ("sent", "Observation/o"),
        ("sent", "DiagnosticReport/r"),
    ]


def test_digits_stay_as_they_are_here(house):
    house.write(observation())
    with house.db.write() as conn:
        current = latest(conn, "Observation", "o").stored
        body = current.body[:-1] + b',"valueQuantity":{"value":1.10,"unit":"x"}}'
        put(conn, _next(current, body))
    house.send()
    assert b'"value":1.10' in house.there.double.of("POST")[0].body


def _next(current, body):
    from record_store.index_rows import IndexRows, TokenRow  # noqa: PLC0415
    from record_store.resources import NewResource  # noqa: PLC0415

    rows = IndexRows(tokens=(TokenRow("_security", AIAST["system"], "AIAST"),))
    return NewResource("Observation", "o", current.version + 1, current.updated, body, rows, method="PUT")


def test_a_later_version_updates_the_one_that_is_there_and_only_the_newest_is_sent(house):
    house.write(observation())
    house.send()
    house.write(observation(status="final"))
    house.write(observation(status="amended"))
    house.send()
    puts = house.there.double.of("PUT")
    assert [(one.path, one.headers["if-match"]) for one in puts] == [("/fhir/Observation/there-0", 'W/"1"')]
    assert house.there.kept["there-0"]["status"] == "amended"
    row = house.row()
    assert (row.state, row.sent_version, row.version, row.remote_etag) == ("sent", 3, 3, 'W/"2"')


def test_what_a_person_changed_there_is_left_as_it_is_and_told(house):
    house.write(observation())
    house.send()
    house.there.kept["there-0"] |= {"v": 2, "status": "final"}
    house.write(observation(status="amended"))
    house.send()
    row = house.row()
    assert (row.state, row.last_problem, row.last_status) == ("dead", CHANGED, 412)
    assert house.there.kept["there-0"]["status"] == "final"


def test_a_patient_who_is_not_there_is_waited_for_and_one_who_may_be_two_is_nobody(house):
    house.there.patients = []
    house.write(observation())
    house.send()
    assert (house.row().state, "no identifier in common" in house.row().last_problem) == ("pending", True)
    house.there.patients = ["ehr-1"]
    house.at += timedelta(seconds=11)
    house.send()
    assert house.row().state == "sent"
    house.there.patients = ["ehr-1", "ehr-2"]
    house.write(observation("two"))
    house.send()
    assert (house.row("two").state, len(house.there.kept)) == ("dead", 1)


def test_a_result_that_names_two_patients_is_not_sent(house):
    house.write(PATIENT | {"id": "q"}, observation(performer=[{"reference": "Patient/q"}]))
    house.send()
    assert (house.row().state, house.there.kept) == ("dead", {})


def test_a_server_that_is_away_is_tried_again_until_there_are_no_tries_left_and_by_an_operator(house):
    there = house.there.double
    writes, there.says["/fhir"] = there.says["/fhir"], [Says(503, headers={"Retry-After": "60"})]
    house.write(observation())
    for attempt in range(1, 4):
        house.send()
        row = house.row()
        assert (row.attempts, row.state) == (attempt, "dead" if attempt == 3 else "pending")
        house.at += timedelta(seconds=59)
        house.send()
        assert house.row().attempts == attempt  # what the server asked for is waited for
        house.at += timedelta(seconds=2)
    there.says["/fhir"] = writes
    with house.db.write() as conn:
        assert fhir_deliveries.resend(conn, None, house.at) == 1
    house.send()
    assert house.states[-1] == "sent"


def test_a_key_that_cannot_be_read_costs_a_result_no_attempt(house):
    def unreadable():
        raise IncorrectInput("the key file cannot be read")

    house.forwarding = replace(house.forwarding, remotes={"ehr": unreadable})
    house.write(observation())
    with pytest.raises(IncorrectInput):
        house.send()
    assert house.row().attempts == 0


def test_a_create_whose_answer_was_lost_is_found_again_and_brought_up_to_date(house):
    real = house.there.double.says["/fhir"][0]

    def loses(came):
        real(came)
        return Says(hangs_up=True)

    house.there.double.says["/fhir"] = [loses, real]
    house.write(observation())
    house.send()
    assert (house.row().state, house.row().remote_id) == ("pending", None)
    house.write(observation(status="final"))
    house.at += timedelta(seconds=11)
    house.send()
    assert [one["status"] for one in house.there.kept.values()] == ["final"]
    assert house.row().state == "sent"


def test_what_was_deleted_here_before_it_was_sent_is_not_sent(house):
    house.write(observation())
    house.matching.once()
    with house.db.write() as conn:
        current = latest(conn, "Observation", "o").stored
        put(conn, _deleted(current))
    house.send()
    assert (house.row().state, house.row().last_problem, house.there.kept) == ("dead", GONE, {})


def deleted_here(house):
    with house.db.write() as conn:
        put(conn, _deleted(latest(conn, "Observation", "o").stored))
    house.at += timedelta(seconds=1)


def test_what_is_deleted_here_is_in_error_there(house):
    house.write(observation(status="final"))
    house.send()
    deleted_here(house)
    house.send()
    assert (house.there.kept["there-0"]["status"], house.there.kept["there-0"]["code"]) == (
        "entered-in-error",
        CODE,
    )
    assert house.there.double.of("PUT")[0].headers["if-match"] == 'W/"1"'
    assert (house.row().state, house.row().sent_version) == ("sent", 2)
    assert not house.there.double.of("DELETE")


def test_what_a_person_changed_there_stays_when_it_is_deleted_here(house):
    house.write(observation(status="final"))
    house.send()
    house.there.kept["there-0"] |= {"v": 2, "status": "amended"}
    deleted_here(house)
    house.send()
    assert (house.row().state, house.row().last_problem) == ("dead", CHANGED)
    assert house.there.kept["there-0"]["status"] == "amended"


def test_what_arrived_without_an_answer_and_is_deleted_here_is_in_error_there(house):
    real = house.there.double.says["/fhir"][0]

    def loses(came):
        real(came)
        return Says(hangs_up=True)

    house.there.double.says["/fhir"] = [loses, real]
    house.write(observation(status="final"))
    house.send()
    deleted_here(house)
    house.at += timedelta(seconds=11)
    house.send()
    assert house.there.kept["there-0"]["status"] == "entered-in-error"


def test_what_is_gone_there_too_needs_no_withdrawal(house):
    house.write(observation())
    house.send()
    house.there.kept.clear()
    deleted_here(house)
    house.send()
    assert (house.row().state, house.row().last_problem) == ("dead", GONE)


def test_what_is_over_is_forgotten_and_what_a_living_result_became_there_is_not(house):
    house.write(observation("living"), observation())
    house.send()
    deleted_here(house)
    house.send()
    house.write(report(performer=[{"reference": "Patient/q"}]))  # it names two patients: it never arrives
    house.send()
    assert house.row("r").state == "dead"
    house.at += KEPT - timedelta(days=1)
    assert purge_deliveries(house.db, lambda: house.at) == 0
    house.at += timedelta(days=2)
    assert purge_deliveries(house.db, lambda: house.at) == 2
    assert house.row("living").remote_id


def _deleted(current):
    from record_store.index_rows import IndexRows  # noqa: PLC0415
    from record_store.resources import NewResource  # noqa: PLC0415

    return NewResource("Observation", "o", current.version + 1, current.updated, b"", IndexRows(), deleted=True)


def test_a_claim_of_a_worker_that_died_is_due_again_and_two_never_hold_one(house):
    house.write(observation())
    house.matching.once()
    assert fhir_deliveries.claim(house.db, "ehr", house.at, 180) is not None
    assert fhir_deliveries.claim(open_database(house.db.url), "ehr", house.at, 180) is None
    house.at += timedelta(seconds=181)
    house.send()
    assert house.row().state == "sent"


def test_a_version_that_comes_while_one_is_sent_stays_due(house):
    house.write(observation())
    house.matching.once()
    claimed = fhir_deliveries.claim(house.db, "ehr", house.at, 180)
    house.write(observation(status="final"))
    house.matching.once()
    with house.db.write() as conn:
        fhir_deliveries.settle(conn, claimed, fhir_deliveries.Outcome(200, None, None, "x", None), house.at)
    assert (house.row().state, house.row().version, house.row().sent_version) == ("pending", 2, 1)
