"""What passes between peers is written down once, behind the act, and survives a database that is away."""

import threading
import time

import orjson
from sqlalchemy import select

from clinical.errors import Busy
from record_store.exchanges import Exchange, Kind, Outcome, Party, Trail, rows_of
from record_store.tables import audit
from tests.record_store.conftest import START

MODALITY, NODE = Party("CT1", "10.1.2.3"), Party("CONSILIUM")


def stored(studies):
    return Exchange(kind=Kind.TRANSFERRED, source=MODALITY, destination=NODE, studies=studies, what="C-STORE")


def rows(db):
    with db.read() as conn:
        return [dict(row) for row in conn.execute(select(audit).order_by(audit.c.row)).mappings()]


def written(db, trail):
    trail.close(60)
    return rows(db)


def test_a_transfer_of_two_studies_is_two_rows_with_their_counts(db, now):
    trail = Trail(db, now)
    trail.note(stored({"1.2.3": 200, "1.2.4": 1}))
    found = written(db, trail)
    assert [(row["action"], row["outcome"], row["actor"]) for row in found] == [
        ("exchange:transferred", "success", "ae:CT1")
    ] * 2
    details = [orjson.loads(row["detail"]) for row in found]
    assert [(one["study_uid"], one["instances"], one["source_address"]) for one in details] == [
        ("1.2.3", 200, "10.1.2.3"),
        ("1.2.4", 1, "10.1.2.3"),
    ]


def test_the_same_thing_again_is_counted_and_not_repeated(db, now):
    trail = Trail(db, now)
    for _ in range(500):
        trail.note(stored({"1.2.3": 1}))
    details = [orjson.loads(row["detail"]) for row in written(db, trail)]
    assert sum(one["times"] for one in details) == 500
    assert sum(one["instances"] for one in details) == 500
    assert len(details) < 50


def test_an_exchange_of_no_study_is_one_row_without_a_subject():
    refused = Exchange(
        kind=Kind.REFUSED, source=MODALITY, destination=NODE, outcome=Outcome.SERIOUS, note="calling AE not known"
    )
    (row,) = rows_of(refused, START)
    assert (row["action"], row["outcome"], row["subject"]) == ("exchange:refused", "serious", "")


def test_a_retrieval_is_the_act_of_who_takes_the_objects():
    moved = Exchange(
        kind=Kind.TRANSFERRED, source=NODE, destination=MODALITY, studies={"1.2.3": 1}, asked_by_destination=True
    )
    assert rows_of(moved, START)[0]["actor"] == "ae:CT1"


def test_nothing_is_lost_while_the_database_is_away_for_a_moment(db, now):
    class Away:
        """The database, away until it is told."""

        def __init__(self):
            self.back, self.asked = threading.Event(), threading.Event()

        def write(self):
            if self.back.is_set():
                return db.write()
            self.asked.set()
            raise Busy("away")

    away = Away()
    trail = Trail(away, now)
    trail.note(stored({"1.2.3": 7}))
    assert away.asked.wait(30)
    trail.note(stored({"1.2.3": 5}))
    away.back.set()
    assert sum(orjson.loads(row["detail"])["instances"] for row in written(db, trail)) == 12


def test_taking_note_does_not_wait_for_the_database(db, now):
    class Stuck:
        def __init__(self):
            self.go_on, self.entered = threading.Event(), threading.Event()

        def write(self):
            self.entered.set()
            self.go_on.wait(60)
            return db.write()

    stuck = Stuck()
    trail = Trail(stuck, now)
    trail.note(stored({"1.2.3": 1}))
    assert stuck.entered.wait(30)
    began = time.monotonic()
    trail.note(stored({"1.2.4": 1}))
    assert time.monotonic() - began < 30
    stuck.go_on.set()
    assert len(written(db, trail)) == 2
