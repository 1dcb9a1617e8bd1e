"""`consilium hl7` from the settings to the store: the listener, the quarantine, replay, send, map."""

import json

import orjson
import pytest
from sqlalchemy import select

from clinical.errors import Busy
from clinical.identity import IssuerTable
from consilium import cli
from consilium.code_tables import CodeTables
from consilium.hl7_role import allowed, build_listener
from consilium.settings import SettingsError, load_settings
from consilium.supervise import roles_of
from consilium.wiring import House
from fhir_adapters.hl7v2.testing import ORDER, RESULT, raw
from fhir_adapters.publish import publish
from record_store.hl7_messages import digest_of
from record_store.tables import audit, resource
from record_store.testing import database

pytestmark = pytest.mark.usefixtures("no_settings", "kept_logging")
TEST_MESSAGE = RESULT.replace("|P|2.5.1", "|T|2.5.1")


@pytest.fixture
def house(tmp_path, monkeypatch):
    monkeypatch.setenv("CONSILIUM_PATIENT_ISSUERS", json.dumps({"GENERAL": "urn:hospital"}))
    monkeypatch.setenv("CONSILIUM_HL7_PORT", "0")
    one = House(load_settings(data_dir=tmp_path))
    database(tmp_path).dispose()
    yield one
    one.db.dispose()


@pytest.fixture
def port(house):
    listener = build_listener(house)
    yield listener.start("127.0.0.1", 0)
    listener.stop()


@pytest.fixture
def run(tmp_path, monkeypatch, capfdbinary):
    """Run `consilium hl7 ...` and return its exit code and what it wrote to standard output."""

    def command(*arguments):
        monkeypatch.setattr("sys.argv", ["consilium", "hl7", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, capfdbinary.readouterr().out

    return command


def kinds(house):
    with house.db.read() as conn:
        return sorted(conn.execute(select(resource.c.type)).scalars())


def test_a_file_is_sent_and_what_it_says_is_stored(house, port, run, tmp_path):
    file = tmp_path / "two.hl7"
    file.write_bytes(raw(RESULT) + raw(ORDER))
    assert run("send", file, "--port", port) == (0, b"R1 AA\nO1 AA\n")
    assert kinds(house).count("Observation") == 5
    assert "ServiceRequest" in kinds(house)


def test_the_patient_of_a_message_is_the_patient_of_an_image(house, port, run, tmp_path):
    file = tmp_path / "one.hl7"
    file.write_bytes(raw(RESULT))
    run("send", file, "--port", port)
    key = IssuerTable({"GENERAL": "urn:hospital"}).from_dicom("GENERAL", "4711")
    with house.db.read() as conn:
        (own,) = conn.execute(select(resource.c.id).where(resource.c.type == "Patient")).scalars()
    assert own == house.patient_id(key)


def test_what_is_set_aside_is_listed_shown_and_stored_when_the_settings_let_it(
    house, port, run, tmp_path, monkeypatch
):
    file = tmp_path / "one.hl7"
    file.write_bytes(raw(TEST_MESSAGE))
    code, told = run("send", file, "--port", port)
    assert (code, told) == (1, b"R1 AR MSH-11: expected a message for this environment\n")
    code, told = run("quarantine", "--json", "--data-dir", tmp_path)
    (row,) = json.loads(told)
    assert (row["kind"], row["code"], row["sender"], row["attempts"]) == ("ORU^R01", 202, "LAB|GENERAL", 1)
    assert b"4711" not in told
    assert run("show", row["message"], "--data-dir", tmp_path) == (0, raw(TEST_MESSAGE))
    with house.db.read() as conn:
        assert conn.execute(select(audit.c.subject).where(audit.c.action == "hl7-shown")).scalars().all() == [
            row["message"]
        ]
    assert run("replay", "--data-dir", tmp_path)[0] == 1
    monkeypatch.setenv("CONSILIUM_HL7_PROCESSING_IDS", '["P", "T"]')
    assert run("replay", row["message"], "--data-dir", tmp_path)[0] == 0
    assert kinds(house).count("Observation") == 5
    assert run("quarantine", "--json", "--data-dir", tmp_path) == (0, b"[]\n")


def test_a_message_that_nobody_knows_is_not_found(run, house, tmp_path):
    assert run("show", digest_of(b"x"), "--data-dir", tmp_path)[0] == 1
    assert run("show", "xyz", "--data-dir", tmp_path)[0] == 1


def test_a_file_is_mapped_without_being_stored(house, run, tmp_path):
    file = tmp_path / "one.hl7"
    file.write_bytes(raw(RESULT))
    code, told = run("map", file, "--data-dir", tmp_path)
    bundle = orjson.loads(told)
    assert (code, bundle["type"]) == (0, "transaction")
    assert kinds(house) == []
    file.write_bytes(raw(TEST_MESSAGE))
    assert run("map", file, "--data-dir", tmp_path)[0] == 1


def test_nobody_there_is_said_in_a_line(run, tmp_path):
    file = tmp_path / "one.hl7"
    file.write_bytes(raw(RESULT))
    assert run("send", file, "--port", 1)[0] == 1


def test_the_process_is_there_when_it_has_a_port(house, monkeypatch):
    assert roles_of(house.settings) == ("web", "dicom", "worker", "hl7")
    monkeypatch.delenv("CONSILIUM_HL7_PORT")
    assert roles_of(load_settings()) == ("web", "dicom", "worker")


def test_addresses_are_let_in_by_the_list():
    may_come = allowed(("10.0.0.0/8", "2001:db8::1"))
    assert [may_come(one) for one in ("10.1.2.3", "2001:db8::1", "11.0.0.1", "fe80::1%eth0")] == [
        True,
        True,
        False,
        False,
    ]
    assert allowed(())("11.0.0.1")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HL7_PEERS", '["hunter2"]'),
        ("HL7_TIME_ZONE", "Europe/hunter2"),
        ("HL7_TIME_ZONE", "../hunter2"),
        ("HL7_CHARSET", "hunter2"),
        ("HL7_PORT", "hunter2"),
        ("HL7_TLS_CERT_FILE", "hunter2"),
        ("HL7_HOST", "0.0.0.0"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_and_never_shown(monkeypatch, name, value):
    monkeypatch.setenv(f"CONSILIUM_{name}", value)
    with pytest.raises(SettingsError) as stopped:
        load_settings()
    assert f"CONSILIUM_{name}" in str(stopped.value)
    assert "hunter2" not in str(stopped.value)


def test_a_time_zone_has_a_name(monkeypatch):
    monkeypatch.setenv("CONSILIUM_HL7_TIME_ZONE", "Europe/Zurich")
    assert load_settings().hl7_time_zone == "Europe/Zurich"


LOCAL = "urn:consilium:hl7v2:LAB:L"


@pytest.fixture
def codes(monkeypatch, capfdbinary):
    """Run `consilium codes ...` and return its exit code and what it wrote to standard output."""

    def command(*arguments):
        monkeypatch.setattr("sys.argv", ["consilium", "codes", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, capfdbinary.readouterr().out.decode()

    return command


def test_local_codes_are_listed_until_a_table_knows_them(house, port, run, codes, tmp_path, monkeypatch):
    file = tmp_path / "one.hl7"
    file.write_bytes(raw(RESULT))
    run("send", file, "--port", port)
    _, told = codes("unmapped", "--json", "--data-dir", tmp_path)
    assert {row["code"]: row["called"] for row in json.loads(told)} == {
        "WBC": "leukocytes",
        "CRP": "c-reactive protein",
        "BG": "blood group",
        "REM": "remark",
    }
    _, lines = codes("unmapped", "--csv", "--data-dir", tmp_path)
    table = tmp_path / "codes.csv"
    table.write_text(lines.replace("WBC,,,,", "WBC,LN,6690-2,Leukocytes in Blood,"))
    assert codes("check", table) == (0, "1 codes have a standard one.\n")
    monkeypatch.setenv("CONSILIUM_CODES_FILE", str(table))
    _, told = codes("unmapped", "--json", "--data-dir", tmp_path)
    assert "WBC" not in told
    assert codes("apply", "--data-dir", tmp_path) == (0, "1 resources have gained standard codes.\n")
    assert codes("apply", "--data-dir", tmp_path) == (0, "0 resources have gained standard codes.\n")
    with house.db.read() as conn:
        found = select(resource.c.body).where(resource.c.type == "Observation", resource.c.version == 2)
        (body,) = conn.execute(found).scalars()
    assert [one["code"] for one in orjson.loads(body)["code"]["coding"]] == ["WBC", "6690-2"]
    assert b'"value":11.5' in body
    table.write_text(lines.replace("WBC,,,,", "WBC,LN,6690-1,x,"))
    assert codes("check", table)[0] == 1
    with pytest.raises(SettingsError, match="CONSILIUM_CODES_FILE: line"):
        load_settings()


def test_a_table_that_is_edited_counts_from_the_next_message_on(house, tmp_path, monkeypatch):
    file, clock = tmp_path / "codes.csv", iter(range(0, 1000, 10))
    head = "system,code,target_system,target_code,target_display\n"
    file.write_text(head)
    tables = CodeTables(house.db, file, monotonic=lambda: next(clock))
    assert len(tables.table()) == 0
    file.write_text(f"{head}{LOCAL},WBC,LN,6690-2,Leukocytes\n")
    tables.table()
    assert [one.code for one in tables.codes(LOCAL, "WBC")] == ["6690-2"]
    file.write_text("nonsense")
    tables.table()
    assert [one.code for one in tables.codes(LOCAL, "WBC")] == ["6690-2"]
    assert tables.codes(LOCAL, "CRP") == ()
    group = {"source": LOCAL, "target": "http://loinc.org"}
    element = {"code": "CRP", "target": [{"code": "1988-5", "equivalence": "equal"}]}
    concept_map = {
        "resourceType": "ConceptMap",
        "id": "site",
        "status": "active",
        "group": [{**group, "element": [element]}],
    }
    with house.db.write() as conn:
        publish(conn, [concept_map], house.now())
    tables.table()
    assert [one.code for one in tables.codes(LOCAL, "CRP")] == ["1988-5"]
    # The file being away keeps no ConceptMap from counting, and what could not be read is looked for again.
    file.unlink()
    element["target"][0]["code"] = "30522-7"
    with house.db.write() as conn:
        publish(conn, [concept_map], house.now())
    with monkeypatch.context() as broken:
        broken.setattr("consilium.code_tables.from_concept_maps", busy)
        tables.table()
        assert [one.code for one in tables.codes(LOCAL, "CRP")] == ["1988-5"]
    tables.table()
    assert [one.code for one in tables.codes(LOCAL, "CRP")] == ["30522-7"]


def busy(_maps):
    raise Busy("not now")


def concept_map_of(own, code="CRP"):
    group = {
        "source": LOCAL,
        "target": "http://loinc.org",
        "element": [{"code": code, "target": [{"code": "1988-5"}]}],
    }
    return {"resourceType": "ConceptMap", "id": own, "status": "active", "group": [group]}


def applied(house):
    with house.db.read() as conn:
        found = select(audit.c.outcome).where(audit.c.action == "codes-applied").order_by(audit.c.row)
        return list(conn.execute(found).scalars())


def test_a_table_that_cannot_be_read_is_not_applied_as_an_empty_one(house, codes, tmp_path, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr("consilium.code_tables.from_concept_maps", busy)
        assert codes("apply", "--data-dir", tmp_path) == (1, "")
        assert codes("unmapped", "--data-dir", tmp_path) == (1, "")
    assert applied(house) == ["failed"]
    with house.db.write() as conn:
        publish(conn, [concept_map_of("one"), concept_map_of("two")], house.now())
    monkeypatch.setattr("consilium.code_tables.MOST_MAPS", 1)
    assert codes("apply", "--data-dir", tmp_path) == (1, "")
    assert applied(house) == ["failed", "failed"]


def test_a_concept_map_that_is_committed_late_counts_all_the_same(house):
    clock = iter(range(0, 1000, 10))
    tables = CodeTables(house.db, None, monotonic=lambda: next(clock))
    began = house.now()
    for own, code, at in (("first", "CRP", began), ("late", "CRP", began), ("first", "CRP", house.now())):
        with house.db.write() as conn:
            publish(conn, [concept_map_of(own, code) | {"version": at.isoformat()}], at)
    tables.table()
    with house.db.write() as conn:
        publish(conn, [concept_map_of("late", "WBC")], began)
    tables.table()
    assert [one.code for one in tables.codes(LOCAL, "WBC")] == ["1988-5"]
