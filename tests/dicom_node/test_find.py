"""How many instances an archive knows of: its own number of this very study counts, and silence costs nothing."""

import socket
from contextlib import contextmanager

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from dicom_node.destinations import Destination
from dicom_node.expected_count import FAILURES, LEFT_ALONE, NOT_KNOWN, PAUSE_S, Counted, ExpectedCount
from dicom_node.find import Unanswered, instances_of_study
from dicom_node.peer_library import prepare_pynetdicom
from dicom_node.testing import listening_ae

pytestmark = pytest.mark.slow  # opens associations
STUDY = "1.2.3.4"


def to(port):
    return Destination("pacs", "127.0.0.1", port, "PACS")


@contextmanager
def archive(*answers, status=0x0000):
    """Run an archive that answers each query with these data sets."""
    prepare_pynetdicom()
    ae = AE(ae_title="PACS")
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    asked = []

    def on_find(event):
        asked.append(event.identifier)
        for one in answers:
            yield 0xFF00, one
        if status:
            yield status, None

    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, on_find)])
    try:
        yield to(server.server_address[1]), asked
    finally:
        server.shutdown()


def study(uid=STUDY, count: int | None = 3):
    ds = Dataset()
    ds.StudyInstanceUID = uid
    if count is not None:
        ds.NumberOfStudyRelatedInstances = count
    return ds


def test_the_archives_number_is_the_one_of_the_study_that_was_asked_for() -> None:
    with archive(study("1.2.9", 99), study(count=7)) as (peer, asked):
        assert instances_of_study(peer, "CONSILIUM", STUDY) == 7
    assert (asked[0].QueryRetrieveLevel, asked[0].StudyInstanceUID) == ("STUDY", STUDY)
    assert "NumberOfStudyRelatedInstances" in asked[0]


@pytest.mark.parametrize("answers", [(), (study(count=None),), (study(count=0),), (study("1.2.9", 5),)])
def test_an_archive_that_does_not_say_is_unknown_and_not_zero(answers) -> None:
    with archive(*answers) as (peer, _):
        assert instances_of_study(peer, "CONSILIUM", STUDY) is None


def test_an_archive_that_answers_with_everything_it_has_is_not_read_to_its_end() -> None:
    with archive(*(study(f"1.2.{n}") for n in range(50))) as (peer, _):
        assert instances_of_study(peer, "CONSILIUM", STUDY) is None


def test_a_failed_query_and_an_archive_without_the_service_are_told_in_words() -> None:
    with archive(status=0xA700) as (peer, _), pytest.raises(Unanswered, match="0xA700"):
        instances_of_study(peer, "CONSILIUM", STUDY)
    with listening_ae() as peer, pytest.raises(Unanswered, match="presentation context"):
        instances_of_study(to(peer.port), "CONSILIUM", STUDY)


def test_an_archive_that_is_away_is_left_alone_for_a_while_and_then_asked_again() -> None:
    now = [0.0]
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        away = to(unused.getsockname()[1])
        count = ExpectedCount(away, "CONSILIUM", clock=lambda: now[0])
        assert [count(STUDY) for _ in range(FAILURES)] == [Counted(None, "no connection")] * FAILURES
    with archive(study(count=7)) as (peer, asked):
        count.archive = peer
        assert count(STUDY) == Counted(None, LEFT_ALONE)
        assert asked == []
        now[0] = PAUSE_S
        assert count(STUDY) == Counted(7)
        assert count("1.2.9") == Counted(None, NOT_KNOWN)
