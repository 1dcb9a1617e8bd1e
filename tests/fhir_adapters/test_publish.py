"""Our own results: written once however often the work is done, and joined to the right patient."""

from datetime import UTC, datetime, timedelta

import orjson
import pytest

from clinical.identity import PatientKey
from fhir_adapters.publish import find_or_add_patient, publish
from fhir_adapters.resources.device import IMAGE_MODEL_KINDS
from fhir_adapters.resources.imaging_study import Instance, StudyFacts
from fhir_adapters.resources.model_card import AiModel
from fhir_adapters.resources.patient import Demographics
from fhir_adapters.resources.reading import result_ids, results_of
from record_store.criteria import PatientIn, TokenIn
from record_store.resource_history import version
from record_store.resource_search import SearchQuery, search
from record_store.resources import read

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
KEY = PatientKey("urn:oid:1.2.3", "ZZCANARY-4711")


def results(reading, issued=NOW, evidence=(), reading_id="r1"):
    return results_of(
        reading,
        ids=result_ids(reading, reading_id=reading_id),
        tracking_uids=[f"2.25.{each.number}" for each in reading.findings],
        patient_id="p1",
        issued=issued,
        study=StudyFacts(),
        evidence=evidence,
        about=AiModel(reading.model, "Lung nodules", IMAGE_MODEL_KINDS, "# Lung nodules\n"),
        reading_id=reading_id,
    )


def published(db, resources, now=NOW):
    with db.write() as conn:
        return publish(conn, resources, now)


def test_work_done_twice_is_written_once(db, make_reading):
    reading = make_reading(findings=2)
    assert len(published(db, results(reading))) == 6
    assert published(db, results(reading, issued=LATER), LATER) == []
    with db.read() as conn:
        found = search(conn, SearchQuery("Observation", (PatientIn(("p1",)),)))
        assert [match.resource.version for match in found] == [1, 1]
        tracked = TokenIn("identifier", (("urn:dicom:uid", "urn:oid:2.25.2"),))
        assert len(search(conn, SearchQuery("Observation", (tracked,)))) == 1


def test_a_changed_result_is_a_new_version_and_the_old_one_stays_readable(db, make_reading):
    published(db, results(make_reading()))
    changed = published(db, results(make_reading(probability=0.9)), LATER)
    assert sorted(each.split("/")[0] for each in changed) == ["DiagnosticReport", "Observation"]
    resource_type, resource_id = next(each for each in changed if each.startswith("Observation")).split("/")
    with db.read() as conn:
        assert read(conn, resource_type, resource_id).version == 2
        assert b'"valueDecimal":0.873' in version(conn, resource_type, resource_id, 1).stored.body
        assert b'"versionId":"2"' in version(conn, resource_type, resource_id, 2).stored.body
        assert version(conn, resource_type, resource_id, 3) is None
        assert len(search(conn, SearchQuery("Observation", (PatientIn(("p1",)),)))) == 1


@pytest.mark.parametrize("status", ["final", "amended", "entered-in-error"])
def test_what_a_person_has_decided_about_a_result_stands_when_the_work_is_done_again(db, make_reading, status):
    published(db, results(make_reading()))
    mine = result_ids(make_reading(), reading_id="r1").observations[0]
    with db.write() as conn:
        found = orjson.loads(read(conn, "Observation", mine).body)
        publish(conn, [found | {"status": status}], NOW)
    assert published(db, results(make_reading(probability=0.9)), LATER) == [
        f"DiagnosticReport/{result_ids(make_reading(), reading_id='r1').report}"
    ]
    with db.read() as conn:
        assert orjson.loads(read(conn, "Observation", mine).body)["status"] == status


def test_a_model_that_was_recalled_does_not_come_back_with_its_next_result(db, make_reading):
    published(db, results(make_reading()))
    device = result_ids(make_reading(), reading_id="r1").device
    with db.write() as conn:
        found = orjson.loads(read(conn, "Device", device).body)
        publish(conn, [found | {"status": "inactive"}], NOW)
    published(db, results(make_reading()), LATER)
    with db.read() as conn:
        assert orjson.loads(read(conn, "Device", device).body)["status"] == "inactive"


def test_a_study_read_image_by_image_lists_all_of_them(db, make_reading):
    reading = make_reading()
    segs = [Instance(f"1.2.3.8.{number}", "1.2.840.10008.5.1.4.1.1.66.4", "1.2.3.8", "SEG") for number in (1, 2)]
    published(db, results(reading, evidence=segs[:1]))
    published(db, results(reading, evidence=segs[1:]))
    assert published(db, results(reading, evidence=segs[:1])) == []
    with db.read() as conn:
        study = read(conn, "ImagingStudy", result_ids(reading, reading_id="r1").imaging_study)
    assert b"1.2.3.8.1" in study.body
    assert b"1.2.3.8.2" in study.body
    assert study.version == 2


def test_nothing_is_written_when_the_transaction_fails(db, make_reading):
    def publish_and_fail():
        with db.write() as conn:
            publish(conn, results(make_reading()), NOW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        publish_and_fail()
    with db.read() as conn:
        assert search(conn, SearchQuery("Observation")) == []


def test_a_patient_is_added_once_and_found_by_issuer_and_value(db):
    with db.write() as conn:
        told = Demographics("Zzcanary", "Quillon", "1970-01-01", "female")
        assert find_or_add_patient(conn, KEY, "derived-1", NOW, told) == "derived-1"
        assert find_or_add_patient(conn, KEY, "derived-1", LATER) == "derived-1"
        other = PatientKey("urn:oid:9.9", KEY.value)
        assert find_or_add_patient(conn, other, "derived-2", NOW) == "derived-2"
    with db.read() as conn:
        assert read(conn, "Patient", "derived-1").version == 1
        assert b"Quillon" in read(conn, "Patient", "derived-1").body
        assert b"Quillon" not in read(conn, "Patient", "derived-2").body


def test_a_patient_whom_the_record_system_sent_is_used(db, make_client):
    sent = {"resourceType": "Patient", "identifier": [{"system": KEY.system, "value": KEY.value}]}
    reply = make_client(db).post("/fhir/Patient", json=sent, content_type="application/fhir+json")
    with db.write() as conn:
        assert find_or_add_patient(conn, KEY, "derived-1", NOW) == reply.get_json(force=True)["id"]
        assert read(conn, "Patient", "derived-1") is None


def test_an_issuer_whose_name_has_blanks_still_has_one_patient(db):
    key = PatientKey("urn:consilium:unmapped-issuer:General Hospital", "1")
    with db.write() as conn:
        assert find_or_add_patient(conn, key, "derived-1", NOW) == "derived-1"
        assert find_or_add_patient(conn, key, "derived-other", NOW) == "derived-1"


def test_results_are_found_by_their_model_and_by_how_sure_it_is(sqlite_db, make_client, make_reading):
    published(sqlite_db, results(make_reading()))
    published(sqlite_db, results(make_reading(probability=0.6), reading_id="r2"))
    client = make_client(sqlite_db)

    def found(kind, query):
        bundle = client.get(f"/fhir/{kind}?{query}").get_json(force=True)
        return len(bundle.get("entry", ()))

    for kind in ("Observation", "DiagnosticReport"):
        assert found(kind, "ai-model=urn:consilium:model|lung-nodule") == 2
        assert found(kind, "ai-model=lung-nodule@0.1.0") == 2
        assert found(kind, "ai-model=lung-nodule@0.2.0") == 0
        assert found(kind, "ai-model=lung-nodule&ai-confidence=gt0.8") == 1


def test_a_control_character_in_a_header_keeps_no_result_from_the_store(db) -> None:
    """PostgreSQL refused the whole result of an image whose patient's name held a NUL."""
    said = {
        "resourceType": "Patient",
        "id": "p",
        "name": [{"family": "Do\0\x1be\\u0000", "given": ["\b\fJ\n", "\\f"]}],
    }
    for count in (1, 0):
        with db.write() as conn:
            assert len(publish(conn, [said], NOW)) == count
    with db.read() as conn:
        assert orjson.loads(read(conn, "Patient", "p").body)["name"] == [
            {"family": "Doe\\u0000", "given": ["J\n", "\\f"]}
        ]
