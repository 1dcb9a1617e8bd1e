"""Questions for priors and what became of them, in both databases."""

from datetime import timedelta

from clinical.identity import PatientKey
from record_store import priors
from record_store.header_index import HeaderRows, add_headers
from record_store.instances import ReceivedInstance, record_instance

STUDY, CLASS = "1.7.1", "1.2.840.10008.5.1.4.1.1.1.1"


def arrive(db, now):
    place = {"study_uid": STUDY, "series_uid": "1.8"}
    one = ReceivedInstance(
        "1.9", CLASS, "1.2.840.10008.1.2.1", STUDY, "1.8", "DX", PatientKey("urn:h", "P1"), "a" * 64, 1, "X", "C"
    )
    header = HeaderRows(
        {"study_uid": STUDY, "patient_id": "P1"},
        place | {"modality": "DX"},
        place | {"sop_instance_uid": "1.9", "sop_class_uid": CLASS},
    )
    with db.write() as conn:
        record_instance(conn, one, now())
        add_headers(conn, [header])


def test_a_study_is_asked_for_until_somebody_answers_and_its_priors_come_once(db, now) -> None:
    arrive(db, now)
    with db.read() as conn:
        (current,) = priors.unasked(conn, now(), 8)
    assert (current.patient_id, current.modalities, current.senders) == ("P1", {"DX"}, {"X"})
    with db.write() as conn:
        assert priors.claim_question(conn, STUDY, "main", "rule", now())
        assert not priors.claim_question(conn, STUDY, "main", "rule", now())
        assert priors.unasked(conn, now(), 8) == []
        priors.answer_question(conn, STUDY, now(), found=0, chosen=[], problem="no connection")
    now.advance(120)
    with db.write() as conn:
        assert len(priors.unasked(conn, now(), 8)) == 1
        assert priors.claim_question(conn, STUDY, "main", "rule", now())
        priors.answer_question(conn, STUDY, now(), found=3, chosen=["1.7.50", "1.7.40"], problem=None)
        assert priors.unasked(conn, now(), 8) == []
        first, second = priors.claim_wanted(conn, now()), priors.claim_wanted(conn, now())
        assert {first.prior_uid, second.prior_uid} == {"1.7.40", "1.7.50"}
        assert priors.claim_wanted(conn, now()) is None
        assert priors.end_fetch(conn, first, now(), objects=2, problem=None) == priors.FETCHED
        assert priors.end_fetch(conn, second, now(), objects=0, problem="away") == priors.WANTED
        assert priors.claim_wanted(conn, now()) is None  # not at once again
        assert priors.claim_wanted(conn, now() + timedelta(minutes=2)).prior_uid == second.prior_uid
        assert priors.is_prior(conn, "1.7.40")
        assert priors.held_of(conn, [STUDY, "1.7.40"]) == {STUDY}
        question, *others = priors.priors_of(conn, STUDY)
    assert (question.prior_uid, question.objects, len(others)) == ("", 3, 2)


def wanted(db, now, *uids):
    arrive(db, now)
    with db.write() as conn:
        priors.claim_question(conn, STUDY, "main", "rule", now())
        priors.answer_question(conn, STUDY, now(), found=len(uids), chosen=uids, problem=None)


def claimed(db, now):
    with db.write() as conn:
        return priors.claim_wanted(conn, now())


def state(db):
    with db.read() as conn:
        return [(one.state, one.problem) for one in priors.priors_of(conn, STUDY)[1:]]


def test_of_two_workers_the_one_that_is_late_takes_nothing_back(db, now) -> None:
    wanted(db, now, "1.7.50")
    slow = claimed(db, now)
    now.advance(660)
    second = claimed(db, now)
    with db.write() as conn:
        assert priors.end_fetch(conn, slow, now(), objects=0, problem="no answer") is None
    assert state(db) == [(priors.FETCHING, None)]
    with db.write() as conn:
        assert priors.end_fetch(conn, second, now(), objects=2, problem=None) == priors.FETCHED
        assert priors.end_fetch(conn, slow, now(), objects=0, problem="no answer") is None
    assert state(db) == [(priors.FETCHED, None)]


def test_a_prior_over_which_workers_end_is_given_up_as_one_that_does_not_come(db, now) -> None:
    wanted(db, now, "1.7.40", "1.7.50")
    for _ in range(priors.MOST_ATTEMPTS):
        assert {claimed(db, now).prior_uid, claimed(db, now).prior_uid} == {"1.7.40", "1.7.50"}
        now.advance(660)
    assert claimed(db, now) is None
    assert state(db) == [(priors.FAILED, priors.CUT_OFF)] * 2
