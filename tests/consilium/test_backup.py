"""Backup and restore: of a server that is written to, hash-equal, and never half."""

import hashlib
import threading
import time

import pytest
from sqlalchemy import insert, select
from typer.testing import CliRunner

from clinical.errors import Fault, PreconditionMissing
from consilium.backing_up import MANIFEST, backup, restore
from consilium.cli import app
from consilium.settings import load_settings
from consilium.wiring import House
from fhir_adapters.publish import publish
from record_store.audit import append as append_audit
from record_store.backup import BLOB_COLUMNS, digests
from record_store.backup_files import CHUNK, BackupFolder
from record_store.migrate import migrate
from record_store.tables import audit, instance, metadata, resource
from record_store.testing import postgres_absent, postgres_url
from tests.consilium.conftest import NOW

PICTURE = b"pixels" * 100


def quiet(_what, _done, _total):
    pass


def observations(number):
    """Two that are written in one transaction: one alone would be half of it."""
    about = {"resourceType": "Observation", "status": "final", "code": {"text": f"{number}"}}
    return [{**about, "id": f"{side}{number}"} for side in "ab"]


@pytest.fixture(params=["sqlite", "postgresql"])
def places(request, tmp_path, no_settings):
    """Settings of a server and of an empty place for another, on one kind of database."""
    if request.param == "sqlite":
        yield load_settings(data_dir=tmp_path / "one"), load_settings(data_dir=tmp_path / "two")
        return
    if reason := postgres_absent():
        pytest.skip(reason)
    with postgres_url() as one, postgres_url() as two:
        yield (
            load_settings(data_dir=tmp_path / "one", database_url=one),
            load_settings(data_dir=tmp_path / "two", database_url=two),
        )


@pytest.fixture
def house(places):
    made = House(places[0])
    migrate(made.db)
    assert len(made.key) == 32
    blob = made.blobs.put(PICTURE)
    row = {column.name: "1" for column in instance.c if not column.nullable} | {
        "sha256": blob.sha256,
        "size": blob.size,
    }
    with made.db.write() as conn:
        conn.execute(insert(instance).values(**row))
        append_audit(conn, at=NOW, action="a", outcome="b", actor="c", subject="d")
    yield made
    made.db.dispose()


def write_on(house, stop, wrote):
    number = 0
    while not stop.is_set():
        with house.db.write(durable=False) as conn:
            publish(conn, observations(number), NOW)
        wrote.set()
        number += 1
        time.sleep(0.002)


def test_what_is_restored_is_what_was_there_at_one_moment_under_load(house, places, tmp_path, request):
    stop, wrote = threading.Event(), threading.Event()
    writer = threading.Thread(target=write_on, args=(house, stop, wrote))
    writer.start()
    try:
        assert wrote.wait(10)
        manifest = backup(places[0], tmp_path / "backup", None, quiet)
    finally:
        stop.set()
        writer.join()
    restore(places[1], tmp_path / "backup", None, quiet)
    other = House(places[1])
    request.addfinalizer(other.db.dispose)
    with other.db.read() as conn:
        found = digests(conn)
        ids = list(conn.execute(select(resource.c.id)).scalars())
    assert found == {name: tuple(one) for name, one in manifest["tables"].items()}
    sides = [{one[1:] for one in ids if one[0] == side} for side in "ab"]
    assert sides[0] == sides[1] != set()  # no transaction is there by half
    assert other.blobs.get(hashlib.sha256(PICTURE).hexdigest()) == PICTURE
    assert other.key == house.key
    with other.db.write() as conn:  # the next number is above those that came back
        append_audit(conn, at=NOW, action="after", outcome="b", actor="c", subject="d")
        assert len(set(conn.execute(select(audit.c.row)).scalars())) == found["audit"][0] + 1


@pytest.fixture
def small(tmp_path, no_settings):
    settings = load_settings(data_dir=tmp_path / "one")
    made = House(settings)
    migrate(made.db)
    with made.db.write() as conn:
        publish(conn, [{"resourceType": "Patient", "id": "p", "name": [{"family": "Zzcanary"}]}], NOW)
    made.db.dispose()
    return settings


def test_an_encrypted_backup_is_read_with_its_key_and_by_nobody_else(small, tmp_path):
    key, other = tmp_path / "key", tmp_path / "other"
    key.write_text("k" * 64)
    other.write_text("j" * 64)
    backup(small, tmp_path / "backup", key, quiet)
    assert b"Zzcanary" not in b"".join(file.read_bytes() for file in (tmp_path / "backup").rglob("*.enc"))
    empty = load_settings(data_dir=tmp_path / "two")
    for wrong in (None, other):
        with pytest.raises(Fault, match="key"):
            restore(empty, tmp_path / "backup", wrong, quiet)
    restore(empty, tmp_path / "backup", key, quiet)
    assert (tmp_path / "two" / "consilium.db").exists()


def test_a_backup_is_not_restored_over_a_server_that_is_there(small, tmp_path):
    backup(small, tmp_path / "backup", None, quiet)
    with pytest.raises(PreconditionMissing, match="empty"):
        restore(small, tmp_path / "backup", None, quiet)
    with pytest.raises(PreconditionMissing, match="not empty"):
        backup(small, tmp_path / "backup", None, quiet)


@pytest.mark.parametrize("left", ["consilium.db-wal", "jobs.db-wal"])
def test_a_backup_is_not_restored_beneath_the_journal_of_another_database(small, tmp_path, left):
    backup(small, tmp_path / "backup", None, quiet)
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / left).write_bytes(b"pages of another server")
    with pytest.raises(PreconditionMissing, match="empty"):
        restore(load_settings(data_dir=tmp_path / "two"), tmp_path / "backup", None, quiet)


@pytest.mark.parametrize("name", ["consilium.db", MANIFEST])
def test_a_damaged_backup_leaves_no_server(small, tmp_path, name):
    backup(small, tmp_path / "backup", None, quiet)
    file = tmp_path / "backup" / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0x80
    file.write_bytes(data)
    with pytest.raises(Fault):
        restore(load_settings(data_dir=tmp_path / "two"), tmp_path / "backup", None, quiet)
    assert not list((tmp_path / "two").glob("consilium.db*"))


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_an_encrypted_file_comes_back_and_cannot_be_cut(tmp_path, size):
    folder, data = BackupFolder(tmp_path, b"k" * 32), b"x" * size
    kept = folder.write("f", [data[:10], data[10:]])
    assert b"".join(folder.read("f", kept)) == data
    file = tmp_path / "f.enc"
    whole = file.read_bytes()
    for cut in {len(whole) - 1, len(whole) - CHUNK - 16, 40} - {len(whole)}:
        if 0 < cut < len(whole):
            file.write_bytes(whole[:cut])
            with pytest.raises(Fault):
                list(folder.read("f", kept))


def test_every_column_that_may_name_a_blob_is_known():
    named = {f"{table.name}.{column.name}" for table in metadata.tables.values() for column in table.c}
    told = {f"{column.table.name}.{column.name}" for column in BLOB_COLUMNS}
    # What an export wrote can be made again; a message of HL7 v2 stands in its row.
    others = {"bulk_export_file.sha256", "hl7_message.sha256"}
    assert {name for name in named if name.endswith("sha256")} == told | others


def test_the_commands_say_what_they_did(small, tmp_path, monkeypatch):
    monkeypatch.setenv("CONSILIUM_DATA_DIR", str(small.data_dir))
    reply = CliRunner().invoke(app, ["backup", "--out", str(tmp_path / "backup")])
    assert reply.exit_code == 0, reply.output
    reply = CliRunner().invoke(
        app, ["restore", "--from", str(tmp_path / "backup"), "--data-dir", str(tmp_path / "two")]
    )
    assert reply.exit_code == 0, reply.output
    assert "every table and object has its digest" in reply.output
