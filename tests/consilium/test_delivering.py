"""What becomes of a result that an archive refuses: tried again, parked, or sent in another form."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import delete

from consilium.worker import Delivering
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
def deliver(db, tmp_path):
    """deliver(kinds made, kind sent, answer): one attempt; (state, problem) by kind afterwards."""

    def one(made, sent, *, status=None, problem=None, commitment=False):
        blobs = MemoryBlobs(tmp_path)
        sha256 = blobs.put(b"object").sha256
        uids = {kind: f"1.2.{number}" for number, kind in enumerate(made, 1)}
        with db.write() as conn:
            conn.execute(delete(delivery))
            conn.execute(delete(result_object))
            for kind, uid in uids.items():
                add_result_object(conn, ResultObject(uid, "job", kind, SOP_CLASS, "1.2.3", sha256, NOW))
            deliveries.enqueue(conn, uids[sent], "pacs", NOW)
        delivering = Delivering(
            db=db,
            blobs=blobs,
            destinations={"pacs": Destination("pacs", "127.0.0.1", 104, "PACS", commitment)},
            calling_ae="CONSILIUM",
            retry=RetryPolicy(max_attempts=3),
            now=lambda: NOW,
            send=lambda paths, destination, calling_ae: [SendOutcome(uids[sent], status, problem)],
            observe=lambda destination, state: None,
        )
        delivering.once()
        kinds = {uid: kind for kind, uid in uids.items()}
        with db.read() as conn:
            return {kinds[one.sop_instance_uid]: one for one in deliveries.deliveries(conn)}

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


@pytest.mark.parametrize(("asked", "commitment"), [(True, "wanted"), (False, None)])
def test_only_archives_that_commit_are_asked_about_what_they_took(deliver, asked, commitment) -> None:
    row = deliver(["SR"], "SR", status=0, commitment=asked)["SR"]
    assert (row.state, row.commitment) == ("sent", commitment)
