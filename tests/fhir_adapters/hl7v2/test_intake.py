"""Messages into the store: idempotent, whole or not at all, acknowledged by the book."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from sqlalchemy import select

from clinical.errors import Busy
from clinical.identity import PatientKey
from fhir_adapters.charts import surviving
from fhir_adapters.hl7v2 import apply
from fhir_adapters.hl7v2.intake import Incoming
from fhir_adapters.hl7v2.testing import ADMISSION, MERGE, ORDER, RESULT, raw
from fhir_adapters.orders import ordered_side
from record_store import hl7_messages
from record_store.tables import audit, resource, resource_history

AT = datetime(2026, 11, 27, 9, 0, tzinfo=UTC)


def stored(db):
    """Return (type, id) -> (version, body)."""
    with db.read() as conn:
        rows = conn.execute(select(resource.c.type, resource.c.id, resource.c.version, resource.c.body))
        return {(kind, one): (version, orjson.loads(body)) for kind, one, version, body in rows}


def bodies(db, kind):
    return [body for (own, _), (_, body) in stored(db).items() if own == kind]


def msa(answer):
    """Return MSA-1 and MSA-2 of each reply."""
    return [
        tuple(line.split("|")[1:3])
        for one in answer.replies
        for line in one.decode().split("\r")
        if line[:3] == "MSA"
    ]


def err(answer):
    (line,) = [line for one in answer.replies for line in one.decode().split("\r") if line.startswith("ERR")]
    return line.split("|")


def test_a_message_sent_three_times_is_stored_once_and_answered_alike(taking):
    answers = [taking.answer(raw(RESULT)) for _ in range(3)]
    after = stored(taking.db)
    assert {answer.replies for answer in answers} == {answers[0].replies}
    assert [answer.outcome for answer in answers] == ["stored", "repeated", "repeated"]
    assert {version for version, _ in after.values()} == {1}
    assert taking.answer(raw(RESULT, control="R2")).outcome == "stored"
    again = stored(taking.db)
    assert {key: one for key, one in again.items() if key in after} == after
    assert [kind for kind, _ in again.keys() - after.keys()] == ["Provenance"]


def test_what_arrives_together_is_answered_in_its_order_and_stored_whole(taking):
    answers = taking.take(raw(ADMISSION), raw(RESULT), raw(RESULT), raw(ADMISSION, event="A03", control="A2"))
    assert [answer.outcome for answer in answers] == ["stored", "stored", "stored", "stored"]
    (encounter,) = bodies(taking.db, "Encounter")
    assert encounter["status"] == "finished"
    assert len(bodies(taking.db, "Patient")) == 1


def test_the_site_is_asked_once_for_a_batch(lite, monkeypatch):
    asked = []
    monkeypatch.setattr(lite, "intake", replace(lite.intake, site=lambda: asked.append(1) or lite.site))
    lite.take(raw(ADMISSION), raw(ADMISSION, control="A2"))
    assert asked == [1]


def test_one_bad_message_does_not_take_the_others_with_it(taking):
    bad = raw(RESULT.replace("|HM|F|", "|HM|Q|"), control="B1")
    answers = taking.take(raw(ADMISSION), bad, raw(RESULT))
    assert [answer.outcome for answer in answers] == ["stored", "quarantined", "stored"]
    assert msa(answers[1]) == [("AE", "B1")]
    assert err(answers[1])[2:5] == ["OBR^1^25", "103^Table value not found^HL70357", "E"]


def test_a_message_becomes_nothing_when_one_of_its_resources_cannot_be_written(lite, monkeypatch):
    monkeypatch.setattr(apply, "index_of", lambda *_: 1 / 0)
    answer = lite.answer(raw(RESULT))
    assert (answer.outcome, msa(answer)) == ("quarantined", [("AE", "R1")])
    assert stored(lite.db) == {}


def test_a_busy_store_is_told_as_a_rejection_and_nothing_is_kept(lite, monkeypatch):
    def busy(*_args, **_more):
        raise Busy("away")

    monkeypatch.setattr(lite.db, "write", busy)
    answer = lite.answer(raw(RESULT))
    assert (answer.outcome, msa(answer)) == ("busy", [("AR", "R1")])
    monkeypatch.undo()
    assert lite.answer(raw(RESULT)).outcome == "stored"


def test_provenance_names_the_message_and_what_it_told(lite):
    lite.answer(raw(RESULT))
    (made,) = bodies(lite.db, "Provenance")
    named = [entity["what"]["identifier"]["value"] for entity in made["entity"]]
    assert named == ["LAB|GENERAL|R1", f"urn:hash::sha256:{hl7_messages.digest_of(raw(RESULT))}"]
    kinds = sorted(target["reference"].partition("/")[0] for target in made["target"])
    assert kinds.count("Observation") == 5
    assert "DiagnosticReport" in kinds


def test_a_correction_is_the_next_version_and_the_report_keeps_its_other_results(taking):
    taking.answer(raw(RESULT))
    lines = RESULT.split("\n")
    only = "\n".join([*lines[:6], lines[6].replace("13.20", "12.90").replace("|F|", "|C|")])
    taking.answer(raw(only.replace("|HM|F|", "|HM|C|"), control="R2"))
    (report,) = bodies(taking.db, "DiagnosticReport")
    assert report["status"] == "corrected"
    assert len(report["result"]) == 5
    found = [
        one for version, one in stored(taking.db).values() if version == 2 and one["resourceType"] == "Observation"
    ]
    assert [(one["status"], one["valueQuantity"]["value"]) for one in found] == [("corrected", 12.9)]
    with taking.db.read() as conn:
        assert len(conn.execute(select(resource_history.c.id)).all()) == 2


def test_a_document_that_is_taken_back_leaves_the_report(lite):
    pdf = f"{RESULT}\nOBX|6|ED|PDF^Report^L||LAB^AP^PDF^Base64^JVBERi0=||||||F"
    lite.answer(raw(pdf))
    assert bodies(lite.db, "DiagnosticReport")[0]["presentedForm"]
    lite.answer(raw(RESULT, control="R2"))
    assert bodies(lite.db, "DiagnosticReport")[0]["presentedForm"]  # not repeated is not taken back
    lite.answer(raw(pdf[:-1] + "W", control="R3"))
    assert "presentedForm" not in bodies(lite.db, "DiagnosticReport")[0]


def test_a_final_status_without_values_keeps_the_values(lite):
    first = RESULT.replace("H|||C", "H|||P")
    lite.answer(raw(first))
    lines = first.split("\n")
    lite.answer(raw("\n".join([*lines[:6], "OBX|2|NM|WBC^Leukocytes^L||||||||U"]), control="R2"))
    (found,) = [
        one for version, one in stored(lite.db).values() if version == 2 and one["resourceType"] == "Observation"
    ]
    assert (found["status"], found["valueQuantity"]["value"]) == ("final", 11.5)


def test_an_admission_joins_what_a_client_has_said_and_takes_nothing_away(lite, make_client):
    client = make_client(lite.db)
    body = {
        "resourceType": "Patient",
        "identifier": [{"system": "urn:oid:1.2.3", "value": "4711"}, {"system": "urn:x", "value": "1"}],
        "photo": [{"url": "http://example.org/1"}],
        "gender": "male",
    }
    patient = client.post("/fhir/Patient", json=body).json
    lite.answer(raw(ADMISSION))
    found = client.get(f"/fhir/Patient/{patient['id']}").json
    assert found["meta"]["versionId"] == "2"
    assert (found["gender"], found["photo"]) == ("female", body["photo"])
    assert [one["value"] for one in found["identifier"]] == ["4711", "1", "756.1234.5678.97"]
    (encounter,) = bodies(lite.db, "Encounter")
    assert encounter["subject"]["reference"] == f"Patient/{patient['id']}"
    lite.answer(raw(ADMISSION.replace("||19700203|F|", '||""|F|'), event="A08", control="A2"))
    assert "birthDate" not in client.get(f"/fhir/Patient/{patient['id']}").json


def test_a_merged_number_leads_to_the_chart_that_is_in_use(taking):
    old = raw(
        ADMISSION.replace("4711", "0815").replace("V100", "V1").replace("756.1234.5678.97", "1"), control="A0"
    )
    taking.take(old, raw(ADMISSION))
    assert taking.answer(raw(MERGE)).outcome == "stored"
    assert taking.answer(raw(MERGE, control="M2")).outcome == "stored"
    with taking.db.read() as conn:
        (used,) = surviving(conn, PatientKey("urn:oid:1.2.3", "0815"))
    patients = {body["id"]: body for body in bodies(taking.db, "Patient")}
    (gone,) = [body for body in patients.values() if body.get("active") is False]
    assert gone["link"] == [{"other": {"reference": f"Patient/{used}"}, "type": "replaced-by"}]
    assert patients[used]["link"] == [{"other": {"reference": f"Patient/{gone['id']}"}, "type": "replaces"}]
    late = RESULT.replace("4711", "0815")
    taking.answer(raw(late, control="R9"))
    assert {one["subject"]["reference"] for one in bodies(taking.db, "Observation")} == {f"Patient/{used}"}


def test_a_merge_and_what_comes_after_it_may_arrive_together(taking):
    late = raw(RESULT.replace("4711", "0815"), control="R9")
    answers = taking.take(raw(ADMISSION), raw(MERGE), late)
    assert [answer.outcome for answer in answers] == ["stored"] * 3
    (used,) = [body["id"] for body in bodies(taking.db, "Patient") if body.get("active") is not False]
    assert {one["subject"]["reference"] for one in bodies(taking.db, "Observation")} == {f"Patient/{used}"}


def test_a_number_that_was_merged_before_does_not_take_the_chart_with_it_that_it_leads_to(taking):
    third = raw(ADMISSION.replace("4711", "4712").replace("V100", "V2").replace("756.", "757."), control="A2")
    taking.take(raw(ADMISSION), third, raw(MERGE))
    before = stored(taking.db)
    answer = taking.answer(raw(MERGE.replace("4711", "4712"), control="M2"))
    assert (answer.outcome, err(answer)[3][:3]) == ("quarantined", "205")
    assert stored(taking.db) == before
    # The chart itself may be merged on, and then both numbers lead to the last one.
    on = MERGE.replace("4711", "4712").replace("0815", "4711")
    assert taking.answer(raw(on, control="M3")).outcome == "stored"
    assert taking.answer(raw(MERGE.replace("4711", "4712"), control="M4")).outcome == "stored"
    with taking.db.read() as conn:
        found = [surviving(conn, PatientKey("urn:oid:1.2.3", one)) for one in ("0815", "4711", "4712")]
    assert found == [found[0]] * 3


def test_a_chart_that_has_taken_over_a_number_and_says_so_is_not_merged_away_by_it(taking):
    third = raw(ADMISSION.replace("4711", "4712").replace("V100", "V2").replace("756.", "757."), control="A2")
    both = raw(
        ADMISSION.replace("^MR~", "^MR~0815^^^GENERAL^MR~"), control="A3"
    )  # many a sender lists old numbers
    taking.take(raw(ADMISSION), third, raw(MERGE), both)
    before = stored(taking.db)
    answer = taking.answer(raw(MERGE.replace("4711", "4712"), control="M2"))
    assert (answer.outcome, err(answer)[3][:3]) == ("quarantined", "205")
    assert stored(taking.db) == before
    # Named by its own number as well, it is this chart that is meant.
    on = MERGE.replace("4711", "4712").replace("MRG|0815", "MRG|0815^^^GENERAL^MR~4711")
    assert taking.answer(raw(on, control="M3")).outcome == "stored"


def test_an_answer_echoes_the_names_of_the_header_in_the_set_that_it_declares(lite):
    lines = RESULT.replace("|LAB|", "|Zürich|").replace("|P|2.5.1", "|P|2.5.1||||||8859/1").split("\n")
    answer = lite.answer(("\r".join(lines) + "\r").encode("iso8859-1"))
    assert answer.outcome == "stored"
    assert "|Zürich|" in answer.replies[0].decode("iso8859-1")


def test_numbers_of_another_patient_are_never_written_over(taking):
    taking.answer(raw(RESULT))
    before = stored(taking.db)
    answer = taking.answer(raw(RESULT.replace("4711", "4712"), control="R2"))
    assert (answer.outcome, err(answer)[3][:3]) == ("quarantined", "205")
    assert stored(taking.db) == before


@pytest.mark.parametrize("first", [ADMISSION, ORDER.replace("P90^RIS", "P77^ORDERS")])
def test_a_result_does_not_name_the_visit_or_the_order_of_another_patient(lite, first):
    assert lite.answer(raw(first)).outcome == "stored"
    answer = lite.answer(raw(RESULT.replace("4711", "4712").replace("F88", "F89")))
    assert (answer.outcome, err(answer)[3].split("^")[0]) == ("quarantined", "205")
    assert bodies(lite.db, "DiagnosticReport") == []
    assert lite.answer(raw(RESULT, control="R2")).outcome == "stored"


def test_of_two_services_under_one_number_the_one_that_is_named_is_cancelled(lite):
    second = "OBR|2|P90^RIS|F91^RIS|CT-CH^Chest CT^L||||||||||||||||||||RAD"
    lite.answer(raw(f"{ORDER}\n{second}"))
    lines = [line for line in ORDER.split("\n") if not line.startswith(("OBR", "IPC", "TQ1"))]
    lite.answer(
        raw("\n".join([*lines, second]).replace("ORC|NW", "ORC|CA").replace("||SC||", "||CA||"), control="O2")
    )
    found = {one["code"]["text"]: one["status"] for one in bodies(lite.db, "ServiceRequest")}
    assert found == {"Chest X-ray": "active", "Chest CT": "revoked"}


def test_identifiers_of_two_people_in_one_message_are_refused(lite):
    lite.take(raw(ADMISSION), raw(ADMISSION.replace("4711", "4712").replace("V100", "V2").replace("756.", "757.")))
    both = ADMISSION.replace("4711^^^GENERAL^MR~", "4711^^^GENERAL^MR~4712^^^GENERAL^MR~")
    assert lite.answer(raw(both, control="A9")).outcome == "quarantined"
    with lite.db.read() as conn:
        assert [one.code for one in hl7_messages.quarantined(conn)] == [205]


def test_an_order_and_its_result_meet_by_the_placers_number(taking):
    order = ORDER.replace("P90^RIS", "P77^ORDERS").replace("F91^RIS", "")
    taking.answer(raw(order))
    taking.answer(raw(RESULT))
    ((_, request),) = [key for key in stored(taking.db) if key[0] == "ServiceRequest"]
    (report,) = bodies(taking.db, "DiagnosticReport")
    assert report["basedOn"][0]["reference"] == f"ServiceRequest/{request}"
    taking.answer(raw(order.replace("ORC|NW", "ORC|CA").replace("||SC|", "|||"), control="O2"))
    assert bodies(taking.db, "ServiceRequest")[0]["status"] == "revoked"


def test_a_result_without_its_order_says_the_orders_number(lite):
    lite.answer(raw(RESULT))
    (report,) = bodies(lite.db, "DiagnosticReport")
    assert "reference" not in report["basedOn"][0]
    assert report["basedOn"][0]["identifier"]["value"] == "P77"


def test_a_message_in_quarantine_is_stored_once_it_is_understood(taking):
    text = raw(RESULT.replace("|P|2.5.1", "|T|2.5.1"))
    assert taking.answer(text).outcome == "quarantined"
    with taking.db.read() as conn:
        (kept,) = hl7_messages.quarantined(conn)
    assert (kept.body, kept.code, kept.problem) == (text, 202, "MSH-11: expected a message for this environment")
    assert "4711" not in repr(kept)
    taking.site = replace(taking.site, processing_ids=frozenset("PT"))
    assert taking.answer(text).outcome == "stored"
    with taking.db.read() as conn:
        assert hl7_messages.quarantined(conn) == []
        found = hl7_messages.named(conn, kept.sha256[:10])
        assert (found.state, found.attempts, found.code) == ("stored", 2, 0)
        assert hl7_messages.counts(conn) == {"stored": 1}


def test_every_message_is_in_the_audit_in_the_transaction_that_stores_it(lite):
    lite.take(raw(RESULT), raw(RESULT.replace("|HM|F|", "|HM|Q|"), control="B1"))
    with lite.db.read() as conn:
        rows = conn.execute(select(audit.c.action, audit.c.outcome, audit.c.actor, audit.c.subject)).all()
    assert [row[:3] for row in rows] == [
        ("hl7-message", "stored", "hl7:LAB|GENERAL"),
        ("hl7-message", "quarantined", "hl7:LAB|GENERAL"),
    ]
    assert hl7_messages.digest_of(raw(RESULT)).startswith(rows[0][3])


def test_what_has_no_header_is_answered_and_not_kept(lite):
    answer = lite.answer(b"hello")
    assert (answer.outcome, msa(answer)) == ("refused", [("AR", "")])
    with lite.db.read() as conn:
        assert hl7_messages.counts(conn) == {}


def test_a_full_quarantine_keeps_no_more_and_says_the_same(lite, monkeypatch):
    monkeypatch.setattr(hl7_messages, "MOST_QUARANTINED", 1)
    bad = RESULT.replace("|HM|F|", "|HM|Q|")
    answers = [lite.answer(raw(bad, control=control)) for control in ("B1", "B2")]
    assert [answer.outcome for answer in answers] == ["quarantined", "refused"]
    assert msa(answers[1]) == [("AE", "B2")]


@pytest.mark.parametrize(
    ("modes", "good", "bad"),
    [
        ("|", ["AA"], ["AE"]),
        ("AL|NE", ["CA"], ["CA"]),
        ("AL|AL", ["CA", "AA"], ["CA", "AE"]),
        ("NE|AL", ["AA"], ["AE"]),
        ("ER|ER", [], ["AE"]),
        ("SU|SU", ["CA", "AA"], ["CA"]),
        ("NE|NE", [], []),
    ],
)
def test_a_sender_is_told_when_it_wants_to_be(lite, modes, good, bad):
    text = RESULT.replace("|P|2.5.1", f"|P|2.5.1|||{modes}")
    assert [code for code, _ in msa(lite.answer(raw(text)))] == good
    wrong = raw(text.replace("|HM|F|", "|HM|Q|"), control="B1")
    assert [code for code, _ in msa(lite.answer(wrong))] == bad


def test_an_old_version_gets_an_error_segment_as_it_knows_it(lite):
    old = RESULT.replace("|P|2.5.1", "|P|2.3").replace("|HM|F|", "|HM|Q|")
    assert err(lite.answer(raw(old)))[1] == "OBR^1^25^103&Table value not found&HL70357"


def test_an_answer_is_addressed_to_its_sender_in_its_delimiters(lite):
    text = RESULT.replace("|", "#").replace("MSH#^~\\&", "MSH#^~\\&")
    (reply,) = lite.answer(raw_with(text)).replies
    head = reply.decode().split("\r")[0].split("#")
    assert head[1:6] == ["^~\\&", "CONSILIUM", "GENERAL", "LAB", "GENERAL"]
    assert head[8] == "ACK^R01^ACK"


def raw_with(text):
    return ("\r".join(text.split("\n")) + "\r").encode()


def test_an_order_tells_the_side_that_its_images_are_compared_with(lite):
    lite.answer(raw(ORDER))
    with lite.db.read() as conn:
        assert ordered_side(conn, PatientKey("urn:oid:1.2.3", "4711"), "ACC500") == "L"
    lite.answer(raw(ORDER.replace("ORC|NW", "ORC|CA").replace("||SC|", "|||"), control="O2"))
    with lite.db.read() as conn:
        assert ordered_side(conn, PatientKey("urn:oid:1.2.3", "4711"), "ACC500") == ""


def test_a_message_and_a_client_that_make_a_patient_at_once_make_one(taking, make_client):
    client = make_client(taking.db)
    body = {"resourceType": "Patient", "identifier": [{"system": "urn:oid:1.2.3", "value": ""}]}
    for number in range(8):
        value = str(5000 + number)
        body["identifier"][0]["value"] = value
        together = threading.Barrier(2)

        def create(value=value, together=together):
            together.wait()
            headers = {"If-None-Exist": f"identifier=urn:oid:1.2.3|{value}"}
            assert client.post("/fhir/Patient", json=body, headers=headers).status_code in (200, 201)

        thread = threading.Thread(target=create)
        thread.start()
        together.wait()
        text = RESULT.replace("4711", value).replace("F88", f"F{number}").replace("P77", f"P{number}")
        assert taking.answer(raw(text, control=f"T{number}")).outcome == "stored"
        thread.join()
    numbers = [one["identifier"][0]["value"] for one in bodies(taking.db, "Patient")]
    assert sorted(numbers) == [str(5000 + number) for number in range(8)]


def test_an_admission_that_says_what_is_known_changes_nothing(lite):
    lite.answer(raw(ADMISSION))
    before = {key: one for key, one in stored(lite.db).items() if key[0] != "Provenance"}
    lite.answer(raw(ADMISSION, event="A08", control="A2"))
    after = {key: one for key, one in stored(lite.db).items() if key[0] != "Provenance"}
    assert after == before


def test_a_final_result_is_not_changed_by_a_late_preliminary_one(lite):
    lite.answer(raw(RESULT))
    before = {key: one for key, one in stored(lite.db).items() if key[0] != "Provenance"}
    late = RESULT.replace("|HM|F|", "|HM|P|").replace("N|||F", "N|||P").replace("13.20", "99")
    assert lite.answer(raw(late, control="R2")).outcome == "stored"
    older = RESULT.replace("20261127115900", "20261127115800").replace("13.20", "98")
    assert lite.answer(raw(older, control="R3")).outcome == "stored"
    after = {key: one for key, one in stored(lite.db).items() if key[0] != "Provenance"}
    assert after == before


def test_a_corrected_result_is_not_undone_by_the_final_one_that_came_before_it(lite):
    text = RESULT.replace("20261127115900", "")  # no OBR-22: the status alone tells
    lite.answer(raw(text.replace("|HM|F|", "|HM|C|").replace("N|||F", "N|||C").replace("13.20", "12.10")))
    before = {key: one for key, one in stored(lite.db).items() if key[0] != "Provenance"}
    assert lite.answer(raw(text, control="R2")).outcome == "stored"
    after = {key: one for key, one in stored(lite.db).items() if key[0] != "Provenance"}
    assert after == before


def test_what_was_written_after_a_message_came_stays_when_it_is_mapped_again(lite):
    early = raw(ADMISSION.replace("|P|2.5.1", "|T|2.5.1").replace("Müller", "Old"), control="A1")
    assert lite.answer(early).outcome == "quarantined"
    with lite.db.read() as conn:
        (waiting,) = hl7_messages.quarantined(conn)
    lite.intake = replace(lite.intake, now=lambda: AT + timedelta(minutes=1))
    lite.answer(raw(ADMISSION, control="A2"))
    lite.site = replace(lite.site, processing_ids=frozenset("PT"))
    (answer,) = lite.intake.take([Incoming(waiting.body, waiting.peer, waiting.received_at)])
    assert answer.outcome == "stored"
    assert bodies(lite.db, "Patient")[0]["name"][0]["family"] == "Müller"


def test_old_messages_go_and_those_in_quarantine_wait(taking):
    taking.take(raw(ADMISSION), raw(RESULT.replace("|HM|F|", "|HM|Q|")))
    assert hl7_messages.purge(taking.db, AT) == 0
    assert hl7_messages.purge(taking.db, AT + timedelta(seconds=1)) == 1
    with taking.db.read() as conn:
        assert hl7_messages.counts(conn) == {"quarantined": 1}
    assert taking.answer(raw(ADMISSION)).outcome == "stored"
