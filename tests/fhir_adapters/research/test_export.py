"""A whole store out to research: nobody in it, references whole, consent kept, the same again with one key."""

import datetime as dt
import json
import re
import shutil

import pytest

from clinical.destination_pseudonyms import Pseudonyms, patient_text
from fhir_adapters.research.columns import layout_of, rows_of
from fhir_adapters.research.export import Wish, export
from fhir_adapters.research.terms import own_displays
from record_store.database import open_database
from record_store.testing import database
from tests.fhir_adapters.conftest import BASE_URL
from tests.fhir_adapters.synthea import Synthea

NOW = dt.datetime(2026, 11, 27, 9, 0, tzinfo=dt.UTC)
KEY, OTHER_KEY = b"k" * 32, b"j" * 32
CONSENT_SCOPE = "http://terminology.hl7.org/CodeSystem/consentscope"
ACT_REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"


@pytest.fixture(scope="session")
def filled_file(tmp_path_factory, make_client_for):
    folder = tmp_path_factory.mktemp("research")
    db = database(folder)
    filled(db, make_client_for)
    db.dispose()
    return folder / "consilium.db"


@pytest.fixture
def store(filled_file, tmp_path, make_client):
    copy = tmp_path / "consilium.db"
    shutil.copy(filled_file, copy)
    db = open_database(f"sqlite:///{copy}")
    yield db, make_client(db)
    db.dispose()


@pytest.fixture
def each_store(db, make_client):
    """A store on each database."""
    return filled(db, make_client)


def filled(db, make_client):
    client = make_client(db)
    made = Synthea()
    bundles = [made.hospitals(), made.practitioners(), *(made.patient(2, 2) for _ in range(3))]
    for one in bundles:
        reply = client.post("/fhir", json=one, content_type="application/fhir+json")
        assert reply.status_code == 200, reply.data[:500]
    return db, client


def exported(db, folder, key=KEY, **wish):
    folder.mkdir()
    with db.read() as conn:
        manifest = export(conn, Wish(Pseudonyms(key), NOW, BASE_URL, **wish), folder, folder.with_suffix(".who"))
    files = {file.stem: file.read_bytes() for file in folder.iterdir()}
    return manifest, files


def resources_in(files):
    return [json.loads(line) for data in files.values() for line in data.splitlines()]


def stored(client, kind):
    found = client.get(f"/fhir/{kind}?_count=500").get_json(force=True)
    return [one["resource"] for one in found.get("entry", [])]


def strings_in(value, at=""):
    if isinstance(value, dict):
        for name, one in value.items():
            yield from strings_in(one, f"{at}.{name}")
    elif isinstance(value, list):
        for one in value:
            yield from strings_in(one, at)
    elif isinstance(value, str):
        yield at, value


def references_in(value):
    return [text for at, text in strings_in(value) if at.endswith(".reference")]


# Codes and the like, which name nobody, stand on both sides.
KEPT = re.compile(r"\.(system|code|resourceType|status|gender|url|unit|use|intent|class|kind|valueCode)$")


def test_no_identifier_name_place_or_text_of_the_store_is_left(each_store, tmp_path):
    db, client = each_store
    manifest, files = exported(db, tmp_path / "out")
    sources = {
        text
        for kind in manifest["resources"]
        for one in stored(client, kind)
        for at, text in strings_in(one)
        if not KEPT.search(at) and not re.fullmatch(r"[a-z-]{1,20}|MA|US|[A-Z]{2,4}|[0-9]{2}", text)
    }
    assert len(sources) > 100
    left = [(at, text) for one in resources_in(files) for at, text in strings_in(one)]
    displays = {text for at, text in left if at.endswith(".display")}
    assert displays <= set(own_displays().values())  # words of ours, whatever stood there
    values = {text for at, text in left if not at.endswith(".display")}
    assert sources & values == set()
    assert [text for text in sources if len(text) > 8 and any(text in value for value in values)] == []


def test_every_reference_leads_to_a_resource_of_the_export_and_as_many_do_as_before(store, tmp_path):
    db, client = store
    manifest, files = exported(db, tmp_path / "out")
    found = resources_in(files)
    names = {f"{one['resourceType']}/{one['id']}" for one in found}
    assert len(names) == len(found) == sum(manifest["resources"].values())
    after = [text for one in found for text in references_in(one) if not text.startswith("#")]
    assert set(after) <= names
    sources = [one for kind in manifest["resources"] for one in stored(client, kind)]
    there = {f"{one['resourceType']}/{one['id']}" for one in sources}
    before = [text for one in sources for text in references_in(one) if text in there]
    assert len(after) == len(before) > 50


def test_dates_of_a_patient_move_together(store, tmp_path):
    db, client = store
    _, files = exported(db, tmp_path / "out")
    names = Pseudonyms(KEY)

    def days(visits, patient):
        own = [one for one in visits if one["subject"]["reference"] == patient]
        return sorted(dt.datetime.fromisoformat(one["period"]["start"]) for one in own)

    before = stored(client, "Encounter")
    after = [json.loads(line) for line in files["Encounter"].splitlines()]
    for patient in {one["subject"]["reference"] for one in before}:
        name = patient.removeprefix("Patient/")
        shift = dt.timedelta(days=names.shift_days(f"fhir\x1f{name}"))
        moved = days(after, f"Patient/{names.resource_id('Patient', name)}")
        assert [one - shift for one in days(before, patient)] == moved


def test_the_same_key_makes_the_same_files_and_another_one_cannot_be_joined(store, tmp_path):
    db, _ = store
    first, second = exported(db, tmp_path / "1"), exported(db, tmp_path / "2")
    other = exported(db, tmp_path / "3", OTHER_KEY)
    assert first == second
    assert other[0]["key"] != first[0]["key"]
    ids = [{one["id"] for one in resources_in(files)} for _, files in (first, other)]
    assert ids[0].isdisjoint(ids[1])


def consent(patient, kind, **more):
    root = {"type": kind, "purpose": [{"system": ACT_REASON, "code": "HRESCH"}]} | more
    return {
        "resourceType": "Consent",
        "status": "active",
        "scope": {"coding": [{"system": CONSENT_SCOPE, "code": "patient-privacy"}]},
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "policyRule": {"coding": [{"system": "urn:policy", "code": "p"}]},
        "patient": {"reference": f"Patient/{patient}"},
        "provision": root,
    }


def test_who_has_denied_research_is_left_out_with_all_that_is_his(each_store, tmp_path):
    db, client = each_store
    patients = sorted(one["id"] for one in stored(client, "Patient"))
    whole, _ = exported(db, tmp_path / "whole")
    for made in (
        consent(
            patients[0],
            "permit",
            provision=[{"type": "deny", "purpose": [{"system": ACT_REASON, "code": "BIORCH"}]}],
        ),
        consent(patients[1], "deny", period={"end": "2020-01-01"}),
        consent(patients[2], "permit"),
    ):
        assert client.post("/fhir/Consent", json=made, content_type="application/fhir+json").status_code == 201
    about = [{"reference": f"Patient/{patients[0]}"}]
    agent = [{"who": {"display": "Dr. Quillon"}}]
    signed = {"resourceType": "Provenance", "target": about, "recorded": "2026-01-01T00:00:00Z", "agent": agent}
    assert client.post("/fhir/Provenance", json=signed, content_type="application/fhir+json").status_code == 201
    manifest, files = exported(db, tmp_path / "out")
    assert manifest["left out for consent"]["patients"] == 1
    assert manifest["resources"]["Patient"] == 2
    assert manifest["resources"]["Encounter"] == whole["resources"]["Encounter"] * 2 / 3
    # Others may have a Provenance of the import; his is not there, and nothing leads to him.
    names = {f"{one['resourceType']}/{one['id']}" for one in resources_in(files)}
    assert {text for one in resources_in(files) for text in references_in(one) if text[0] != "#"} <= names
    opted, _ = exported(db, tmp_path / "opted", opt_in=True)
    assert opted["resources"]["Patient"] == 1
    assert opted["resources"]["Organization"] == whole["resources"]["Organization"]


def test_a_patient_has_the_name_of_his_images(sqlite_db, make_client, tmp_path):
    db, client = sqlite_db, make_client(sqlite_db)
    for name, number in (("a", "17"), ("b", "17"), ("c", "18")):
        made = {"resourceType": "Patient", "id": name, "identifier": [{"system": "urn:hosp", "value": number}]}
        client.put(f"/fhir/Patient/{name}", json=made, content_type="application/fhir+json")
    _, files = exported(db, tmp_path / "out", issuers={"urn:hosp": "HOSP"})
    names = Pseudonyms(KEY)
    ids = [one["id"] for one in resources_in(files)]
    assert ids[0] == names.patient_id(patient_text("HOSP", "17"))
    assert ids[2] == names.patient_id(patient_text("HOSP", "18"))
    assert ids[1] == names.resource_id("Patient", "b")  # two charts of one number stay two


def test_what_one_chart_of_a_person_denies_counts_for_the_other(sqlite_db, make_client, tmp_path):
    db, client = sqlite_db, make_client(sqlite_db)
    for name, number in (("a", "17"), ("b", "17"), ("c", "18")):
        made = {"resourceType": "Patient", "id": name, "identifier": [{"system": "urn:hosp", "value": number}]}
        client.put(f"/fhir/Patient/{name}", json=made, content_type="application/fhir+json")
    client.post("/fhir/Consent", json=consent("b", "deny"), content_type="application/fhir+json")
    manifest, files = exported(db, tmp_path / "out", issuers={"urn:hosp": "HOSP"}, types=("Patient",))
    assert manifest["left out for consent"]["patients"] == 2
    assert [one["id"] for one in resources_in(files)] == [Pseudonyms(KEY).patient_id(patient_text("HOSP", "18"))]


def test_who_has_denied_research_is_left_out_also_where_only_another_type_says_whose_it_is(
    sqlite_db, make_client, tmp_path
):
    db, client = sqlite_db, make_client(sqlite_db)
    code = {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}
    act = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"}
    for name in "ab":
        encounter = {"status": "finished", "class": act, "subject": {"reference": f"Patient/{name}"}}
        seen = {"status": "final", "code": code, "encounter": {"reference": f"Encounter/{name}"}}
        signed = {
            "target": [{"reference": f"Observation/{name}"}],
            "recorded": "2026-01-01T00:00:00Z",
            "agent": [{"who": {"display": "Dr. Quillon"}}],
        }
        parts = {"Patient": {}, "Encounter": encounter, "Observation": seen, "Provenance": signed}
        for kind, held in parts.items():
            made = {"resourceType": kind, "id": name, **held}
            reply = client.put(f"/fhir/{kind}/{name}", json=made, content_type="application/fhir+json")
            assert reply.status_code == 201, reply.data
    client.post("/fhir/Consent", json=consent("a", "deny"), content_type="application/fhir+json")
    manifest, files = exported(db, tmp_path / "out", types=("Observation",))
    assert [one["id"] for one in resources_in(files)] == [Pseudonyms(KEY).resource_id("Observation", "b")]
    assert manifest["left out for consent"] == {"patients": 1, "resources": 1}
    _, files = exported(db, tmp_path / "signed", types=("Provenance",))
    assert [one["id"] for one in resources_in(files)] == [Pseudonyms(KEY).resource_id("Provenance", "b")]


def test_people_who_are_alike_are_counted(store, tmp_path):
    manifest, _ = exported(store[0], tmp_path / "out")
    told = manifest["quasi-identifiers"]
    assert told["patients in them"] == 3
    assert manifest["dropped"]["HumanName"] == 3 + 3
    assert manifest["rules"] == "1"


def test_a_table_has_the_first_of_each_list_and_a_row_for_each_backbone():
    made = {
        "resourceType": "Observation",
        "id": "R1",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "85354-9"}]},
        "subject": {"reference": "Patient/R2"},
        "performer": [{"reference": "Practitioner/R3"}, {"reference": "Practitioner/R4"}],
        "component": [
            {"code": {"coding": [{"system": "http://loinc.org", "code": one}]}, "valueQuantity": {"value": 80}}
            for one in ("8462-4", "8480-6")
        ],
        "effectivePeriod": {"extension": [{"url": "masked"}]},
    }
    rows = list(rows_of(layout_of("Observation"), made))
    assert [row[:3] for row in rows] == [
        ("Observation", None, None),
        ("Observation.component", 0, None),
        ("Observation.component", 1, None),
    ]
    named = dict(zip([one.name for one in layout_of("Observation").columns], rows[0][3], strict=True))
    assert (named["code_code"], named["subject_type"], named["subject_id"]) == ("85354-9", "Patient", "R2")
    assert (named["performer_id"], named["performer_count"], named["effectivePeriod_start"]) == ("R3", 2, None)
    (inner,) = [one for way, one in layout_of("Observation").inner if way == ("component",)]
    named = dict(zip([one.name for one in inner.columns], rows[2][3], strict=True))
    assert (named["code_code"], named["valueQuantity_value"]) == ("8480-6", 80.0)
