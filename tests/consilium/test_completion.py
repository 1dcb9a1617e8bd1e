"""When a study is complete: by an operator's word, an expected count, a rule's count, or the quiet time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical.errors import NotFound, PreconditionMissing
from clinical.identity import PatientKey
from consilium.completing import Completing
from consilium.explain.stages import State, explain
from consilium.operator import force_study
from consilium.rules.completion import MISSING_WAIT, Arrived, CompleteRule, why_complete
from consilium.settings import load_settings
from consilium.wiring import House
from consilium.worker import Closing, ImageModels
from model_runtime.testing import manifest_of, segmentation_document
from record_store.instances import ReceivedInstance, record_instance, study_row
from record_store.migrate import migrate
from record_store.study_history import history_of

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
QUIET_S = 5.0
HERE = Arrived(3, 2, 1.0, frozenset({"DX"}), frozenset({"XRAY1"}))


@pytest.mark.parametrize(
    ("study", "rules", "why"),
    [
        (HERE, (), None),
        (replace(HERE, quiet_s=5.1), (), "nothing came for 5 s"),
        (replace(HERE, quiet_s=0, forced=True), (), "an operator said that it is complete"),
        (replace(HERE, quiet_s=0, expected=3), (), "all 3 objects that were expected are here"),
        (replace(HERE, quiet_s=59, expected=4), (), None),
        (replace(HERE, quiet_s=61, expected=4), (), "3 of 4 expected objects came, then none for 61 s"),
        (HERE, (CompleteRule("pair", images=3),), "rule 'pair': its number of images or series is here"),
        (HERE, (CompleteRule("pair", images=3, series=3),), None),
        (HERE, (CompleteRule("other", modality=("US",), images=1),), None),
        (
            HERE,
            (CompleteRule("ward", calling_ae=("xray*",), quiet_s=0.5),),
            "nothing came for 0.5 s (rule 'ward')",
        ),
        (replace(HERE, quiet_s=20), (CompleteRule("slow", quiet_s=30),), None),
    ],
)
def test_a_study_is_complete_for_a_reason_that_is_said(study, rules, why) -> None:
    assert why_complete(study, rules, QUIET_S) == why


ARRIVED = st.builds(
    Arrived,
    st.integers(1, 9),
    st.integers(1, 3),
    st.floats(0, 100),
    st.sets(st.sampled_from(["DX", "US"])).map(frozenset),
    st.just(frozenset()),
    st.booleans(),
    st.none() | st.integers(1, 9),
)


@given(ARRIVED)
def test_every_study_is_complete_in_the_end_whatever_is_missing(study) -> None:
    assert why_complete(replace(study, quiet_s=MISSING_WAIT * QUIET_S + 1), (), QUIET_S) is not None


@given(ARRIVED)
def test_without_rules_and_counts_only_the_quiet_time_decides(study) -> None:
    plain = replace(study, forced=False, expected=None)
    assert (why_complete(plain, (), QUIET_S) is not None) == (plain.quiet_s > QUIET_S)


@pytest.fixture
def house(tmp_path):
    made = House(load_settings(data_dir=tmp_path))
    migrate(made.db)
    yield made
    made.db.dispose()


def arrives(house, number, at) -> None:
    patient = PatientKey("urn:h", "1")
    image = ReceivedInstance(
        f"1.2.{number}", "1.2", "1.2.840.10008.1.2", "1.2", "1.9", "DX", patient, "0" * 64, 9, "XRAY1", "B"
    )
    with house.db.write() as conn:
        record_instance(conn, image, at)


class Enqueued(list):
    def enqueue(self, key, payload):
        self.append(key)


def closing(house, at, **how) -> Closing:
    models = ImageModels((manifest_of(segmentation_document()),), {})
    return Closing(house.db, Enqueued(), lambda: models, QUIET_S, lambda: at, **how)


def row(house):
    with house.db.read() as conn:
        return study_row(conn, "1.2")


def test_an_operator_completes_a_study_at_once_and_a_late_image_makes_a_second_version(house) -> None:
    clock = house.now()
    arrives(house, 1, clock)
    assert closing(house, clock).once() == 0
    force_study(house.settings, "1.2")
    first = closing(house, clock)
    first.once()
    assert (row(house).state, len(first.jobs)) == ("closed", 1)
    with house.db.read() as conn:
        complete = explain(history_of(conn, "1.2"), [], QUIET_S)[1]
    assert complete.words == "closed as revision 1: an operator said that it is complete"
    with pytest.raises(PreconditionMissing):
        force_study(house.settings, "1.2")
    arrives(house, 2, clock)
    assert closing(house, clock).once() == 0, "the operator spoke of the first revision only"
    second = closing(house, clock + timedelta(seconds=6))
    second.once()
    assert (row(house).revision, row(house).state, len(second.jobs)) == (2, "closed", 1)
    assert set(second.jobs).isdisjoint(first.jobs)


def test_an_unknown_study_cannot_be_completed(house) -> None:
    with pytest.raises(NotFound):
        force_study(house.settings, "9.9")


def test_a_rule_with_a_count_closes_at_the_last_image(house) -> None:
    rules = (CompleteRule("pair", modality=("DX",), images=2, series=1),)
    arrives(house, 1, NOW)
    assert closing(house, NOW, rules=rules).once() == 0
    arrives(house, 2, NOW)
    assert closing(house, NOW, rules=rules).once() == 1
    assert row(house).state == "closed"


def test_an_expected_count_closes_at_its_last_image_and_a_missing_one_is_waited_for(house) -> None:
    arrives(house, 1, NOW)
    counted = {"expected": lambda study_uid: {"1.2": 2}[study_uid]}
    assert closing(house, NOW + timedelta(seconds=30), **counted).once() == 0
    arrives(house, 2, NOW + timedelta(seconds=30))
    assert closing(house, NOW + timedelta(seconds=30), **counted).once() == 1
    with house.db.read() as conn:
        complete = explain(history_of(conn, "1.2"), [], QUIET_S)[1]
    assert complete.state is State.DONE
    assert complete.words == "closed as revision 1: all 2 objects that were expected are here"


def test_an_image_that_comes_between_the_look_and_the_closing_keeps_the_study_open(house) -> None:
    arrives(house, 1, NOW)

    def another_comes(study_uid, modalities):
        arrives(house, 2, NOW + timedelta(seconds=6))

    closing(house, NOW + timedelta(seconds=6), hold=another_comes).once()
    assert row(house).state == "open"


def test_looking_does_not_decide_about_the_same_study_twice(house) -> None:
    arrives(house, 1, NOW)
    with house.db.read() as conn:
        (due,) = Completing(QUIET_S).due(conn, NOW + timedelta(seconds=6))
    assert (due.study_uid, due.why) == ("1.2", "nothing came for 5 s")
    closing(house, NOW + timedelta(seconds=6)).once()
    with house.db.read() as conn:
        assert Completing(QUIET_S).due(conn, NOW + timedelta(seconds=6)) == []
