"""A row of the audit that is changed, removed or slipped in is found."""

import threading

import pytest
from sqlalchemy import delete, insert, update

from clinical.errors import ClinicalError
from record_store import audit
from record_store.audit_chain import seal, verify
from record_store.tables import audit as audit_table
from record_store.tables import audit_seal

KEY = b"k" * 32


def act(conn, now, subject="x"):
    audit.append(conn, at=now(), action="instance-received", outcome="new", actor="ae:CT1", subject=subject)


@pytest.fixture
def sealed(db, now):
    """Three seals over six rows, of which the first is the table's first; return the rows' numbers."""
    for _ in range(3):
        with db.write() as conn:
            act(conn, now)
            act(conn, now, "y")
        assert seal(db, KEY, now) == 2
    with db.read() as conn:
        return sorted(conn.execute(audit_table.select()).scalars())


def test_what_nobody_touched_is_whole(db, sealed):
    verdict = verify(db, KEY)
    assert (verdict.rows, verdict.unsealed, verdict.broken_at) == (6, 0, None)


def test_rows_that_are_not_sealed_yet_are_counted_apart(db, now, sealed):
    with db.write() as conn:
        act(conn, now)
    assert (verify(db, KEY).rows, verify(db, KEY).unsealed) == (6, 1)


def test_nothing_new_needs_no_seal(db, now, sealed):
    assert seal(db, KEY, now) == 0


CHANGES = {
    "changed": lambda rows: update(audit_table).where(audit_table.c.row == rows[2]).values(actor="ae:NOBODY"),
    "removed": lambda rows: delete(audit_table).where(audit_table.c.row == rows[3]),
    "seal removed": lambda rows: delete(audit_seal).where(audit_seal.c.last_row == rows[3]),
    "seal changed": lambda rows: update(audit_seal).where(audit_seal.c.last_row == rows[3]).values(seal="0" * 64),
}


@pytest.mark.parametrize("how", CHANGES)
def test_what_somebody_changed_is_found_at_its_place(db, sealed, how):
    with db.write() as conn:
        conn.execute(CHANGES[how](sealed))
    verdict = verify(db, KEY)
    assert (verdict.rows, verdict.broken_at) == (2, sealed[2])


def test_a_row_slipped_in_again_under_an_old_number_is_found(db, sealed, now):
    with db.write() as conn:
        conn.execute(delete(audit_table).where(audit_table.c.row == sealed[2]))
        values = {"row": sealed[2], "at": "x", "action": "x", "outcome": "x", "actor": "x", "subject": "x"}
        conn.execute(insert(audit_table), values)
    assert verify(db, KEY).broken_at == sealed[2]


def test_who_has_no_key_cannot_seal_anew(db, sealed, now):
    with db.write() as conn:
        conn.execute(delete(audit_seal))
        conn.execute(update(audit_table).values(actor="ae:NOBODY"))
    seal(db, b"guess" * 8, now)
    assert verify(db, KEY).broken_at is not None


def test_the_head_moves_with_each_seal(db, now, sealed):
    before = verify(db, KEY).head
    with db.write() as conn:
        act(conn, now)
    seal(db, KEY, now)
    assert verify(db, KEY).head != before


def test_what_is_made_of_the_rows_is_made_with_the_seal_or_not_at_all(db, now):
    with db.write() as conn:
        act(conn, now)

    def fails(_conn, _rows):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        seal(db, KEY, now, fails)
    seen = []
    assert seal(db, KEY, now, lambda _conn, rows: seen.extend(rows)) == 1
    assert [row["subject"] for row in seen] == ["x"]


@pytest.mark.parametrize("db", ["postgresql"], indirect=True)  # SQLite has one writer
def test_a_row_whose_number_is_given_and_not_committed_yet_is_not_passed_over(db, now):
    begun, go_on = threading.Event(), threading.Event()

    def slow():
        with db.write() as conn:
            act(conn, now, "slow")
            begun.set()
            go_on.wait(30)

    thread = threading.Thread(target=slow)
    thread.start()
    assert begun.wait(30)
    with db.write() as conn:
        act(conn, now, "quick")
    try:
        with pytest.raises(ClinicalError):
            seal(db, KEY, now)
    finally:
        go_on.set()
        thread.join()
    assert seal(db, KEY, now) == 2
    assert verify(db, KEY).broken_at is None
