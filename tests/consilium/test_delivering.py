"""What becomes of results on their way to archives: tried again, parked, sent in another form, given back."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import delete
from structlog.testing import capture_logs

from consilium.delivering import Delivering
from dicom_node.associating import NO_CONTEXT
from dicom_node.destinations import Destination
from dicom_node.scu import SendOutcome
from record_store import deliveries
from record_store.deliveries import RetryPolicy
from record_store.readings import ResultObject, add_result_object
from record_store.tables import delivery, result_object
from record_store.testing import MemoryBlobs, database

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SOP_CLASS = "1.2.840.10008.5.1.4.1.1.88.33"


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    one = database(tmp_path_factory.mktemp("db"))
    yield one
    one.dispose()


@pytest.fixture
def delivering(db, tmp_path):
    """delivering(made, sent, send): of the kinds made, those sent are due; a Delivering, and its rows by kind."""

    def make(made, sent, send, *, commitment=False, **more):
        blobs = MemoryBlobs(tmp_path)
        uids = {kind: f"1.2.{number}" for number, kind in enumerate(made, 1)}
        with db.write() as conn:
            conn.execute(delete(delivery))
            conn.execute(delete(result_object))
            for kind, uid in uids.items():
                sha256 = "f" * 64 if kind == "LOST" else blobs.put(kind.encode()).sha256
                add_result_object(conn, ResultObject(uid, "job", kind, SOP_CLASS, "1.2.3", sha256, NOW))
            for kind in sent:
                deliveries.enqueue(conn, uids[kind], "pacs", NOW)
        one = Delivering(
            db=db,
            blobs=blobs,
            destinations={"pacs": Destination("pacs", "127.0.0.1", 104, "PACS", commitment)},
            calling_ae="CONSILIUM",
            retry=RetryPolicy(max_attempts=3),
            now=lambda: NOW,
            send=lambda paths, destination, calling_ae: send([uids[path.read_text()] for path in paths]),
            observe=lambda destination, state: None,
            **more,
        )
        kinds = {uid: kind for kind, uid in uids.items()}

        def rows():
            with db.read() as conn:
                return {kinds[one.sop_instance_uid]: one for one in deliveries.deliveries(conn)}

        return one, rows

    return make


@pytest.fixture
def deliver(delivering):
    """deliver(kinds made, kind sent, answer): one attempt; the row by kind afterwards."""

    def one(made, sent, *, status=None, problem=None, commitment=False):
        answer = lambda uids: [SendOutcome(uid, status, problem) for uid in uids]  # noqa: E731
        delivering_one, rows = delivering(made, [sent], answer, commitment=commitment)
        assert delivering_one.due() == ["pacs"]
        delivering_one._batch("pacs", deliveries.claim_due(delivering_one.db, NOW, 60, 9, "pacs"))
        return rows()

    return one


@pytest.mark.parametrize(("status", "problem"), [(None, NO_CONTEXT), (0x0122, "refused: SOP class not supported")])
def test_a_refused_class_is_dead_and_the_best_other_form_goes_out(deliver, status, problem) -> None:
    rows = deliver(["SEG", "SR", "PDF", "SC"], "SR", status=status, problem=problem)
    assert rows["SR"].state == "dead"
    assert rows["SR"].last_problem == f"{problem}; SC is sent in its place"
    assert (rows["SC"].state, rows["SC"].attempts) == ("pending", 0)
    assert set(rows) == {"SR", "SC"}


def test_another_form_of_the_same_class_stands_in_for_nothing(deliver) -> None:
    rows = deliver(["SR", "SR-VIEWER"], "SR", problem=NO_CONTEXT)
    # Nothing else was made: the archive may be set right meanwhile, so it is tried again.
    assert {kind: row.state for kind, row in rows.items()} == {"SR": "pending"}


@pytest.mark.parametrize(
    ("status", "state"),
    [(0xA700, "pending"), (0x0110, "pending"), (0x0213, "pending"), (0xC000, "dead"), (0xA900, "dead")],
)
def test_what_may_pass_is_tried_again_and_a_judgement_of_the_object_is_not(deliver, status, state) -> None:
    rows = deliver(["SR", "SC"], "SR", status=status, problem="refused")
    assert {kind: row.state for kind, row in rows.items()} == {"SR": state}


@pytest.mark.parametrize(("status", "level"), [(0, "info"), (0xA700, "info"), (0xC000, "warning")])
def test_what_is_given_up_is_a_warning_in_the_log(deliver, status, level) -> None:
    with capture_logs() as said:
        deliver(["SR"], "SR", status=status, problem="refused" if status else None)
    assert [one["log_level"] for one in said if one["event"] == "result delivery"] == [level]


@pytest.mark.parametrize(("asked", "commitment"), [(True, "wanted"), (False, None)])
def test_only_archives_that_commit_are_asked_about_what_they_took(deliver, asked, commitment) -> None:
    row = deliver(["SR"], "SR", status=0, commitment=asked)["SR"]
    assert (row.state, row.commitment) == ("sent", commitment)


def test_an_object_whose_bytes_are_gone_does_not_hold_the_others_back(delivering) -> None:
    one, rows = delivering(
        ["LOST", "SR"], ["LOST", "SR"], lambda uids: [SendOutcome(uid, 0, None) for uid in uids]
    )
    assert one.deliver("pacs")
    assert {kind: (row.state, row.last_problem) for kind, row in rows().items()} == {
        "LOST": ("pending", "no such object in the blob store"),
        "SR": ("sent", None),
    }


def test_each_answer_is_written_down_before_the_next_object_is_sent(delivering) -> None:
    states = []

    def send(uids):
        for uid in uids:
            states.append([row.state for row in rows().values()])
            yield SendOutcome(uid, 0, None)

    one, rows = delivering(["SEG", "SR", "KO"], ["SEG", "SR", "KO"], send)
    one.deliver("pacs")
    assert states == [["pending"] * 3, ["sent", "pending", "pending"], ["sent", "sent", "pending"]]


def test_a_worker_that_stops_gives_back_what_it_has_not_tried(delivering) -> None:
    stop = []

    def send(uids):
        for uid in uids:
            stop.append(True)
            yield SendOutcome(uid, 0, None)

    one, rows = delivering(["SEG", "SR"], ["SEG", "SR"], send, stopping=lambda: bool(stop))
    one.deliver("pacs")
    assert {kind: (row.state, row.attempts) for kind, row in rows().items()} == {
        "SEG": ("sent", 1),
        "SR": ("pending", 0),
    }
    assert rows()["SR"].next_attempt_at == NOW


def test_a_slow_archives_lease_ends_before_another_worker_takes_its_objects(delivering) -> None:
    clock = iter([0.0, 51.0, 100.0, 110.0])  # begun; after the first object; begun again; after the second
    send = lambda uids: (SendOutcome(uid, 0, None) for uid in uids)  # noqa: E731
    one, rows = delivering(["SEG", "SR"], ["SEG", "SR"], send, seconds=lambda: next(clock))
    assert one.deliver("pacs")
    assert {kind: (row.state, row.attempts) for kind, row in rows().items()} == {
        "SEG": ("sent", 1),
        "SR": ("sent", 1),
    }


@pytest.mark.parametrize(
    ("status", "problem", "there"),
    [
        (0, None, True),
        (0xA700, "refused: out of resources", True),
        (None, NO_CONTEXT, True),
        (None, "no connection", False),
    ],
)
def test_an_archive_that_answers_about_nothing_is_away(delivering, status, problem, there) -> None:
    send = lambda uids: [SendOutcome(uid, status, problem) for uid in uids]  # noqa: E731
    one, _ = delivering(["SEG"], ["SEG"], send)
    assert one.deliver("pacs") is there
