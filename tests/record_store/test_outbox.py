"""The outbox: a committed version is told once and in order, however transactions overlap."""

import pytest

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
    with db.read() as conn:
        seen = outbox.peek(conn, limit)
    with db.write() as conn:
        assert outbox.remove(conn, seen)
    return [(one.id, one.version) for one in seen]


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
        dies_after(db, lambda conn: outbox.remove(conn, outbox.peek(conn, 10)))
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
        assert taken(db) == [("quick", 1)]
    assert taken(db) == [("slow", 1)]


@pytest.mark.parametrize("db", ["postgresql"], indirect=True)
def test_versions_keep_their_order_when_an_early_transaction_writes_late(db):
    with db.write() as early:
        put_all(early, [version(1, "other")])
        write(db, version(1))
        put_all(early, [version(2)])
    assert taken(db) == [("other", 1), ("p1", 1), ("p1", 2)]


def test_of_two_workers_that_saw_the_same_one_writes_down_what_follows(db):
    write(db, version(1), version(1, "p2"))
    with db.read() as conn:
        both = outbox.peek(conn, 10)
    with db.write() as conn:
        assert outbox.remove(conn, both)
    with db.write() as conn:
        assert not outbox.remove(conn, both)
