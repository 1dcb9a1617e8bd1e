"""What a worklist says was ordered is a ServiceRequest, once, that results are based on; an EHR's own stands."""

import threading
from datetime import UTC, datetime

import orjson
import pytest
from pydicom.dataset import Dataset
from sqlalchemy import select

from clinical.codes import Coding
from clinical.identity import IssuerTable, PatientKey
from consilium.holding import Holding
from consilium.interlocks import OTHERS_ORDER, SEVERAL_ORDERED, Interlocks
from consilium.order_keeping import OrderKeeping
from consilium.ordering import NO_ISSUER, Ordering
from consilium.selection import Selecting
from dicom_node.destinations import Destination
from dicom_node.query.worklist import orders_of, read_order
from fhir_adapters.kept_orders import Kept, keep_order
from fhir_adapters.orders import ordered_for_another
from fhir_adapters.orders import orders_of as requests_for
from fhir_adapters.publish import publish
from fhir_adapters.resources.patient import Demographics
from fhir_adapters.resources.service_request import ImagingOrder, Procedure
from model_runtime.testing import CannedEngine, manifest_of, segmentation_document
from record_store import study_orders
from record_store.header_index import HeaderRows, add_headers
from record_store.index_rows import IndexRows
from record_store.resources import NewResource, condition_key, lock_key, put
from record_store.tables import resource, study_header, study_order
from record_store.times import to_text
from tests.consilium.nodule import one_nodule, radiograph
from tests.dicom_node.query.peers import program, running, said
from tests.dicom_node.query.test_scu import ITEM
from tests.fhir_adapters.conftest import client_of, make_fhir
from tests.fhir_adapters.r4 import check_r4
from tests.ports import free_port

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
KEY = PatientKey("urn:h", "P1")
RIS = "urn:ris"
NUMBERS = "http://terminology.hl7.org/CodeSystem/v2-0203"
KNEE = Procedure((Coding("http://snomed.info/sct", "74016001", "Knee X-ray"),), "Knee")
ORDER = ImagingOrder("A1", (KNEE,), accession_system=RIS, study_uid="1.7.1")


def keep(db, order=ORDER, key=KEY, now=NOW) -> Kept:
    with db.write() as conn:
        return keep_order(
            conn,
            order,
            patient=key,
            derived_id=f"chart-{key.system[-1]}-{key.value}",
            demographics=Demographics(family="Doe"),
            worklist="RIS",
            now=now,
        )


def stored(db, kind):
    with db.read() as conn:
        bodies = conn.execute(select(resource.c.body).where(resource.c.type == kind)).scalars()
        return [orjson.loads(body) for body in bodies if body]


def written(db, *resources) -> None:
    with db.write() as conn:
        publish(conn, resources, NOW)


def of_ehr(ident="ehr", patient="chart-h-P1", system=RIS, **more) -> dict:
    number = {"value": "A1"} | ({"system": system} if system else {})
    return {
        "resourceType": "ServiceRequest", "id": ident, "status": "active", "intent": "order",
        "identifier": [number], "subject": {"reference": f"Patient/{patient}"},
    } | more  # fmt: skip


def chart(ident="chart-h-P1", value="P1", system="urn:h") -> dict:
    return {"resourceType": "Patient", "id": ident, "identifier": [{"system": system, "value": value}]}


def test_an_order_is_written_once_and_again_only_when_it_has_changed(store) -> None:
    assert [keep(store), keep(store)] == [Kept.WRITTEN, Kept.KNOWN]
    (order,) = stored(store, "ServiceRequest")
    assert (order["meta"]["versionId"], order["meta"]["source"]) == ("1", "urn:consilium:worklist")
    assert order["identifier"] == [
        {
            "type": {"coding": [{"system": NUMBERS, "code": "ACSN", "display": "Accession ID"}]},
            "system": RIS,
            "value": "A1",
        }
    ]
    changed = ImagingOrder("A1", (KNEE,), reason="fall", accession_system=RIS)
    assert keep(store, changed) == Kept.WRITTEN
    (order,) = stored(store, "ServiceRequest")
    assert (order["meta"]["versionId"], order["reasonCode"]) == ("2", [{"text": "fall"}])


def test_an_order_with_a_control_character_is_written_and_its_patients_impossible_birthday_is_not(store) -> None:
    step, item = Dataset(), Dataset()
    step.Modality, step.ScheduledProcedureStepStartDate = "DX", "20260230"
    item.AccessionNumber, item.PatientID, item.PatientBirthDate = "A\x001", "P1", "19800230"
    item.PatientName, item.RequestedProcedureDescription = "Do\0e^Zz", "Chest\0left"
    item.ScheduledProcedureStepSequence = [step]
    order = read_order(item)
    assert (order.accession_number, order.description, order.side) == ("A 1", "Chest left", "L")
    keeping = OrderKeeping("RIS", {"": RIS}, lambda key: "chart")
    with store.write() as conn:
        assert keeping.keep(conn, KEY, [order], NOW) == Kept.WRITTEN
    (patient,), (request,) = stored(store, "Patient"), stored(store, "ServiceRequest")
    assert "birthDate" not in patient
    assert "occurrenceDateTime" not in request


def test_days_in_the_form_of_old_senders_are_read_as_those_of_today():
    step, item = Dataset(), Dataset()
    step.ScheduledProcedureStepStartDate, item.PatientBirthDate = "2026.01.02", "1960.01.01"
    item.ScheduledProcedureStepSequence = [step]
    order = read_order(item)
    assert (order.scheduled_date, order.patient_birth_date) == ("20260102", "19600101")


def test_each_version_says_which_worklist_told_it(store) -> None:
    keep(store)
    keep(store, ImagingOrder("A1", (KNEE,), reason="fall", accession_system=RIS))
    (order,) = stored(store, "ServiceRequest")
    told = sorted(stored(store, "Provenance"), key=lambda one: one["target"][0]["reference"])
    for one in (order, *told):
        check_r4(one)
    assert [one["target"][0]["reference"] for one in told] == [
        f"ServiceRequest/{order['id']}/_history/{version}" for version in (1, 2)
    ]
    assert [one["activity"]["coding"][0]["code"] for one in told] == ["CREATE", "UPDATE"]
    assert told[0]["agent"][0]["who"]["display"] == "Modality Worklist RIS"
    assert told[0]["entity"][0]["what"]["identifier"]["value"] == "urn:oid:1.7.1"


@pytest.mark.parametrize("system", [RIS, ""])
def test_an_ehrs_own_order_is_used_and_not_written_over(store, system) -> None:
    written(store, chart(), of_ehr(system=system, status="revoked"))
    assert keep(store) == Kept.THEIRS
    (order,) = stored(store, "ServiceRequest")
    assert (order["id"], order["meta"]["versionId"], order["status"]) == ("ehr", "1", "revoked")


def test_an_ehrs_order_that_comes_later_takes_the_place_of_the_worklists(store) -> None:
    keep(store)
    written(store, of_ehr())
    with store.read() as conn:
        assert [one["id"] for one in requests_for(conn, KEY, "A1")] == ["ehr"]


def test_the_same_number_of_another_issuer_is_another_order(store) -> None:
    written(store, chart(), of_ehr(system="urn:other-ris"))
    assert keep(store) == Kept.WRITTEN
    placers = {"type": {"coding": [{"system": NUMBERS, "code": "PLAC"}]}, "value": "A1"}
    written(store, of_ehr("placed", identifier=[placers]))
    assert keep(store) == Kept.KNOWN


def test_what_a_client_has_changed_or_deleted_stands(store) -> None:
    keep(store)
    (order,) = stored(store, "ServiceRequest")
    written(store, order | {"status": "completed"})
    changed = ImagingOrder("A1", (KNEE,), reason="fall", accession_system=RIS)
    assert keep(store, changed) == Kept.ALTERED
    assert stored(store, "ServiceRequest")[0]["status"] == "completed"
    with store.write() as conn:
        gone = NewResource("ServiceRequest", order["id"], 3, to_text(NOW), b"", IndexRows(), deleted=True)
        put(conn, gone)
    assert keep(store, changed) == Kept.ALTERED
    assert stored(store, "ServiceRequest") == []


def test_the_same_patient_number_of_another_issuer_is_another_patient(store) -> None:
    keep(store)
    other = PatientKey("urn:i", "P1")
    assert keep(store, ImagingOrder("A2", (KNEE,), accession_system=RIS), key=other) == Kept.WRITTEN
    subjects = {
        one["identifier"][0]["value"]: one["subject"]["reference"] for one in stored(store, "ServiceRequest")
    }
    assert subjects == {"A1": "Patient/chart-h-P1", "A2": "Patient/chart-i-P1"}


def test_the_number_of_another_patients_order_is_not_written_and_is_told(store) -> None:
    written(store, chart(), chart("other", "P2"), of_ehr(patient="other"))
    assert keep(store) == Kept.FOR_ANOTHER
    assert [one["id"] for one in stored(store, "ServiceRequest")] == ["ehr"]
    with store.read() as conn:
        assert ordered_for_another(conn, KEY, "A1", RIS)
        assert not ordered_for_another(conn, KEY, "A1", "urn:other-ris")
        assert not ordered_for_another(conn, KEY, "A1", "")
        assert not ordered_for_another(conn, PatientKey("urn:h", "P2"), "A1", RIS)


def test_of_many_that_keep_one_order_at_once_one_writes_it(store) -> None:
    begin, said_ = threading.Barrier(8), []

    def one() -> None:
        begin.wait(10)
        said_.append(keep(store))

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(said_) == sorted([Kept.WRITTEN, *[Kept.KNOWN] * 7])
    assert [one["meta"]["versionId"] for one in stored(store, "ServiceRequest")] == ["1"]
    assert len(stored(store, "Provenance")) == 1


def test_an_order_waits_for_a_conditional_create_of_the_same_number_that_has_begun(store) -> None:
    kept: list[Kept] = []
    thread = threading.Thread(target=lambda: kept.append(keep(store)))
    with store.write() as conn:
        lock_key(conn, condition_key("ServiceRequest", [("identifier", f"{RIS}|A1")]))
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
    thread.join(30)
    assert kept == [Kept.WRITTEN]


def test_a_conditional_create_at_the_same_time_finds_ours_or_is_found(fhir_store) -> None:
    store, client = fhir_store
    for number in ("A1", "A2", "A3", "A4"):
        assert how_many_create(store, client, number) == 1
    assert len(stored(store, "ServiceRequest")) == 4


def how_many_create(store, client, number) -> int:
    """Keep an order and create it on condition, each four times at once; return how many of them wrote one."""
    begin, said_ = threading.Barrier(8), []
    order = ImagingOrder(number, (KNEE,), accession_system=RIS)
    posted = orjson.dumps(of_ehr(identifier=[{"system": RIS, "value": number}]))
    headers = {"If-None-Exist": f"identifier={RIS}|{number}", "Content-Type": "application/fhir+json"}

    def ours() -> None:
        begin.wait(10)
        said_.append(keep(store, order))

    def theirs() -> None:
        begin.wait(10)
        said_.append(client.post("/fhir/ServiceRequest", data=posted, headers=headers).status_code)

    threads = [threading.Thread(target=one) for one in (ours, theirs) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(said_) == 8
    return said_.count(201) + said_.count(Kept.WRITTEN)


@pytest.fixture
def fhir_store(store):
    """A store with the patient's chart, and a client of the FHIR API over it."""
    written(store, chart())
    return store, client_of(make_fhir(store, lambda: NOW))


@pytest.fixture(scope="module")
def worklist(tmp_path_factory):
    """dcmtk's worklist server: two orders of one patient, and one whose number has two patients."""
    folder = tmp_path_factory.mktemp("worklist")
    place = folder / "RIS"
    place.mkdir()
    (place / "lockfile").touch()
    orders = [("1", "P1", "Chest"), ("2", "P1", "Knee left"), ("3", "P1", "Chest"), ("3", "P9", "Chest")]
    for number, (accession, patient, description) in enumerate(orders):
        text = ITEM.format(accession=accession, patient=patient, description=description)
        text = text.replace("[RP1]", f"[RP{accession}]")
        if patient == "P9":
            text = text.replace("19600101", "19700101")
        (folder / "item.dump").write_text(text)
        out = said("dump2dcm", "-q", "+te", "-g", folder / "item.dump", place / f"{number}.wl")
        assert (place / f"{number}.wl").is_file(), out
    port = free_port()
    with running([program("wlmscpfs"), "-dfp", str(folder), str(port)], port):
        yield Destination("worklist", "127.0.0.1", port, "RIS")


@pytest.fixture
def study(make_study):
    engine = CannedEngine({"lung-nodule": one_nodule}, {"lung-nodule": manifest_of(segmentation_document())})
    return make_study("lung-nodule", engine, radiograph)


def arrives(study, accession, **said_) -> None:
    study.arrives("first", PatientID="P1", PatientBirthDate="19600101", AccessionNumber=accession)
    header = {"study_uid": study.uid, "patient_id": "P1", "patient_birth_date": "19600101"}
    header |= {"accession_number": accession} | said_
    place = {"study_uid": study.uid, "series_uid": "1.8"}
    instance = place | {"sop_instance_uid": "1.9", "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1.1"}
    with study.db.write() as conn:
        add_headers(conn, [HeaderRows(header, place | {"modality": "DX"}, instance)])


def ordering(study, worklist, issuers=None) -> Ordering:
    return Ordering(
        study.db,
        worklist,
        "CONSILIUM",
        lambda: NOW,
        orders_of,
        issuers=issuers or IssuerTable({"": "urn:h"}),
        keeping=OrderKeeping("RIS", {"": RIS}, lambda key: "chart"),
    )


def known(study) -> study_orders.StudyOrder:
    with study.db.read() as conn:
        return study_orders.order_of(conn, study.uid)


@pytest.mark.slow
def test_results_are_based_on_the_order_of_the_worklist(study, worklist) -> None:
    arrives(study, "1")
    assert ordering(study, worklist).once() == 1
    assert (known(study).kept, known(study).found_by) == (Kept.WRITTEN, "accession number")
    (order,) = study.resources("ServiceRequest")
    (patient,) = study.resources("Patient")
    assert patient["name"] == [{"family": "Doe", "given": ["Zzcanary"]}]
    assert (order["code"]["coding"][0]["code"], order["reasonCode"]) == ("399208008", [{"text": "cough"}])
    check_r4(order)
    study.is_read()
    kinds = ("ImagingStudy", "DiagnosticReport", "Observation", "Task")
    made = [one for kind in kinds for one in study.resources(kind)]
    assert len(made) >= 3
    assert all(one["basedOn"] == [{"reference": f"ServiceRequest/{order['id']}"}] for one in made)


@pytest.mark.slow
def test_images_without_an_accession_number_are_based_on_the_order_of_their_patient_and_day(
    study, worklist
) -> None:
    arrives(study, "", study_date="20260102", modalities_in_study="DX", study_id="")
    ordering(study, worklist).once()
    assert known(study).orders == 0  # two orders of that day: neither
    with study.db.write() as conn:
        conn.execute(study_order.delete())
        conn.execute(study_header.update().values(study_id="RP2"))
    ordering(study, worklist).once()
    assert (known(study).found_by, known(study).accession_number) == ("requested procedure", "2")
    study.is_read()
    (order,) = study.resources("ServiceRequest")
    (report,) = study.resources("DiagnosticReport")
    assert report["basedOn"] == [{"reference": f"ServiceRequest/{order['id']}"}]


@pytest.mark.slow
def test_an_order_that_states_no_issuer_of_its_patient_is_not_written_where_images_have_one(
    study, worklist
) -> None:
    arrives(study, "1")
    ordering(study, worklist, IssuerTable({"H": "urn:h"})).once()
    assert (known(study).orders, known(study).kept) == (1, NO_ISSUER)
    assert study.resources("ServiceRequest") == []


def reason(study) -> str | None:
    holding = Holding(study.db, Selecting(study.blobs, study.steps.issuers), Interlocks(), RIS)
    return holding.reason(study.uid, {"DX"})


@pytest.mark.slow
def test_orders_for_two_patients_under_one_number_hold_the_study(study, worklist) -> None:
    arrives(study, "3")
    ordering(study, worklist).once()
    assert (known(study).several, known(study).kept) == (True, "")
    assert reason(study) == SEVERAL_ORDERED
    assert study.resources("ServiceRequest") == []


@pytest.mark.slow
def test_a_worklist_and_an_ehr_that_contradict_each_other_hold_the_study(study, worklist) -> None:
    written(study.db, chart("other", "P2"), of_ehr(patient="other", identifier=[{"system": RIS, "value": "1"}]))
    arrives(study, "1")
    ordering(study, worklist).once()
    assert known(study).kept == Kept.FOR_ANOTHER
    assert reason(study) == SEVERAL_ORDERED


def test_an_ehrs_order_for_another_patient_holds_the_study_without_a_worklist(study) -> None:
    written(study.db, chart("other", "P2"), of_ehr(patient="other"))
    arrives(study, "A1")
    assert reason(study) == OTHERS_ORDER
    written(study.db, chart(), of_ehr("own"))
    assert reason(study) == SEVERAL_ORDERED
    written(study.db, of_ehr(patient="other", status="entered-in-error"))
    assert reason(study) is None
