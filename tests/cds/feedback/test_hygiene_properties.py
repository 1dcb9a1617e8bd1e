"""Whatever a site switches on and whatever was sent before: what could hide something is never held back."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from cds.card import Card, CardAbout, Source
from cds.feedback.sent import DECIDING_HOOKS, finding_digest
from cds.guidance import Guidance
from cds.hygiene_rules import HygieneRules, Situation, screen
from cds.testing import counting_uuids
from clinical.clock import utc_now
from clinical.codes import Coding
from clinical.finding import ModelRef
from clinical.risk import Indicator
from record_store.seen_cards import SeenCard

NOW = utc_now()
RANK = {"info": 0, "warning": 1, "critical": 2}
SOURCE = Source("Tests", Coding("http://example.org/topics", "t", "T"))
few = st.sampled_from
hooks = few(["patient-view", "order-sign"])
users = few(["u1", "u2", None])
findings = few(["a", "b", None])
probabilities = few([None, 0.1, 0.4, 0.44, 0.9])
ages = st.integers(0, 100).map(lambda hours: NOW - timedelta(hours=hours))

rules = st.builds(
    HygieneRules,
    repeat_window_s=few([0, 3600, 10**6]),
    cool_down_s=st.dictionaries(few(["action-completed", "cds-not-applicable", "*"]), few([0, 3600, 10**6])),
    user_cards_per_hour=few([0, 1, 3]),
    patient_cards_per_hour=few([0, 1, 3]),
    across_users=st.booleans(),
    worse_by=few([0.0, 0.05, 1.0]),
)
seen = st.builds(
    SeenCard,
    card=st.uuids().map(str),
    sent_at=ages,
    service=few(["x", "y"]),
    hook=hooks,
    hook_instance=few(["i1", "i2"]),
    user_key=users,
    indicator=few(list(RANK)),
    model=few(["m", None]),
    model_version=few(["1", "2"]),
    probability=probabilities,
    finding_key=findings.map(finding_digest),
    reason_system=few([None, "http://terminology.hl7.org/CodeSystem/non-adherence-reason-codes"]),
    reason_code=few([None, "action-completed", "patient-ineligible"]),
    overridden_at=st.none() | ages,
)
situations = st.builds(
    Situation,
    service=few(["x", "y"]),
    hook=hooks,
    hook_instance=few(["i1", "i3"]),
    user_key=users,
    seen=st.lists(seen, max_size=4),
    to_user=st.integers(0, 4),
    about_patient=st.integers(0, 4),
    now=st.just(NOW),
)
about = st.builds(
    CardAbout,
    model=few([ModelRef("m", "1", "d" * 64), None]),
    finding_key=findings,
    probability=probabilities,
    could_not_look=st.booleans(),
)
kinds = st.lists(st.tuples(few(list(Indicator)), about), min_size=1, max_size=4)


def cards_of(drawn):
    uuid = counting_uuids()
    return tuple(Card(uuid(), "Hello", indicator, SOURCE, about=known) for indicator, known in drawn)


@given(kinds, situations, rules)
def test_what_could_hide_something_is_never_held_back(drawn, known, switched_on) -> None:
    cards = cards_of(drawn)
    for held in screen(Guidance(cards), known, switched_on):
        card = held.card
        assert card.indicator is not Indicator.CRITICAL
        assert card.about.finding_key is not None
        assert not card.about.could_not_look
        if held.reason == "too-many":
            assert card.indicator is Indicator.INFO
            continue
        earlier = next(one for one in known.seen if one.card == held.because)
        assert earlier.finding_key == finding_digest(card.about.finding_key)
        assert (earlier.model, earlier.model_version) == ("m", "1")
        assert RANK[card.indicator.value] <= RANK[earlier.indicator]
        if card.about.probability is not None:
            assert card.about.probability <= earlier.probability + switched_on.worse_by
        mine = earlier.user_key is not None and earlier.user_key == known.user_key
        assert mine or switched_on.across_users or earlier.hook_instance == known.hook_instance
        if held.reason == "repeated":
            assert earlier.hook_instance != known.hook_instance
            assert earlier.hook == known.hook or known.hook not in DECIDING_HOOKS


@given(kinds, situations)
def test_with_everything_off_nothing_is_held_back(drawn, known) -> None:
    assert screen(Guidance(cards_of(drawn)), known, HygieneRules()) == ()
