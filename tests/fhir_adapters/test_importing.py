"""Importing files: nothing lost, nothing twice, every refusal with its place. On both databases."""

import gzip
import json
import re
from collections import Counter

import pytest

from fhir_adapters.importing import turn
from fhir_adapters.importing.items import Place
from fhir_adapters.importing.pieces import Document
from fhir_adapters.importing.run import Import
from fhir_adapters.importing.sources import find
from fhir_adapters.importing.writing import Store
from fhir_adapters.strict_json import MAX_BYTES
from tests.fhir_adapters.conftest import make_fhir
from tests.fhir_adapters.synthea import NPI, Synthea, bundle, written

UUID = "urn:uuid:53fefa32-fcbb-4ff8-8a92-55ee120877b7"
OTHER = "urn:uuid:1ebd3174-c0ff-4ad5-94e6-4ff6e8ccf4d6"


class Seen:
    """A watch that remembers."""

    def __init__(self):
        self.problems, self.stages, self.done = [], [], 0

    def stage(self, name, total):
        self.stages.append((name, total))
        self.done = 0

    def advance(self, count):
        self.done += count

    def problem(self, problem):
        self.problems.append(problem)


@pytest.fixture
def bring(db, now):
    """Import paths; return the tally and what was seen."""
    fhir = make_fhir(db, now)

    def call(*paths, dry=False, **more):
        seen = Seen()
        work = Import(Store(fhir, rehearsal=dry), seen, **more)
        work.run(find(paths))
        seen.skipped = work.skipped
        return work.tally, seen

    return call


@pytest.fixture
def door(db, make_client):
    return make_client(db)


def patient(own, value="17", **more):
    return {"resourceType": "Patient", "id": own, "identifier": [{"system": "urn:s", "value": value}]} | more


def heart_rate(subject, **more):
    coding = [{"system": "http://loinc.org", "code": "8867-4"}]
    made = {"resourceType": "Observation", "status": "final", "code": {"coding": coding}}
    return made | {"subject": {"reference": subject}} | more


def post(resource, full_url=None, **request):
    made = {"resource": resource, "request": {"method": "POST", "url": resource["resourceType"]} | request}
    return made | ({"fullUrl": full_url} if full_url else {})


def ndjson(path, *resources):
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in resources))
    return path


def total(door, kind):
    return door.get(f"/fhir/{kind}?_summary=count").get_json(force=True)["total"]


def stored(door, link):
    return door.get(f"/fhir/{link}").get_json(force=True)


def links_in(value):
    if isinstance(value, dict):
        for name, one in value.items():
            yield from [one] if name == "reference" else links_in(one)
    elif isinstance(value, list):
        for one in value:
            yield from links_in(one)


def test_a_synthea_folder_comes_in_whole_with_every_reference_resolved_and_only_once(bring, door, tmp_path):
    made = Synthea()
    bundles = {"a_patient": made.patient(), "another": made.patient(encounters=1)}
    bundles |= {"hospitalInformation1": made.hospitals(), "practitionerInformation1": made.practitioners()}
    for name, one in bundles.items():
        written(one, tmp_path / f"{name}.json")
    expected = Counter(e["resource"]["resourceType"] for one in bundles.values() for e in one["entry"])

    tally, seen = bring(tmp_path)
    assert seen.problems == []
    assert tally.created == expected.total()
    assert {kind: total(door, kind) for kind in expected} == expected
    kept = {f"{e['resource']['resourceType']}/{e['resource']['id']}" for o in bundles.values() for e in o["entry"]}
    for link in kept:
        for reference in links_in(stored(door, link)):
            assert reference in kept or reference.startswith("#"), reference

    again, seen = bring(tmp_path)
    assert (again.total, seen.skipped) == (0, 4)
    forced, _ = bring(tmp_path, again=True)
    assert (forced.created, forced.updated, forced.unchanged) == (0, 0, expected.total())


def test_practitioners_that_are_here_already_are_found_and_what_names_them_points_to_them(bring, door, tmp_path):
    doctor = {"resourceType": "Device", "identifier": [{"system": NPI, "value": "17"}]}
    first = door.post("/fhir/Device", data=json.dumps(doctor), content_type="application/fhir+json")
    here = first.headers["Location"].split("/fhir/")[1].split("/_history")[0]
    asked = f"identifier={NPI}|17"
    twice = post(doctor | {"id": "x"}, OTHER, ifNoneExist=asked)
    entries = [post(heart_rate("Patient/p", device={"reference": UUID}), OTHER[:-1] + "0")]
    entries += [post(doctor, UUID, ifNoneExist=asked), twice]
    entries += [post(heart_rate("Patient/p", device={"reference": f"Device?{asked}"}))]
    tally, seen = bring(written(bundle("batch", entries), tmp_path / "b.json"))
    assert (tally.created, tally.unchanged, seen.problems) == (2, 2, [])
    found = door.get("/fhir/Observation").get_json(force=True)["entry"]
    assert {one["resource"]["device"]["reference"] for one in found} == {here}


def test_what_waits_for_another_file_comes_in_when_that_has_come(bring, door, tmp_path):
    asked = f"identifier={NPI}|17"
    waiting = [post(heart_rate("Patient/p", device={"reference": f"Device?{asked}"}), UUID)]
    written(bundle("transaction", waiting), tmp_path / "a.json")
    ndjson(tmp_path / "b.ndjson", heart_rate("Patient/p", id="o", device={"reference": f"Device?{asked}"}))
    doctor = post(
        {"resourceType": "Device", "identifier": [{"system": NPI, "value": "17"}]}, OTHER, ifNoneExist=asked
    )
    written(bundle("batch", [doctor]), tmp_path / "z.json")
    tally, seen = bring(tmp_path)
    assert (tally.created, tally.refused, seen.problems) == (3, 0, [])
    assert stored(door, "Observation/o")["device"]["reference"] == f"Device/{OTHER[9:]}"


def test_a_reference_that_nothing_answers_is_told_with_its_place(bring, door, tmp_path):
    written(bundle("transaction", [post(heart_rate("Patient?identifier=urn:s|none"), UUID)]), tmp_path / "a.json")
    ndjson(tmp_path / "b.ndjson", patient("p"), heart_rate("Patient?identifier=urn:s|none", id="o"))
    tally, seen = bring(tmp_path)
    assert (tally.created, tally.refused) == (1, 2)
    assert [(one.place.entry, one.place.line) for one in seen.problems] == [(0, None), (None, None), (None, 2)]
    assert "finds nothing" in seen.problems[0].reason


def test_a_bad_line_never_stops_the_others_and_is_told_by_its_number(bring, door, tmp_path):
    path = ndjson(
        tmp_path / "Observation.ndjson",
        heart_rate("Patient/p", id="o1"),
        '{"resourceType": "Observation", ',
        "",
        heart_rate("Patient/p", id="o2", status="zzcanary"),
        '{"resourceType":"Observation","id":"twice","id":"twice"}',
        {"resourceType": "Nonsense", "id": "n"},
        heart_rate("Patient/p", id="not an id"),
        "[1]",
        heart_rate("Patient/p", id="o3"),
        heart_rate("Nonsense?identifier=x", id="o4"),
    )
    tally, seen = bring(path)
    assert (tally.created, tally.refused) == (2, 7)
    assert [one.place.line for one in seen.problems] == [2, 4, 5, 6, 7, 8, 10]
    assert seen.problems[1].path == "Observation.status"
    assert not any("zzcanary" in one.reason for one in seen.problems)
    assert seen.done == 9
    assert total(door, "Observation") == 2


def test_an_entry_of_a_transaction_that_is_wrong_keeps_all_of_it_out_and_of_a_batch_only_itself(
    bring, door, tmp_path
):
    entries = [post(patient("p"), UUID), post(heart_rate(UUID, status="nonsense"), OTHER)]
    tally, seen = bring(written(bundle("transaction", entries), tmp_path / "t.json"))
    assert (tally.created, tally.refused, total(door, "Patient")) == (0, 2, 0)
    assert [(one.place.entry, one.path) for one in seen.problems] == [(1, "Observation.status"), (None, "")]
    each, seen = bring(tmp_path / "t.json", each=True)
    assert (each.created, each.refused, len(seen.problems), total(door, "Patient")) == (1, 1, 1, 1)
    tally, seen = bring(written(bundle("batch", entries), tmp_path / "b.json"))
    assert (tally.created, tally.unchanged, tally.refused, len(seen.problems)) == (0, 1, 1, 1)
    # What was refused is tried again, and what came in does not come twice.
    entries[1]["resource"]["status"] = "final"
    tally, _ = bring(written(bundle("batch", entries), tmp_path / "b.json"))
    assert (tally.created, tally.unchanged, total(door, "Patient")) == (1, 1, 1)


def test_every_byte_but_links_id_and_meta_is_kept(bring, door, tmp_path):
    kept = '"valueQuantity" : {"value":1.10 },\n "note":[{"text":"a\\u00e9 urn:uuid:x"}]}'
    line = '{ "resourceType":"Observation","id":"o","status":"final","code":{"text":"\u00e9"},' + kept
    asked = '"request":{"url":"Observation","method":"POST"}'
    # What Bundle it is stands behind its entries.
    whole = f'{{"entry":[{{"resource":{line},{asked}}}],"type":"batch","resourceType":"Bundle"}}'
    (tmp_path / "b.json").write_text(whole)
    tally, _ = bring(tmp_path / "b.json")
    assert tally.created == 1
    own = door.get("/fhir/Observation").get_json(force=True)["entry"][0]["resource"]["id"]
    assert kept.encode() in door.get(f"/fhir/Observation/{own}").data


def test_ids_that_a_post_brings_are_not_taken_for_ours_and_its_links_follow(bring, door, tmp_path):
    door.put("/fhir/Patient/p", data=json.dumps(patient("p", "99")), content_type="application/fhir+json")
    for name in ("a", "b"):
        entries = [
            post(patient("p", name), "urn:uuid:pat"),
            post(heart_rate("Patient/p")),
            post(heart_rate("urn:uuid:pat")),
        ]
        written(bundle("transaction", entries), tmp_path / f"{name}.json")
    tally, _ = bring(tmp_path)
    assert (tally.created, total(door, "Patient")) == (6, 3)
    assert stored(door, "Patient/p")["identifier"][0]["value"] == "99"
    found = door.get("/fhir/Observation").get_json(force=True)["entry"]
    assert sorted(Counter(one["resource"]["subject"]["reference"] for one in found).values()) == [2, 2]


def test_nothing_comes_in_when_an_id_means_another_patient_here(bring, door, tmp_path):
    door.put("/fhir/Patient/p", data=json.dumps(patient("p", "99")), content_type="application/fhir+json")
    path = ndjson(tmp_path / "x.ndjson", heart_rate("Patient/p", id="o"), patient("p", "17"))
    with pytest.raises(Exception, match="1 patients of these files have the id of another patient"):
        bring(path)
    assert total(door, "Observation") == 0
    tally, _ = bring(path, trust_ids=True)
    assert (tally.created, tally.updated) == (1, 1)


def test_two_files_that_give_one_id_to_two_patients_are_not_imported(bring, door, tmp_path):
    ndjson(tmp_path / "a.ndjson", patient("p", "17"))
    ndjson(tmp_path / "b.ndjson", patient("p", "18"))
    with pytest.raises(Exception, match="the id of another patient"):
        bring(tmp_path)


def test_a_bulk_export_is_updated_by_the_next_one_and_gzip_is_read(bring, door, tmp_path):
    with gzip.open(tmp_path / "Patient.ndjson.gz", "wt") as file:
        file.write(json.dumps(patient("p")) + "\n")
    assert bring(tmp_path)[0].created == 1
    ndjson(tmp_path / "Patient.2.ndjson", patient("p", gender="male"), patient("q", "18"))
    tally, _ = bring(tmp_path)
    assert (tally.created, tally.updated) == (1, 1)
    assert stored(door, "Patient/p")["meta"]["versionId"] == "2"


def test_an_import_that_ended_early_goes_on_where_it_was(bring, door, tmp_path, monkeypatch):
    monkeypatch.setattr(turn, "LOT", 2)
    path = ndjson(tmp_path / "x.ndjson", *(patient(f"p{number}", str(number)) for number in range(7)))
    real, writes = Store.write, []

    def failing(self, ready, *rest):
        writes.append(len(ready))
        if len(writes) == 3:
            raise KeyboardInterrupt
        return real(self, ready, *rest)

    monkeypatch.setattr(Store, "write", failing)
    with pytest.raises(KeyboardInterrupt):
        bring(path)
    assert total(door, "Patient") == 4
    tally, seen = bring(path)
    assert (tally.created, tally.unchanged, seen.done) == (3, 0, 7)


def test_a_rehearsal_counts_and_writes_nothing(bring, door, tmp_path):
    made = Synthea()
    written(made.patient(), tmp_path / "a.json")
    written(made.hospitals(), tmp_path / "hospitalInformation.json")
    written(made.practitioners(), tmp_path / "practitionerInformation.json")
    tally, seen = bring(tmp_path, dry=True)
    assert seen.problems == []
    assert tally.created > 40
    assert total(door, "Patient") == 0
    assert bring(tmp_path)[0].created == tally.created


def test_puts_and_deletes_of_a_bundle_are_done_and_reads_are_passed_over(bring, door, tmp_path):
    door.put("/fhir/Patient/old", data=json.dumps(patient("old", "18")), content_type="application/fhir+json")
    entries = [
        {"request": {"method": "DELETE", "url": "Patient/old"}},
        {"request": {"method": "GET", "url": "Patient/old"}},
        {"request": {"method": "PUT", "url": "Patient/new"}, "resource": patient("new")},
        {"request": {"method": "PUT", "url": "Patient/x"}, "resource": patient("other")},
        {"request": {"method": "PATCH", "url": "Patient/new"}, "resource": patient("new")},
        {
            "request": {"method": "PUT", "url": "Patient?identifier=urn:s|17"},
            "resource": patient("any", gender="male"),
        },
    ]
    tally, seen = bring(written(bundle("batch", entries), tmp_path / "b.json"))
    assert (tally.removed, tally.ignored, tally.refused) == (1, 1, 2)
    assert [one.path for one in seen.problems] == ["resource.id", "request.method"]
    assert door.get("/fhir/Patient/old").status_code == 410


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            b'{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Patient"}},{]',
            "JSON",
        ),
        (b'{"resourceType":"Bundle","type":"history","entry":[]}', "not imported"),
        (b'{"resourceType":"Patient","id":"p"}\n{"resourceType":"Patient","id":"q"}', "something follows"),
        (b"\xff\xfe", "UTF-8"),
        (b"[]", "not one JSON object"),
        (b"", "not one JSON object"),
        (b'{"a":1}', "no FHIR resource"),
        # Cut at the bound it would end within a letter, and then be no JSON.
        (b'{"resourceType":"Binary","data":"' + "\u00e9".encode() * MAX_BYTES + b'"}', "may have"),
    ],
    ids=range(8),
)
def test_a_file_that_cannot_be_read_is_told_and_the_next_one_goes_on(sqlite_db, now, tmp_path, content, reason):
    (tmp_path / "a.json").write_bytes(content)
    ndjson(tmp_path / "b.ndjson", patient("p"))
    seen = Seen()
    work = Import(Store(make_fhir(sqlite_db, now)), seen)
    work.run(find([tmp_path]))
    assert (work.tally.created, work.tally.refused) == (1, 1)
    assert reason in seen.problems[0].reason
    assert seen.problems[0].place == Place(tmp_path / "a.json")


def test_a_document_is_read_in_blocks_and_gives_every_entry_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("fhir_adapters.importing.pieces.BLOCK", 7)
    entries = [{"n": number, "text": "\u00e9" * number, "d": 1.5, "t": True} for number in range(40)]
    raw = json.dumps({"a": 12345, "entry": entries, "z": None}, ensure_ascii=False, indent=1).encode()
    path = tmp_path / "x.json"
    path.write_bytes(raw)
    with path.open("rb") as file:
        document = Document(file)
        pieces = list(document)
    assert [one.value for one in pieces] == entries
    assert all(json.loads(one.text) == one.value for one in pieces)
    assert document.members == {"a": 12345, "z": None}


def test_memory_holds_one_block_and_not_the_file(tmp_path):
    """What Document keeps of a file of 40 blocks is never more than a few."""
    path = tmp_path / "big.json"
    entry = json.dumps({"resource": patient("p", note="x" * 4000)})
    with path.open("w") as file:
        file.write('{"resourceType":"Bundle","type":"collection","entry":[')
        file.write(",".join([entry] * 5000))
        file.write("]}")
    longest = 0
    with path.open("rb") as file:
        document = Document(file)
        for number, _ in enumerate(document):
            if number % 50 == 0:
                longest = max(longest, len(document._text))
    assert document.read == 5000
    assert longest < 3 << 20 < path.stat().st_size


@pytest.mark.parametrize("name", ["x.txt", "nothing.json"])
def test_a_path_that_is_no_such_file_is_refused(tmp_path, name):
    (tmp_path / "x.txt").write_text("{}")
    with pytest.raises(Exception, match=re.escape(name)):
        find([tmp_path / name])
    with pytest.raises(Exception, match="there is no"):
        find([tmp_path])
