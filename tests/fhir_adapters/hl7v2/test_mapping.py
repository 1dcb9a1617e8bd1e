"""Messages into resources: pure, whatever is stored here."""

import hashlib
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clinical.codes import LOINC, Coding
from fhir_adapters.hl7v2.bundle import as_bundle
from fhir_adapters.hl7v2.errors import MessageError
from fhir_adapters.hl7v2.mapping import map_message
from fhir_adapters.hl7v2.message import parse
from fhir_adapters.hl7v2.parts import Way
from fhir_adapters.hl7v2.site import Site
from fhir_adapters.hl7v2.testing import ADMISSION, MERGE, ORDER, RESULT, raw
from fhir_adapters.hl7v2.text import decoded
from fhir_adapters.strict_json import load_object
from fhir_adapters.validation import problems_of
from fhir_adapters.verbatim import dumps


def derive(*key: str) -> str:
    return hashlib.sha256("\x1f".join(key).encode()).hexdigest()[:40]


SITE = Site(
    derive=derive,
    patient_id=lambda key: derive("Patient", key.system, key.value),
    issuers={"GENERAL": "urn:oid:1.2.3"},
)


def mapped(text, site=SITE):
    return map_message(parse(decoded(text.encode())), site)


def resources(text, kind, site=SITE):
    return [part.resource for part in mapped(text, site).parts if part.type == kind]


def one(text, kind, site=SITE):
    (found,) = resources(text, kind, site)
    return found


def observations(text, site=SITE):
    found = resources(text, "Observation", site)
    return {each["code"].get("text") or each["code"]["coding"][0]["code"]: each for each in found}


@pytest.mark.parametrize("text", [ADMISSION, RESULT, ORDER, MERGE])
def test_what_comes_out_is_valid_r4(text):
    for entry in as_bundle(mapped(text))["entry"]:
        resource = load_object(dumps(entry["resource"]), decimals=True)
        assert [problem for problem in problems_of(resource) if problem.severity == "error"] == []


def test_the_same_message_makes_the_same_resources_and_another_number_of_it_too():
    assert as_bundle(mapped(RESULT)) == as_bundle(mapped(RESULT))
    again = as_bundle(map_message(parse(decoded(raw(RESULT, control="R2"))), SITE))
    assert again == as_bundle(mapped(RESULT))


def test_an_admission_makes_patient_and_encounter():
    patient, encounter = one(ADMISSION, "Patient"), one(ADMISSION, "Encounter")
    assert patient["identifier"][0]["system"] == "urn:oid:1.2.3"
    assert patient["identifier"][1] | {"type": None} == {
        "type": None, "system": "urn:oid:2.16.756.5.32", "value": "756.1234.5678.97",
    }  # fmt: skip
    assert patient["name"][0] == {
        "use": "official", "family": "Müller", "given": ["Anna", "Maria"], "prefix": ["Dr."],
    }  # fmt: skip
    assert (patient["gender"], patient["birthDate"]) == ("female", "1970-02-03")
    assert {"system": "email", "value": "anna@example.org", "use": "home"} in patient["telecom"]
    assert encounter["status"] == "in-progress"
    assert encounter["class"]["code"] == "IMP"
    assert encounter["period"] == {"start": "2026-11-27T10:00:00+01:00"}
    assert encounter["subject"]["reference"] == f"Patient/{derive('Patient', 'urn:oid:1.2.3', '4711')}"


@pytest.mark.parametrize(
    ("event", "status"),
    [("A01", "in-progress"), ("A03", "finished"), ("A05", "planned"), ("A11", "cancelled"), ("A13", "in-progress"),
     ("A08", None)],
)  # fmt: skip
def test_an_event_says_what_became_of_the_encounter(event, status):
    encounter = one(raw(ADMISSION, event=event).decode(), "Encounter")
    assert encounter.get("status") == status


def test_a_discharge_that_is_taken_back_takes_its_end_back():
    assert one(raw(ADMISSION, event="A13").decode(), "Encounter")["period"]["end"] is None


def test_events_of_persons_make_no_encounter():
    assert resources(raw(ADMISSION, event="A31").decode(), "Encounter") == []


def test_a_null_deletes_and_an_empty_field_does_not():
    text = ADMISSION.replace("||19700203|F|", '||""|F|')
    (part,) = [part for part in mapped(text).parts if part.type == "Patient"]
    assert part.removed == {"birthDate"}
    assert "birthDate" not in part.resource


def test_a_result_makes_a_report_with_its_observations():
    report, found = one(RESULT, "DiagnosticReport"), observations(RESULT)
    assert report["status"] == "final"
    assert len(report["result"]) == 5
    assert report["conclusion"] == "Sample slightly haemolysed"
    assert report["issued"] == "2026-11-27T10:59:00.000Z"
    assert report["basedOn"][0]["identifier"]["value"] == "P77"
    haemoglobin = found["Haemoglobin"]
    assert haemoglobin["valueQuantity"] == {
        "value": haemoglobin["valueQuantity"]["value"], "unit": "g/dl", "system": "http://unitsofmeasure.org",
        "code": "g/dL",
    }  # fmt: skip
    assert b'"value":13.20' in dumps(haemoglobin)
    assert haemoglobin["note"] == [{"text": "Checked twice"}]
    assert haemoglobin["effectiveDateTime"] == "2026-11-27T08:30:00+01:00"
    assert haemoglobin["referenceRange"][0]["text"] == "12.0-16.0"
    assert found["Leukocytes"]["status"] == "corrected"
    assert found["Leukocytes"]["valueQuantity"]["code"] == "10*3/uL"
    assert found["Leukocytes"]["interpretation"][0]["coding"][0]["code"] == "H"
    assert found["C-reactive protein"]["valueQuantity"]["comparator"] == "<"
    assert found["Blood group"]["valueCodeableConcept"]["text"] == "Group A"
    assert found["Remark"]["valueString"] == "a & b\nnext line"


def observation(obx):
    head = "\n".join(RESULT.split("\n")[:5])
    return one(f"{head}\n{obx}", "Observation")


@pytest.mark.parametrize(
    ("kind", "value", "member", "expected"),
    [
        ("NM", "NEG", "valueString", "NEG"),
        ("NM", ">100", "valueQuantity", b'{"value":100,"comparator":">","unit":"mg/L"'),
        ("SN", "^1^-^2", "valueRange", b'{"low":{"value":1,'),
        ("SN", "^1^:^128", "valueRatio", b'"denominator":{"value":128}'),
        ("SN", "^2^+", "valueString", "2 +"),
        ("DT", "20261127", "valueDateTime", "2026-11-27"),
        ("TM", "0815", "valueTime", "08:15:00"),
        ("DR", "20261127^20261128", "valuePeriod", {"start": "2026-11-27", "end": "2026-11-28"}),
        ("ST", "a^b", "valueString", "a^b"),
        ("FT", "one~two", "valueString", "one\ntwo"),
        ("RP", "file^path", "dataAbsentReason", b"unsupported"),
        ("NM", '""', "dataAbsentReason", b"unknown"),
    ],
)
def test_a_value_is_read_by_its_type(kind, value, member, expected):
    found = observation(f"OBX|1|{kind}|X^Y^L||{value}|mg/L|||||F")[member]
    assert expected in dumps(found) if isinstance(expected, bytes) else found == expected


def test_values_of_one_observation_that_repeat_are_its_components():
    found = observation("OBX|1|CE|X^Y^L||A^Alpha^L~B^Beta^L||||||F")
    assert [part["valueCodeableConcept"]["text"] for part in found["component"]] == ["Alpha", "Beta"]


def test_an_observation_keeps_its_id_when_the_message_counts_otherwise():
    moved = RESULT.replace("OBX|1|", "OBX|9|").replace("OBX|2|", "OBX|1|")
    ids = [{part.reference for part in mapped(text).parts} for text in (RESULT, moved)]
    assert ids[0] == ids[1]


def test_two_patients_in_one_message_keep_their_results_apart():
    lines = RESULT.split("\n")
    second = [line.replace("4711", "4712").replace("F88", "F89").replace("V100", "V101") for line in lines[1:7]]
    found = resources("\n".join([*lines, *second]), "Observation")
    subjects = [each["subject"]["reference"] for each in found]
    assert len(set(subjects)) == 2
    assert subjects[-1] != subjects[0]


def test_a_pdf_stands_in_the_report_and_a_large_or_active_one_is_refused():
    pdf = "OBX|6|ED|PDF^Report^L||LAB^AP^PDF^Base64^JVBERi0=||||||F"
    assert one(f"{RESULT}\n{pdf}", "DiagnosticReport")["presentedForm"] == [
        {"contentType": "application/pdf", "data": "JVBERi0=", "title": "Report"}
    ]
    for wrong, code in ((pdf.replace("PDF^B", "HTML^B"), 103), (pdf.replace("JVBERi0=", "%%"), 102)):
        assert refused(f"{RESULT}\n{wrong}").code == code
    assert refused(f"{RESULT}\n{pdf}", replace(SITE, attachment_bytes=2)).code == 104


@pytest.mark.parametrize("withdrawn", ["D", "W", "X"])
def test_a_document_that_was_taken_back_stands_in_no_report(withdrawn):
    pdf = f"OBX|6|ED|PDF^Report^L||LAB^AP^PDF^Base64^JVBERi0=||||||{withdrawn}"
    assert "presentedForm" not in as_bundle(mapped(f"{RESULT}\n{pdf}"))["entry"][-1]["resource"]


def test_a_note_on_the_next_patient_or_order_stands_at_no_result_before():
    lines = RESULT.split("\n")
    of_order = [*lines, "ORC|RE|P78^ORDERS|F89^LAB", "NTE|1||of the order", *lines[4:5]]
    of_patient = [*lines, lines[1].replace("4711", "4712"), "NTE|1||of the patient", *lines[4:5]]
    for found in (of_order, of_patient):
        text = "\n".join([*found[:-1], found[-1].replace("F88", "F89")])
        assert b"of the " not in b"".join(dumps(part.resource) for part in mapped(text).parts)


@pytest.mark.parametrize(
    ("sent", "told"),
    [("^1^:^128", "valueRatio"), (">^1^:^128", "> 1 : 128"), ("<^2^-^5", "< 2 - 5"), ("=^2^-^5", "valueRange")],
)
def test_a_titre_keeps_its_comparator(sent, told):
    text = RESULT.replace("|<^5|", f"|{sent}|")
    found = observations(text)["C-reactive protein"]
    assert told in found or found["valueString"] == told


def test_a_patients_authority_with_an_oid_alone_is_not_the_sites_own():
    site = replace(SITE, issuers={"": "urn:oid:1.2.3", "2.2.2": "urn:oid:2.2"})
    found = {
        one(RESULT.replace("4711^^^GENERAL", f"4711^^^{authority}"), "Patient", site)["identifier"][0]["system"]
        for authority in ("", "&9.9.9&ISO", "&a.example.org&DNS", "&b.example.org&DNS", "&2.2.2&ISO")
    }
    assert found == {
        "urn:oid:1.2.3",
        "urn:oid:9.9.9",
        "urn:consilium:unmapped-issuer:a.example.org",
        "urn:consilium:unmapped-issuer:b.example.org",
        "urn:oid:2.2",
    }


def test_an_order_makes_a_service_request():
    found = one(ORDER, "ServiceRequest")
    assert [each["value"] for each in found["identifier"]] == ["P90", "F91", "ACC500"]
    assert (found["status"], found["intent"], found["priority"]) == ("active", "order", "stat")
    assert found["code"]["text"] == "Chest X-ray"
    assert [site["text"] for site in found["bodySite"]] == ["Chest", "Left"]
    assert found["occurrenceDateTime"] == "2026-11-27T14:00:00+01:00"
    assert found["requester"]["display"] == "Eva Huber"
    assert found["reasonCode"][0]["coding"][0] == {
        "system": "http://hl7.org/fhir/sid/icd-10", "code": "R05", "display": "Cough",
    }  # fmt: skip
    assert found["note"] == [{"text": "cough for three weeks"}]


@pytest.mark.parametrize(
    ("control", "order_status", "status"),
    [("NW", "", "active"), ("CA", "", "revoked"), ("DC", "", "revoked"), ("HD", "", "on-hold"),
     ("SC", "CM", "completed"),
     ("SC", "IP", "active"), ("RP", "", "revoked"), ("RO", "", "active"),
     ("XO", "", "active"), ("NW", "CA", "revoked")],
)  # fmt: skip
def test_order_control_and_status_say_what_became_of_an_order(control, order_status, status):
    text = ORDER.replace("ORC|NW|P90^RIS|F91^RIS||SC", f"ORC|{control}|P90^RIS|F91^RIS||{order_status}")
    assert one(text, "ServiceRequest")["status"] == status


def test_a_merge_names_the_chart_that_is_no_longer_used():
    ((old, new),) = mapped(MERGE).retired
    assert [key.value for key in (*old.patient, *new.patient)] == ["0815", "4711"]


def test_results_and_orders_change_no_patient():
    for text in (RESULT, ORDER):
        assert [part.way for part in mapped(text).parts if part.type == "Patient"] == [Way.KEEP]


def test_a_code_gains_what_the_sites_table_says_and_keeps_its_own():
    table = {("urn:consilium:hl7v2:LAB:L", "WBC"): (Coding(LOINC, "6690-2", "Leukocytes in Blood"),)}
    site = replace(SITE, codes=lambda system, code: table.get((system, code), ()))
    codings = observations(RESULT, site)["Leukocytes"]["code"]["coding"]
    assert [coding["code"] for coding in codings] == ["WBC", "6690-2"]
    assert observations(RESULT, site)["Leukocytes"]["code"]["text"] == "Leukocytes"


def refused(text, site=SITE):
    with pytest.raises(MessageError) as caught:
        mapped(text, site)
    return caught.value


@pytest.mark.parametrize(
    ("text", "code", "place", "rejected"),
    [
        (RESULT.replace("ORU^R01^ORU_R01", "MDM^T02"), 200, "MSH-9.1", True),
        (ADMISSION.replace("ADT^A01^ADT_A01", "ADT^A99"), 201, "MSH-9.2", True),
        (RESULT.replace("|P|2.5.1", "|T|2.5.1"), 202, "MSH-11", True),
        (RESULT.replace("|P|2.5.1", "|P|3.0"), 203, "MSH-12", True),
        (RESULT.replace("|R1|P|", "||P|"), 101, "MSH-10", False),
        (RESULT.replace("4711^^^GENERAL^MR", ""), 101, "PID-3.1", False),
        (ADMISSION.replace("|F|||Weg", "|Q|||Weg"), 103, "PID-8", False),
        (ADMISSION.replace("19700203", "19701341"), 102, "PID-7", False),
        (RESULT.replace("|HM|F|", "|HM|Q|"), 103, "OBR-25", False),
        (RESULT.replace("|HM|F|", "|HM||"), 101, "OBR-25", False),
        (RESULT.replace("H|||C", "H|||K"), 103, "OBX[2]-11", False),
        (RESULT.replace("OBX|4|CWE|", "OBX|4|XYZ|"), 103, "OBX[4]-2", False),
        (RESULT.replace("REM^Remark^L", ""), 101, "OBX[5]-3.1", False),
        (ORDER.replace("ORC|NW", "ORC|QQ"), 103, "ORC-1", False),
        (ORDER.replace("P90^RIS", "").replace("F91^RIS", ""), 101, "OBR-2.1", False),
        ("\n".join(ORDER.split("\n")[:3]), 100, "OBR", False),
        ("\n".join(MERGE.split("\n")[:3]), 100, "MRG", False),
        (f"{ORDER}\nPID|2||9^^^GENERAL", 100, "PID[2]", False),
    ],
)
def test_a_message_that_cannot_be_mapped_is_refused_where_it_is_wrong(text, code, place, rejected):
    error = refused(text)
    assert (error.code, str(error.place), error.rejected) == (code, place, rejected)


PIECES = st.sampled_from(
    ["", '""', "|", "^", "&", "~", "\\", "\\F\\", "\\X41\\", "1.5", "<5", "19700101", "Müller", "F", "NM", "\r",
     "OBX|", "PID|", "\x00", "9" * 30, "LN", "^^^GENERAL", "é", "\u2028", "mg/dL", "%"]
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from([ADMISSION, RESULT, ORDER, MERGE]),
    st.lists(st.tuples(st.integers(20, 900), st.integers(0, 12), PIECES), min_size=1, max_size=4),
)
def test_whatever_stands_in_a_message_it_is_refused_or_becomes_valid_r4(text, cuts):
    for at, length, piece in cuts:
        text = text[:at] + piece + text[at + length :]
    try:
        bundle = as_bundle(mapped(text))
    except MessageError:
        return
    for entry in bundle["entry"]:
        resource = load_object(dumps(entry["resource"]), decimals=True)
        assert [problem for problem in problems_of(resource) if problem.severity == "error"] == []


def test_a_diagnosis_of_a_visit_is_a_condition_with_its_code_as_icd_writes_it():
    text = f"{ADMISSION}\nDG1|1||E119^Diabetes^I10C||20261127|W\nDG1|2||R05^Cough^I10||20261127|F|||||||||||||||D"
    diabetes, cough = resources(text, "Condition")
    assert diabetes["code"]["coding"][0]["code"] == "E11.9"
    assert diabetes["verificationStatus"]["coding"][0]["code"] == "provisional"
    assert diabetes["encounter"]["reference"].startswith("Encounter/")
    assert cough["verificationStatus"]["coding"][0]["code"] == "entered-in-error"
    assert "clinicalStatus" not in cough
    for entry in as_bundle(mapped(text))["entry"]:
        resource = load_object(dumps(entry["resource"]), decimals=True)
        assert [problem for problem in problems_of(resource) if problem.severity == "error"] == []
    assert refused(f"{ADMISSION}\nDG1|1").code == 101
