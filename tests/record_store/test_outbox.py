"""The outbox: a committed version is told once and in order, however transactions overlap."""

import pytest
from sqlalchemy import text

from record_store import outbox
from record_store.resources import IndexRows, NewResource, put_all

AT = "2026-11-27T04:00:00.000000Z"


def version(number, own="p1", *, deleted=False):
    body = b"" if deleted else b"{}"
    return NewResource("Patient", own, number, AT, body, IndexRows(), method="PUT", deleted=deleted)


def write(db, *versions):
    with db.write() as conn:
        put_all(conn, versions)


class Died(Exception):
    pass


def dies_after(db, act):
    with db.write() as conn:
        act(conn)
        raise Died


def taken(db, limit=100):
    with db.write() as conn:
        return [(one.id, one.version) for one in outbox.take(conn, limit)]


def test_every_written_version_is_told_once_in_the_order_of_writing(db):
    write(db, version(1), version(1, "p2"))
    write(db, version(2))
    write(db, version(3, deleted=True))
    assert outbox.waiting(db)
    assert taken(db) == [("p1", 1), ("p2", 1), ("p1", 2), ("p1", 3)]
    assert not outbox.waiting(db)
    assert taken(db) == []


def test_what_was_not_committed_is_not_told(db):
    with pytest.raises(Died):
        dies_after(db, lambda conn: put_all(conn, [version(1)]))
    assert taken(db) == []


def test_who_dies_before_writing_down_what_follows_has_taken_nothing(db):
    write(db, version(1))
    with pytest.raises(Died):
        dies_after(db, lambda conn: outbox.take(conn, 10))
    assert taken(db) == [("p1", 1)]


def test_a_part_may_be_taken(db):
    write(db, *(version(1, f"p{number}") for number in range(5)))
    assert [taken(db, 2), taken(db, 2), taken(db, 2)] == [
        [("p0", 1), ("p1", 1)],
        [("p2", 1), ("p3", 1)],
        [("p4", 1)],
    ]


@pytest.mark.parametrize("db", ["postgresql"], indirect=True)
def test_a_transaction_that_commits_late_is_not_skipped(db):
    with db.write() as slow:
        put_all(slow, [version(1, "slow")])  # has the lower position
        write(db, version(1, "quick"))
        assert taken(db) == []
    assert taken(db) == [("slow", 1), ("quick", 1)]


@pytest.mark.parametrize("db", ["postgresql"], indirect=True)
def test_versions_keep_their_order_when_an_early_transaction_writes_late(db):
    with db.write() as holds:
        with db.write() as early:
            early.execute(text("SELECT txid_current()"))
            holds.execute(text("SELECT txid_current()"))
            write(db, version(1))
            put_all(early, [version(2)])
        # `early` is settled and the writer of version 1 is not: its number is above that of `holds`.
        assert taken(db) == []
    assert taken(db) == [("p1", 1), ("p1", 2)]


@pytest.mark.parametrize("db", ["postgresql"], indirect=True)
def test_one_worker_at_a_time_takes(db):
    write(db, version(1))
    with db.write() as first:
        assert len(outbox.take(first, 10)) == 1
        assert taken(db) == []
    assert taken(db) == []
