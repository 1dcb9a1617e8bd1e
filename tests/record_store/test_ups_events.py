"""What subscribers of steps are told: in its order, by one caller at a time, again in bounds, and not for ever."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select

from record_store import own_steps, ups_events, ups_subscriptions
from record_store.deliveries import RetryPolicy
from record_store.tables import ups_event
from record_store.ups_subscriptions import GLOBAL

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
RETRY = RetryPolicy(max_attempts=2, first_s=10, jitter=lambda: 1.0)


def add(db, receiver, *bodies):
    with db.write() as conn:
        return ups_events.add(conn, receiver, [("2.25.1", 1, body) for body in bodies], NOW)


def claim(db, at=NOW):
    return [(one.receiving_ae, one.body) for one in ups_events.claim(db, at, 60)]


def create(db, uid, state="SCHEDULED", at=NOW):
    with db.write() as conn:
        return own_steps.create(conn, uid, state, "{}", "RIS", at)


def test_each_ae_is_told_in_order_and_by_one_caller_at_a_time(db) -> None:
    add(db, "RIS", "first", "second")
    add(db, "PACS", "other")
    assert claim(db) == [("RIS", "first"), ("RIS", "second")]
    add(db, "RIS", "third")  # would overtake the others
    assert claim(db) == [("PACS", "other")]
    assert claim(db) == []
    assert claim(db, NOW + timedelta(seconds=61))[0] == ("RIS", "first")


def test_of_several_workers_that_look_at_once_one_has_the_events_of_an_ae(db, monkeypatch) -> None:
    monkeypatch.setattr(ups_events, "AT_ONCE", 2)
    for _ in range(3):
        with db.write() as conn:
            conn.execute(ups_event.delete())
        add(db, "RIS", "first", "second", "third")
        at_once = threading.Barrier(4)

        def look(at_once=at_once):
            at_once.wait(30)
            return claim(db)

        with ThreadPoolExecutor(4) as workers:
            found = [each.result() for each in [workers.submit(look) for _ in range(4)]]
        assert [one for one in found if one] == [[("RIS", "first"), ("RIS", "second")]]


def test_what_was_told_is_forgotten_and_the_rest_goes_on_at_once(db) -> None:
    add(db, "RIS", "first", "second")
    events = ups_events.claim(db, NOW, 60)
    with db.write() as conn:
        ups_events.told(conn, events[:1], NOW)
    assert claim(db) == [("RIS", "second")]


def test_an_ae_that_does_not_answer_is_left_alone_and_then_nothing_waits_for_it(db) -> None:
    add(db, "RIS", "first", "second")
    (event, _) = ups_events.claim(db, NOW, 60)
    with db.write() as conn:
        assert ups_events.failed(conn, event, NOW, RETRY) == 0
    assert claim(db, NOW + timedelta(seconds=9)) == []
    (event, _) = ups_events.claim(db, NOW + timedelta(seconds=11), 60)
    assert event.attempts == 1
    with db.write() as conn:
        assert ups_events.failed(conn, event, NOW, RETRY) == 2
        assert conn.execute(select(func.count()).select_from(ups_event)).scalar_one() == 0


def test_no_more_waits_for_one_ae_than_the_table_is_to_hold(db, monkeypatch) -> None:
    monkeypatch.setattr(ups_events, "MOST_WAITING", 2)
    assert (add(db, "RIS", "first"), add(db, "RIS", "second", "third"), add(db, "PACS", "other")) == (0, 1, 0)


def test_who_is_subscribed_to_all_is_subscribed_to_what_there_is_and_what_comes(db) -> None:
    create(db, "2.25.1")
    with db.write() as conn:
        ups_subscriptions.subscribe(conn, "RIS", "2.25.1", lock=True)
        assert ups_subscriptions.subscribe_to_all(conn, "RIS", lock=False) == ["2.25.1"]
        ups_subscriptions.subscribe(conn, "RIS", GLOBAL, lock=False)
    create(db, "2.25.2")
    with db.write() as conn:
        ups_subscriptions.inherit(conn, "2.25.2")
        assert ups_subscriptions.told_of(conn, "2.25.2") == ["RIS"]
        assert ups_subscriptions.everybody(conn) == ["RIS"]
        # Its own subscription with a lock is not weakened by that to all.
        assert own_steps.purge(conn, ("SCHEDULED",), NOW + timedelta(days=1), NOW) == 1
        ups_subscriptions.purge(conn)
        assert ups_subscriptions.told_of(conn, "2.25.2") == []


def test_steps_that_nobody_has_taken_up_are_read_page_by_page_the_oldest_first(db) -> None:
    for number in range(5):
        create(db, f"2.25.{number}", at=NOW - timedelta(seconds=number // 2))
    create(db, "2.25.9", state="CANCELED")
    found, last = [], None
    with db.read() as conn:
        while some := own_steps.not_begun(conn, "SCHEDULED", "(here)", last, 2):
            found += [one.workitem_uid for one in some]
            last = some[-1]
    assert found == ["2.25.4", "2.25.2", "2.25.3", "2.25.0", "2.25.1"]
