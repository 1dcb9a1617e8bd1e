"""An answer that is used again is the same question's, never another patient's, and never an error."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cds.call import HookCall
from cds.caller import ANONYMOUS
from cds.card import Action, Card, SelectionBehavior, Source, Suggestion
from cds.deadline import deadline_in
from cds.guidance import Guidance
from cds.prefetch import Prefetched, State
from cds.request import parse_request
from cds.result_cache import ResultCache, key_of
from cds.testing import counting_uuids, hook_body
from clinical.codes import DIABETES_MELLITUS
from clinical.errors import Busy, Fault, PreconditionMissing
from clinical.risk import Indicator
from model_runtime.testing import CannedEngine, manifest_of, risk_document

MODEL = "diabetes-risk"
ENGINE = CannedEngine({}, {MODEL: manifest_of(risk_document())})
DAY = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)


class Clock:
    at = DAY

    def __call__(self):
        return self.at


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def events():
    return []


@pytest.fixture
def cache(clock, events):
    return ResultCache(ENGINE, clock, counting_uuids(), most=4, observe=lambda *event: events.append(event))


def call_of(patient="p1", value=31.2, issuer="anonymous", service="risk", server=None, **more):
    body = hook_body(patient) | ({"fhirServer": server} if server else {}) | more
    resource = {"resourceType": "Observation", "valueQuantity": {"value": value}}
    caller = replace(ANONYMOUS, issuer=issuer)
    found = {"bmi": Prefetched(State.COMPLETE, resource)}
    return HookCall(parse_request(body), found, deadline_in(60), caller, service)


def saying(text, counts=None):
    def make():
        if counts is not None:
            counts.append(text)
        delete = Action("delete", "Delete the order", resource_id="ServiceRequest/1")
        suggestion = Suggestion("Not now", "00000000-0000-4000-8000-aaaaaaaaaaaa", (delete,))
        card = Card(
            "00000000-0000-4000-8000-bbbbbbbbbbbb",
            text,
            Indicator.INFO,
            Source("Test", DIABETES_MELLITUS),
            suggestions=(suggestion,),
            selection_behavior=SelectionBehavior.AT_MOST_ONE,
        )
        return Guidance((card,))

    return make


def test_the_same_question_at_order_sign_is_answered_without_working_it_out_again(cache, events):
    made = []
    first = cache.recall(call_of(), MODEL, saying("12 %", made))
    again = cache.recall(call_of(hookInstance="0d1577c6-dfbe-44ad-ba6d-3e05e953b2ea"), MODEL, saying("12 %", made))
    assert made == ["12 %"]
    assert again.cards[0].summary == first.cards[0].summary
    assert events == [("risk", "miss"), ("risk", "hit")]


def test_every_card_and_suggestion_has_uuids_of_its_own(cache):
    answers = [cache.recall(call_of(), MODEL, saying("12 %")) for _ in range(4)]
    uuids = [card.uuid for answer in answers for card in answer.cards]
    uuids += [one.uuid for answer in answers for card in answer.cards for one in card.suggestions]
    assert len(set(uuids)) == 8


@pytest.mark.parametrize(
    "other",
    [
        {"patient": "p2"},
        {"value": 31.3},
        {"value": Decimal("31.20")},
        {"value": "31.2"},
        {"issuer": "https://another.example"},
        {"server": "https://another.example/fhir"},
        {"service": "another"},
    ],
    ids=str,
)
def test_another_question_is_worked_out(cache, other):
    made = []
    cache.recall(call_of(), MODEL, saying("first", made))
    assert cache.recall(call_of(**other), MODEL, saying("second", made)).cards[0].summary == "second"
    assert made == ["first", "second"]


def test_what_is_missing_is_part_of_the_question(cache):
    call = call_of()
    absent = replace(call, prefetch={"bmi": Prefetched(State.ABSENT, reason="it was not sent")})
    null = replace(call, prefetch={"bmi": Prefetched(State.NULL)})
    keys = {key_of(one, "digest", DAY.date()) for one in (call, absent, null, replace(call, prefetch={}))}
    assert len(keys) == 4


def test_a_new_model_and_a_new_day_ask_anew(cache):
    call = call_of()
    keys = {key_of(call, model, day) for model in ("a", "b") for day in (DAY.date(), DAY.date() + timedelta(1))}
    assert len(keys) == 4


def test_an_answer_lives_for_its_time_and_no_longer_also_when_the_clock_is_set_back(cache, clock):
    made = []
    for move in (timedelta(), timedelta(seconds=299), timedelta(seconds=2), timedelta(hours=-2)):
        clock.at += move
        cache.recall(call_of(), MODEL, saying("x", made))
    assert len(made) == 3


@pytest.mark.parametrize("error", [Fault("x"), Busy("x"), PreconditionMissing("x"), ZeroDivisionError()], ids=repr)
def test_an_error_goes_through_and_is_never_kept(cache, error):
    def fail():
        raise error

    for _ in range(2):
        with pytest.raises(type(error)):
            cache.recall(call_of(), MODEL, fail)
    assert len(cache) == 0
    assert cache.recall(call_of(), MODEL, saying("well again")).cards[0].summary == "well again"


def test_nothing_to_say_is_an_answer_that_is_kept(cache):
    made = []
    for _ in range(2):
        assert cache.recall(call_of(), MODEL, lambda: made.append(1) or Guidance()) == Guidance()
    assert made == [1]


def test_a_service_that_depends_on_more_than_its_inputs_is_asked_every_time(cache):
    made = []
    for _ in range(2):
        cache.recall(call_of(), None, saying("x", made))
    assert len(made) == 2


def test_a_model_that_is_not_there_keeps_nothing(cache):
    made = []
    for _ in range(2):
        cache.recall(call_of(), "no-such-model", saying("x", made))
    assert len(made) == 2


def test_a_number_that_cannot_be_written_again_is_worked_out_every_time(cache):
    made = []
    for _ in range(2):
        cache.recall(call_of(value=10**40), MODEL, saying("x", made))
    assert len(made) == 2


def test_a_bounded_number_is_kept_and_the_least_used_goes_first(cache):
    for number in range(9):
        cache.recall(call_of(patient=f"p{number}"), MODEL, saying("x"))
        cache.recall(call_of(patient="p0"), MODEL, saying("x"))
    assert len(cache) == 4
    made = []
    cache.recall(call_of(patient="p0"), MODEL, saying("x", made))
    assert not made


IDS = st.sampled_from(["1", "2", "11", "1.2", "a", "A"])
QUESTIONS = st.tuples(IDS, st.sampled_from(["", "i1", "i11"]), st.sampled_from([1, 1.0, "1", 11, Decimal(1)]))


@settings(max_examples=100, deadline=None)
@given(st.lists(QUESTIONS, max_size=30))
def test_whoever_asks_in_whatever_order_gets_his_own_patients_answer(questions):
    cache = ResultCache(ENGINE, Clock(), counting_uuids(), most=8)
    for patient, issuer, value in questions:
        whose = f"patient {patient} of {issuer or 'nobody'}"
        found = cache.recall(call_of(patient, value, issuer), MODEL, saying(whose))
        assert found.cards[0].summary == whose


def test_no_key_holds_anything_of_the_patient(cache):
    key = key_of(call_of(patient="ZZCANARY-4711"), "digest", DAY.date())
    assert len(key) == 32
    assert b"ZZCANARY" not in key
