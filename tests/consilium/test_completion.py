"""When a study is complete: by an operator, a list, a count, a release or the quiet time; on both databases."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text, update
from structlog.testing import capture_logs

from clinical.errors import Busy, Fault, NotFound, PreconditionMissing
from clinical.identity import PatientKey
from consilium.closing import PRIOR, Closing
from consilium.completing import Completing
from consilium.counting import Counting
from consilium.explain.stages import State, explain
from consilium.operator import force_study, release_held_study
from consilium.rules.completion import MISSING_WAIT, Arrived, CompleteRule, Count, Then, Waits, completeness
from consilium.settings import load_settings
from consilium.wiring import House
from consilium.witnessing import Witness
from consilium.worker import ImageModels
from dicom_node.bearers import BearersEnd
from dicom_node.expected_count import Counted
from model_runtime.testing import manifest_of, segmentation_document
from record_store import priors
from record_store.announcements import COMPLETED, DISCONTINUED, IN_PROGRESS, Announced, Announcement
from record_store.audit import digest
from record_store.instances import ReceivedInstance, close_study, hold_study, record_instance, study_row
from record_store.readings import FAILED, finish_job, queued_jobs
from record_store.study_history import history_of, objects_to_read
from record_store.tables import instance

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
QUIET_S = 5.0
WAITS = Waits(QUIET_S, grace_s=1.0)
HERE = Arrived(3, 2, 1.0, frozenset({"DX"}), frozenset({"XRAY1"}))
RELEASED = replace(HERE, released_s=1.0)


def step(missing=0, state=COMPLETED, listed=3, kind="MPPS", said_by="CT1") -> Announced:
    return Announced(kind, state, said_by, listed, missing)


@pytest.mark.parametrize(
    ("study", "rules", "why"),
    [
        (HERE, (), None),
        (replace(HERE, quiet_s=5.1), (), "nothing came for 5 s"),
        (replace(HERE, quiet_s=0, forced="an operator said so"), (), "an operator said so"),
        (HERE, (CompleteRule("pair", images=3),), "rule 'pair': its number of images or series is here"),
        (HERE, (CompleteRule("pair", images=3, series=3),), None),
        (HERE, (CompleteRule("other", modality=("US",), images=1),), None),
        (
            replace(HERE, quiet_s=1),
            (CompleteRule("ward", calling_ae=("xray*",), quiet_s=0.5),),
            "nothing came for 0.5 s (rule 'ward')",
        ),
        (replace(HERE, quiet_s=20), (CompleteRule("slow", quiet_s=30),), None),
        (replace(HERE, quiet_s=6, broken=True), (), "nothing came for 5 s; a sender broke its association off"),
    ],
)
def test_a_study_is_complete_for_a_reason_that_is_said(study, rules, why) -> None:
    complete = completeness(study, rules, WAITS)
    assert (complete and complete.why) == why


@pytest.mark.parametrize(
    ("study", "why"),
    [
        (
            replace(RELEASED, count=Count(3, fresh=True)),
            "the sender released its association, and the archive counts 3 objects, as are here",
        ),
        (replace(RELEASED, count=Count(3, fresh=True), released_s=0.9), None),  # the grace is not over
        (replace(RELEASED, count=Count(3)), None),  # asked before the release: the archive may have grown
        (replace(RELEASED, count=Count(4, fresh=True)), None),
        (replace(RELEASED, count=Count(2, fresh=True)), None),  # the archive lags behind
        (replace(HERE, count=Count(3, fresh=True)), None),  # it may be passing images on as they come
        (RELEASED, None),
    ],
)
def test_a_release_closes_before_the_quiet_time_only_with_an_archive_that_agrees_now(study, why) -> None:
    complete = completeness(study, (), WAITS)
    assert (complete and complete.why) == why


def test_a_rule_may_trust_the_release_of_its_senders_alone_unless_something_is_known_to_be_missing() -> None:
    trusting = (CompleteRule("sends all at once", calling_ae=("XRAY1",), release_s=0.5),)
    complete = completeness(RELEASED, trusting, WAITS)
    assert complete.why == "rule 'sends all at once': the sender released its association 0.5 s ago"
    assert completeness(replace(RELEASED, count=Count(4)), trusting, WAITS) is None
    assert completeness(replace(RELEASED, announced=(step(missing=1),)), trusting, WAITS) is None
    assert completeness(replace(RELEASED, calling_aes=frozenset({"CT1"})), trusting, WAITS) is None


@pytest.mark.parametrize(
    ("announced", "why"),
    [
        ((step(),), "all 3 objects that MPPS of CT1 lists are here"),
        ((step(listed=2, kind="IAN", said_by="PACS"), step()), "all 2 objects that IAN of PACS lists are here"),
        ((step(state=DISCONTINUED),), "all 3 objects that MPPS of CT1 lists are here"),
        ((step(missing=1),), None),
        ((step(state=IN_PROGRESS),), None),
        ((step(), step(state=IN_PROGRESS, listed=0)), None),  # a second step has begun
        ((step(listed=0),), None),  # it lists nothing: the quiet time decides
    ],
)
def test_a_list_closes_at_its_last_object_and_not_while_a_step_is_in_progress(announced, why) -> None:
    complete = completeness(replace(HERE, quiet_s=0, announced=announced), (), WAITS)
    assert complete is None if why is None else complete.why.startswith(why)


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({"count": Count(4)}, "3 of the 4 objects that the archive counts are here"),
        ({"announced": (step(missing=1, listed=4),)}, "1 of the 4 objects that MPPS of CT1 lists are missing"),
        ({"announced": (step(state=IN_PROGRESS, listed=0),)}, "MPPS of CT1 is in progress"),
    ],
)
def test_what_is_known_to_be_missing_is_waited_for_and_then_the_rule_chooses(known, words) -> None:
    patient, strict = CompleteRule("patient", missing_s=300), CompleteRule("strict", hold_incomplete=True)
    waiting = replace(HERE, quiet_s=59, **known)
    assert completeness(waiting, (), WAITS) is None
    over = replace(waiting, quiet_s=61)
    assert completeness(over, (), WAITS).why == f"{words}; then nothing came for 61 s"
    assert completeness(over, (), WAITS).then is Then.READ
    assert completeness(over, (patient,), WAITS) is None
    held = completeness(over, (strict,), WAITS)
    assert (held.then, held.why) == (Then.HOLD, f"{words}; then nothing came for 61 s (rule 'strict')")


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (Count(problem="no connection"), "the archive did not say how many objects there are: no connection"),
        (Count(2), "the archive counted only 2"),
    ],
)
def test_an_archive_that_does_not_say_leaves_it_to_the_quiet_time_and_that_is_recorded(count, words) -> None:
    assert completeness(replace(RELEASED, quiet_s=4.9, count=count), (), WAITS) is None
    assert (
        completeness(replace(RELEASED, quiet_s=5.1, count=count), (), WAITS).why
        == f"nothing came for 5 s; {words}"
    )


def test_late_objects_are_ignored_where_the_rule_says_so_once_they_are_quiet() -> None:
    rule = (CompleteRule("first look only", modality=("DX",), ignore_late=True),)
    late = replace(HERE, late=True, quiet_s=6, count=Count(9))
    assert completeness(late, rule, WAITS).then is Then.IGNORE
    assert completeness(replace(late, quiet_s=1), rule, WAITS) is None
    assert completeness(replace(late, forced="asked for"), rule, WAITS).then is Then.READ
    assert completeness(replace(late, count=Count()), (), WAITS).then is Then.READ


ARRIVED = st.builds(
    Arrived,
    st.integers(1, 9),
    st.integers(1, 3),
    st.floats(0, 100),
    st.sets(st.sampled_from(["DX", "US"])).map(frozenset),
    st.just(frozenset()),
    forced=st.none() | st.just("an operator"),
    released_s=st.none() | st.floats(0, 100),
    broken=st.booleans(),
    announced=st.lists(
        st.builds(
            step, st.integers(0, 3), st.sampled_from([IN_PROGRESS, COMPLETED, DISCONTINUED]), st.integers(3, 9)
        )
    ).map(tuple),
    count=st.builds(Count, st.none() | st.integers(1, 9), st.booleans()),
)


@given(ARRIVED)
def test_every_study_is_complete_in_the_end_whatever_is_missing(study) -> None:
    assert completeness(replace(study, quiet_s=MISSING_WAIT * QUIET_S + 1), (), WAITS) is not None


@given(ARRIVED)
def test_without_rules_lists_and_counts_only_the_quiet_time_decides(study) -> None:
    plain = replace(study, forced=None, announced=(), count=Count())
    assert (completeness(plain, (), WAITS) is not None) == (plain.quiet_s > QUIET_S)


@given(ARRIVED)
def test_what_is_known_to_be_missing_never_closes_a_study_early(study) -> None:
    missing = replace(study, forced=None, announced=(step(missing=1),), quiet_s=MISSING_WAIT * QUIET_S)
    assert completeness(missing, (), WAITS) is None


# ---------------------------------------------------------------- with a store


@pytest.fixture
def house(tmp_path, store):
    made = House(load_settings(data_dir=tmp_path))
    made.__dict__["db"] = store  # the fixture disposes of it
    return made


@pytest.fixture
def operated(house, monkeypatch):
    """The house's settings, for what an operator calls: it opens the same database."""
    monkeypatch.setattr(House, "db", house.db)
    return house.settings


def arrives(house, number, at) -> None:
    patient = PatientKey("urn:h", "1")
    image = ReceivedInstance(
        f"1.2.{number}", "1.2", "1.2.840.10008.1.2", "1.2", "1.9", "DX", patient, "0" * 64, 9, "XRAY1", "B"
    )
    with house.db.write() as conn:
        record_instance(conn, image, at)


class Jobs(list):
    """What was enqueued; retried: what was tried again."""

    def __init__(self):
        super().__init__()
        self.retried = []

    def enqueue(self, key, payload):
        self.append(key)

    def retry(self, key):
        self.retried.append(key)


def closing(house, at, rules=(), *, counted=False, **how) -> Closing:
    models = ImageModels((manifest_of(segmentation_document()),), {})
    return Closing(house.db, Jobs(), lambda: models, Completing(WAITS, rules, counted=counted), lambda: at, **how)


def row(house):
    with house.db.read() as conn:
        return study_row(conn, "1.2")


def stage(house, name="complete"):
    with house.db.read() as conn:
        history = history_of(conn, "1.2")
    return next(one for one in explain(history, [], QUIET_S) if one.stage == name)


def later(seconds) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_an_operator_completes_a_study_at_once_and_a_late_image_makes_a_second_version(house, operated) -> None:
    clock = house.now()
    arrives(house, 1, clock)
    assert closing(house, clock).once() == 0
    force_study(operated, "1.2", by="dr-blue", why="the patient is in theatre")
    first = closing(house, clock)
    first.once()
    assert (row(house).state, len(first.jobs)) == ("closed", 1)
    assert stage(house).words == "closed as revision 1: an operator said that it is complete"
    assert "by operator dr-blue: the patient is in theatre" in stage(house).lines[0]
    with pytest.raises(PreconditionMissing):
        force_study(operated, "1.2", by="dr-blue", why="again")
    arrives(house, 2, clock)
    assert closing(house, clock).once() == 0, "the operator spoke of the first revision only"
    second = closing(house, clock + timedelta(seconds=6))
    second.once()
    assert (row(house).revision, row(house).state, len(second.jobs)) == (2, "closed", 1)
    assert set(second.jobs).isdisjoint(first.jobs)


def test_an_unknown_study_cannot_be_completed(operated) -> None:
    with pytest.raises(NotFound):
        force_study(operated, "9.9", by="dr-blue", why="in a hurry")


def test_a_rule_with_a_count_closes_at_the_last_image(house) -> None:
    rules = (CompleteRule("pair", modality=("DX",), images=2, series=1),)
    arrives(house, 1, NOW)
    assert closing(house, NOW, rules).once() == 0
    arrives(house, 2, NOW)
    assert closing(house, NOW, rules).once() == 1
    assert row(house).state == "closed"


def test_a_release_and_an_archive_that_agrees_close_before_the_quiet_time(house) -> None:
    arrives(house, 1, NOW)
    Witness(house.db, lambda: NOW).ended(BearersEnd("XRAY1", frozenset(["1.2"]), released=True))
    asked = []
    counting = Counting(house.db, "pacs", lambda uid: asked.append(uid) or Counted(1), QUIET_S, lambda: later(0.2))
    assert closing(house, later(2), counted=True).once() == 0, "nobody has asked yet"
    assert (counting.once(), counting.once()) == (1, 0)
    assert asked == ["1.2"]
    assert closing(house, later(0.9), counted=True).once() == 0
    assert closing(house, later(1.1), counted=True).once() == 1
    assert stage(house).words.endswith("the archive counts 1 objects, as are here")


def test_counts_that_differ_are_asked_again_until_they_agree(house) -> None:
    arrives(house, 1, NOW)
    Witness(house.db, lambda: NOW).ended(BearersEnd("XRAY1", frozenset(["1.2"]), released=True))
    for at, count, closed in ((0.1, 2, 0), (6, 2, 0), (12, 1, 1)):
        Counting(house.db, "pacs", lambda _, n=count: Counted(n), QUIET_S, lambda at=at: later(at)).once()
        assert closing(house, later(at + 1), counted=True).once() == closed


def test_an_archive_that_is_away_is_recorded_and_the_quiet_time_decides(house) -> None:
    arrives(house, 1, NOW)
    Counting(house.db, "pacs", lambda _: Counted(None, "no connection"), QUIET_S, lambda: later(3)).once()
    assert closing(house, later(4), counted=True).once() == 0
    assert closing(house, later(6), counted=True).once() == 1
    assert stage(house).words.endswith("the archive did not say how many objects there are: no connection")
    assert any("no connection" in line for line in stage(house).lines)


def announced(house, *objects, state=COMPLETED, uid="7.1") -> None:
    said = Announcement(uid, "MPPS", state, "CT1", frozenset(["1.2"]), frozenset(objects))
    assert Witness(house.db, lambda: NOW).announce(said)


def test_a_performed_step_closes_at_its_last_object(house) -> None:
    announced(house, "1.2.1", "1.2.2")
    arrives(house, 1, NOW)
    assert closing(house, later(30)).once() == 0
    assert "MPPS of CT1, completed, lists 2 objects, 1 of them not here" in stage(house).lines
    arrives(house, 2, later(30))
    assert closing(house, later(30)).once() == 1
    assert stage(house).state is State.DONE
    assert stage(house).words == "closed as revision 1: all 2 objects that MPPS of CT1 lists are here"


def test_a_step_in_progress_keeps_a_study_open_after_its_quiet_time(house) -> None:
    announced(house, state=IN_PROGRESS)
    arrives(house, 1, NOW)
    assert closing(house, later(30)).once() == 0
    assert stage(house).state is State.WAITING
    Witness(house.db, lambda: NOW).amend("7.1", DISCONTINUED, ["1.2.1"])
    assert closing(house, later(30)).once() == 1


def test_an_incomplete_study_is_held_by_rule_until_an_operator_releases_it_and_then_read_as_it_is(
    house, operated
) -> None:
    announced(house, "1.2.1", "1.2.2")
    clock = house.now()
    arrives(house, 1, clock)
    strict = (CompleteRule("strict", hold_incomplete=True),)
    after = clock + timedelta(seconds=61)
    first = closing(house, after, strict)
    first.once()
    assert (row(house).state, list(first.jobs)) == ("held", [])
    assert row(house).hold_reason.startswith(
        "it is incomplete: 1 of the 2 objects that MPPS of CT1 lists are missing"
    )
    release_held_study(operated, digest("1.2"), by="dr-blue", why="the second view was never taken")
    second = closing(house, after, strict)
    second.once()
    assert (row(house).state, row(house).revision, len(second.jobs)) == ("closed", 2, 1)
    assert stage(house).words == "closed as revision 2: an operator released it"
    assert any(
        "released as revision 2 by operator dr-blue: the second view" in line for line in stage(house).lines
    )


def arrives_as_prior(house, at) -> None:
    arrives(house, 1, at)
    with house.db.write() as conn:
        conn.execute(update(instance).values(fetched=1))
        priors.claim_question(conn, "1.9", "main", "older", at)
        priors.answer_question(conn, "1.9", at, found=1, chosen=["1.2"], problem=None)


@pytest.mark.parametrize("is_closed", [False, True])
def test_a_prior_is_read_when_an_operator_says_that_it_is_complete(house, operated, is_closed) -> None:
    clock = house.now()
    arrives_as_prior(house, clock)
    if is_closed:
        closing(house, clock + timedelta(seconds=60)).once()
        assert stage(house).words == f"closed as revision 1: {PRIOR}"
    force_study(operated, "1.2", by="dr-blue", why="a result is wanted of it")
    now = closing(house, clock + timedelta(seconds=120))
    now.once()
    assert (row(house).state, len(now.jobs)) == ("closed", 1)
    with pytest.raises(PreconditionMissing):
        force_study(operated, "1.2", by="dr-blue", why="once more")


def test_a_prior_is_read_also_when_an_operator_says_so_while_it_is_being_closed(house, operated) -> None:
    clock = house.now()
    arrives_as_prior(house, clock)

    def hold(_study_uid, _modalities):  # asked when it is known what is due, before it is closed
        force_study(operated, "1.2", by="dr-blue", why="a result is wanted of it")

    now = closing(house, clock + timedelta(seconds=60), hold=hold)
    now.once()
    assert (row(house).state, len(now.jobs)) == ("closed", 1)


def somebody_waits(house) -> bool:
    if house.db.dialect == "sqlite":
        return True  # it has one writer at a time
    waiting = "SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted"
    with house.db.read() as conn:
        return conn.execute(text(f"{waiting} AND datname = current_database()")).first() is not None


def test_an_operator_who_meets_a_prior_that_is_just_closed_has_it_opened_again(house, operated) -> None:
    clock = house.now()
    arrives_as_prior(house, clock)
    how = {"by": "dr-blue", "why": "a result is wanted of it"}
    saying = threading.Thread(target=force_study, args=(operated, "1.2"), kwargs=how)
    with house.db.write() as conn:
        close_study(conn, "1.2", clock + timedelta(seconds=60))
        saying.start()
        while saying.is_alive() and not somebody_waits(house):
            saying.join(0.01)
    saying.join()
    now = closing(house, clock + timedelta(seconds=60))
    now.once()
    assert (row(house).state, len(now.jobs)) == ("closed", 1)


def test_a_prior_that_an_operator_releases_is_no_less_a_prior(house, operated) -> None:
    clock = house.now()
    arrives_as_prior(house, clock)
    with house.db.write() as conn:
        hold_study(conn, "1.2", "its images name different patients")
    release_held_study(operated, "1.2", by="dr-blue", why="it is one patient")
    closing(house, clock + timedelta(seconds=60)).once()
    assert stage(house).words == f"closed as revision 2: {PRIOR}"


def test_a_study_that_cannot_be_closed_keeps_those_behind_it_from_nothing(house) -> None:
    """An image that the disk cannot read, for example."""
    patient = PatientKey("urn:h", "1")
    with house.db.write() as conn:
        for number in ("1.2", "1.3", "1.4"):
            image = ReceivedInstance(
                f"{number}.1", "1.2", "1.2", number, f"{number}.9", "DX", patient, "0" * 64, 9, "XRAY1", "B"
            )
            record_instance(conn, image, later(int(number[-1])))

    def hold(study_uid, _modalities):
        if study_uid in refused:
            raise refused[study_uid]

    refused = {"1.2": Busy("the disk failed"), "1.3": OSError("/Smith^Jane.dcm")}
    tried = closing(house, later(60), hold=hold)
    with capture_logs() as logs:
        for _ in range(2):
            with pytest.raises(Fault, match=r"OSError at test_completion.py:\d+; the disk failed"):
                tried.once()
    with house.db.read() as conn:
        assert [study_row(conn, uid).state for uid in ("1.2", "1.3", "1.4")] == ["open", "open", "closed"]
    told = [one["study"] for one in logs if one["event"] == "study cannot be closed"]
    assert told == [digest("1.2"), digest("1.3")], "each once, in whatever order they fail"
    assert stage(house).words == "still open: it cannot be closed, and is tried again: the disk failed"
    refused.clear()
    assert tried.once() == 2
    assert stage(house).words.startswith("closed as revision 1")


def test_late_objects_are_ignored_by_rule_and_that_is_told_until_an_operator_asks_for_them(
    house, operated
) -> None:
    rules = (CompleteRule("first look only", ignore_late=True),)
    start = house.now()
    arrives(house, 1, start)
    closing(house, start + timedelta(seconds=6), rules).once()
    arrives(house, 2, start + timedelta(seconds=60))
    late = closing(house, start + timedelta(seconds=66), rules)
    late.once()
    assert (row(house).state, row(house).revision, list(late.jobs)) == ("closed", 1, [])
    assert "1 late object is ignored" in stage(house).words
    assert "rule 'first look only'" in stage(house).words
    assert to_read(house) == (["1.2.1"], 1), "not when its job is tried again either, nor in shadow"
    force_study(operated, "1.2", by="dr-blue", why="the lateral view matters")
    asked = closing(house, start + timedelta(seconds=67), rules)
    asked.once()
    assert (row(house).revision, len(asked.jobs)) == (2, 1)
    assert to_read(house) == (["1.2.1", "1.2.2"], 0)


def test_what_comes_after_ignored_objects_is_ignored_with_them_until_an_operator_asks_for_all(
    house, operated
) -> None:
    rules = (CompleteRule("first look only", ignore_late=True),)
    start = house.now()
    arrives(house, 1, start)
    closing(house, start + timedelta(seconds=6), rules).once()
    for number, seconds in ((2, 60), (3, 120)):
        arrives(house, number, start + timedelta(seconds=seconds))
        closing(house, start + timedelta(seconds=seconds + 6), rules).once()
    assert (row(house).revision, to_read(house)) == (1, (["1.2.1"], 2))
    force_study(operated, "1.2", by="dr-blue", why="all of it matters")
    closing(house, start + timedelta(seconds=130), rules).once()
    assert to_read(house)[1] == 0


def to_read(house) -> tuple[list[str], int]:
    with house.db.read() as conn:
        rows, ignored = objects_to_read(conn, "1.2")
    return [one.sop_instance_uid for one in rows], ignored


def test_a_job_that_failed_while_its_study_was_in_doubt_is_tried_again_when_it_is_released(
    house, operated
) -> None:
    clock = house.now()
    arrives(house, 1, clock)
    first = closing(house, clock + timedelta(seconds=6))
    first.once()
    with house.db.write() as conn:
        finish_job(conn, first.jobs[0], FAILED, "the study is held: its patient is in doubt", clock)
    arrives(house, 1, clock)  # the same object: no new revision
    with house.db.write() as conn:
        hold_study(conn, "1.2", "a doubt")
    release_held_study(operated, digest("1.2"), by="dr-blue", why="looked at")
    again = closing(house, clock + timedelta(seconds=7))
    again.once()
    assert again.jobs.retried == list(first.jobs)
    with house.db.read() as conn:
        assert [(one.job_key, one.revision) for one in queued_jobs(conn)] == [(first.jobs[0], 2)]


def test_an_image_that_comes_between_the_look_and_the_closing_keeps_the_study_open(house) -> None:
    arrives(house, 1, NOW)

    def another_comes(study_uid, modalities):
        arrives(house, 2, later(6))

    closing(house, later(6), hold=another_comes).once()
    assert row(house).state == "open"


def test_looking_does_not_decide_about_the_same_study_twice(house) -> None:
    arrives(house, 1, NOW)
    Witness(house.db, lambda: later(1)).ended(BearersEnd("XRAY1", frozenset(["1.2"]), released=False))
    with house.db.read() as conn:
        (due,) = Completing(WAITS).due(conn, later(6))
    assert (due.study_uid, due.why) == ("1.2", "nothing came for 5 s; a sender broke its association off")
    closing(house, later(6)).once()
    with house.db.read() as conn:
        assert Completing(WAITS).due(conn, later(6)) == []
