"""A card that breaks the specification cannot be made."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds.card import Action, Card, Link, LinkType, SelectionBehavior, Source, Suggestion, shorten
from cds.origins import origins_of
from clinical.codes import Coding
from clinical.errors import Fault
from clinical.risk import Indicator

UUID = "00000000-0000-4000-8000-000000000001"
UUID2 = "00000000-0000-4000-8000-000000000002"
TOPIC = Coding("http://example.org", "t", "Topic")
SOURCE = Source("Consilium", TOPIC)
URL = origins_of("https://cds.example", "https://app.example").url


def card_of(**changes):
    parts = {"uuid": UUID, "summary": "Look", "indicator": Indicator.INFO, "source": SOURCE}
    return Card(**parts | changes)


def empties(value):
    if isinstance(value, dict):
        return any(item in (None, "", [], {}) or empties(item) for item in value.values())
    return isinstance(value, list) and any(empties(item) for item in value)


@given(st.text(min_size=1))
def test_a_summary_is_one_line_of_at_most_139_characters(text):
    short = shorten(text)
    assert len(short) <= 139
    assert "\n" not in short


def test_a_long_summary_is_cut_at_a_word_and_says_so():
    short = shorten("word " * 40)
    assert short.endswith("word…")
    assert 130 <= len(short) <= 139


def test_139_characters_stay_and_140_do_not():
    assert card_of(summary="x" * 139).summary == "x" * 139
    assert card_of(summary="x" * 140).summary == "x" * 138 + "…"


def test_the_wire_holds_no_null_and_nothing_empty():
    bare = card_of().to_json()
    assert set(bare) == {"uuid", "summary", "indicator", "source"}
    full = card_of(
        detail="text",
        links=(Link("Open", URL("https://cds.example/overlay/1?sig=a")),),
        suggestions=(Suggestion("Do", UUID2, (Action("create", "Make", {"resourceType": "Task"}),)),),
        selection_behavior=SelectionBehavior.ANY,
        override_reasons=(TOPIC,),
    ).to_json()
    assert not empties(full)
    assert full["suggestions"][0]["actions"][0]["type"] == "create"


def test_a_suggestion_without_actions_sends_no_empty_list():
    assert "actions" not in Suggestion("Do", UUID).to_json()


@pytest.mark.parametrize(
    "make",
    [
        lambda: card_of(summary=" \n "),
        lambda: card_of(uuid="1"),
        lambda: card_of(suggestions=(Suggestion("Do", UUID),)),
        lambda: card_of(
            suggestions=(Suggestion("A", UUID, is_recommended=True), Suggestion("B", UUID, is_recommended=True)),
            selection_behavior=SelectionBehavior.AT_MOST_ONE,
        ),
        lambda: card_of(override_reasons=(Coding("http://example.org", "x", ""),)),
        lambda: Source("", TOPIC),
        lambda: Source("x", TOPIC, url=URL("/relative")),
        lambda: Link("Open", URL("/overlay/1")),
        lambda: Link("Open", URL("javascript:alert(1)")),
        lambda: Link("Open", URL("https://user@cds.example/")),
        lambda: Link("Open", URL("https://cds.example/"), app_context="x"),
        lambda: Suggestion("", UUID),
        lambda: Action("create", "Make"),
        lambda: Action("delete", "Remove", resource_id="http://elsewhere/Task/1"),
        lambda: Action("delete", "Remove", {"resourceType": "Task"}, "Task/1"),
        lambda: Action("merge", "x", {"resourceType": "Task"}),
    ],
)
def test_an_illegal_card_is_our_fault_and_is_not_made(make):
    with pytest.raises(Fault):
        make()


def test_an_app_context_goes_with_a_smart_link():
    link = Link("Open", URL("https://app.example/launch"), LinkType.SMART, "reading=1")
    assert link.to_json()["appContext"] == "reading=1"
