"""A card that breaks the specification cannot be made: every invariant by its name, and whatever one puts in."""

import re

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cds.card import (
    Action,
    ActionSelection,
    Card,
    CardAbout,
    Link,
    LinkType,
    SelectionBehavior,
    Source,
    Suggestion,
    shorten,
)
from cds.guidance import Guidance, guidance_of
from cds.origins import origins_of
from cds.wire_schema.testing import problems
from clinical.codes import Coding
from clinical.errors import Fault
from clinical.risk import Indicator

UUID, UUID2, UUID3 = (f"00000000-0000-4000-8000-00000000000{n}" for n in (1, 2, 3))
TOPIC = Coding("http://example.org", "t", "Topic")
SOURCE = Source("Consilium", TOPIC)
url = origins_of("https://cds.example", "https://app.example").url
PAGE = url("https://cds.example/overlay/1?sig=a")
TASK = {"resourceType": "Task", "status": "draft"}
MAKE = Action("create", "Make a task", TASK)
ANY, AT_MOST_ONE = SelectionBehavior.ANY, SelectionBehavior.AT_MOST_ONE


def card_of(**changes):
    parts = {"uuid": UUID, "summary": "Look", "indicator": Indicator.INFO, "source": SOURCE}
    return Card(**parts | changes)


def offer_of(*actions, **more):
    return card_of(suggestions=(Suggestion("Do", UUID2, actions, **more),), selection_behavior=ANY)


def condition(status="provisional"):
    system = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
    return {
        "resourceType": "Condition",
        "verificationStatus": {"coding": [{"system": system, "code": status}]},
        "subject": {"reference": "Patient/p1"},
    }


# The invariants of HL7/cds-hooks, input/fsh/invariants, and rows K of the specification, one test each.


def test_cds_resp_1_at_most_one_choice_has_at_most_one_favourite():
    two = (Suggestion("A", UUID2, is_recommended=True), Suggestion("B", UUID3, is_recommended=True))
    with pytest.raises(Fault):
        card_of(suggestions=two, selection_behavior=AT_MOST_ONE)
    assert len(card_of(suggestions=two, selection_behavior=ANY).to_json()["suggestions"]) == 2


def test_cds_resp_2_a_delete_names_a_resource_and_holds_none():
    assert Action("delete", "Take away", resource_id="Task/1").to_json() == {
        "type": "delete",
        "description": "Take away",
        "resourceId": "Task/1",
    }
    for more in ({}, {"resource": TASK}, {"resource": TASK, "resource_id": "Task/1"}, {"resource_id": "1"}):
        with pytest.raises(Fault):
            Action("delete", "Take away", **more)


def test_cds_resp_3_an_app_context_goes_with_a_smart_link_only():
    launch = url("https://app.example/launch")
    assert Link("Open", launch, LinkType.SMART, "reading=1").to_json()["appContext"] == "reading=1"
    with pytest.raises(Fault):
        Link("Open", launch, LinkType.ABSOLUTE, "reading=1")
    with pytest.raises(Fault):
        Link("Open", launch, LinkType.SMART, " ")


@pytest.mark.parametrize("reason", [Coding("", "c", "D"), Coding("s", "", "D"), Coding("s", "c", " ")])
def test_cds_resp_4_an_override_reason_has_a_display_and_the_rest(reason):
    with pytest.raises(Fault):
        card_of(override_reasons=(reason,))


def test_cds_resp_5_every_action_has_a_description():
    with pytest.raises(Fault):
        Action("create", "\n", TASK)


def test_cds_resp_6_suggestions_need_a_selection_behavior():
    with pytest.raises(Fault):
        card_of(suggestions=(Suggestion("Do", UUID2),))
    assert "selectionBehavior" not in card_of(selection_behavior=ANY).to_json()


def test_cds_resp_7_an_action_selection_behavior_is_one_of_three_and_all_is_not_written():
    both = (MAKE, Action("create", "Make another", TASK))
    wire = offer_of(*both, action_selection=ActionSelection.ANY).to_json()["suggestions"][0]
    assert wire["actionSelectionBehavior"] == "any"
    assert "actionSelectionBehavior" not in offer_of(*both).to_json()["suggestions"][0]
    with pytest.raises(Fault):
        offer_of(*both, action_selection="some")
    with pytest.raises(Fault):
        offer_of(MAKE, action_selection=ActionSelection.ANY)


def test_k1_139_characters_stay_and_140_do_not():
    assert card_of(summary="x" * 139).summary == "x" * 139
    assert card_of(summary="x" * 140).summary == "x" * 138 + "…"
    with pytest.raises(Fault):
        card_of(summary=" \n ")


def test_k2_the_source_is_named_has_a_topic_and_may_have_an_icon():
    icon = url("https://cds.example/static/icon.png")
    assert Source("Consilium", TOPIC, url=PAGE, icon=icon).to_json() == {
        "label": "Consilium",
        "url": PAGE.text,
        "icon": icon.text,
        "topic": {"system": "http://example.org", "code": "t", "display": "Topic"},
    }
    for make in (lambda: Source(" ", TOPIC), lambda: Source("x", Coding("s", "c", ""))):
        with pytest.raises(Fault):
            make()
    with pytest.raises(Fault):
        card_of(indicator="hard-stop")


@pytest.mark.parametrize(
    "detail",
    [
        "<b>bold</b>",
        "a <!-- hidden -->",
        r"\\<img src=x>",
        "![x](https://cds.example/a.png)",
        "[x](https://elsewhere.example)",
        "[x](javascript:alert)",
        "see https://cds.example/a",
        "see WWW.evil.example",
        "[x]: https://elsewhere.example",
        "[x]:/else",
        "<https://elsewhere.example>",
        "  ",
        "\ud800",
    ],
)
def test_k3_a_detail_holds_no_html_no_image_and_leads_only_where_the_card_leads(detail):
    with pytest.raises(Fault):
        card_of(detail=detail, links=(Link("Open", PAGE),))


def test_k3_a_detail_may_link_where_a_link_or_the_source_leads():
    text = rf"[look]({PAGE.text}) and 1 \< 2 \<b\>"
    assert card_of(detail=text, links=(Link("Open", PAGE),)).detail == text
    assert card_of(detail=text, source=Source("x", TOPIC, url=PAGE)).detail == text


def test_k4_cards_and_suggestions_have_uuids_and_no_two_the_same():
    for make in (
        lambda: card_of(uuid="1"),
        lambda: Suggestion("Do", "urn:uuid:" + UUID),
        lambda: card_of(suggestions=(Suggestion("Do", UUID),), selection_behavior=ANY),
        lambda: Guidance((card_of(), card_of())),
    ):
        with pytest.raises(Fault):
            make()


def test_k5_a_suggestion_has_a_label():
    with pytest.raises(Fault):
        Suggestion("", UUID2)


@pytest.mark.parametrize(
    "resource",
    [
        None,
        {},
        {"resourceType": "task"},
        TASK | {"note": []},
        TASK | {"note": [None]},
        TASK | {"priority": ""},
        TASK | {"x": float("nan")},
        TASK | {"x": {"y": {}}},
        TASK | {"id": "t1"},
        TASK | {"description": "\ud800"},
    ],
)
def test_k6_create_needs_a_whole_new_resource(resource):
    with pytest.raises(Fault):
        Action("create", "Make", resource)


def test_k6_update_needs_the_whole_resource_with_its_id():
    assert Action("update", "Change", TASK | {"id": "t1"}).target == "Task/t1"
    with pytest.raises(Fault):
        Action("update", "Change", TASK)
    with pytest.raises(Fault):
        Action("merge", "Change", TASK | {"id": "t1"})


def test_k7_the_default_of_action_selection_behavior_is_not_written():
    assert set(offer_of(MAKE).to_json()["suggestions"][0]) == {"label", "uuid", "actions"}


def test_k8_override_reasons_are_written_whole_and_none_twice():
    (reason,) = card_of(override_reasons=(TOPIC,)).to_json()["overrideReasons"]
    assert set(reason) == {"system", "code", "display"}
    with pytest.raises(Fault):
        card_of(override_reasons=(TOPIC, TOPIC))


@pytest.mark.parametrize(
    "text",
    [
        "/overlay/1",
        "javascript:alert(1)",
        "data:text/html,x",
        "https://user@cds.example/",
        "https://elsewhere.example/",
        "https://cds.example.evil.example/",
        "http://cds.example/",
        "https://cds.example:8443/",
        "https://cds.example/a b",
        "https://cds.example/a)b",
        "https://cds.example\\@evil.example/",
        "https://cds.example:999999/",
    ],
)
def test_k9_a_link_is_absolute_and_leads_to_a_configured_origin(text):
    with pytest.raises(Fault):
        Link("Open", url(text))


def test_k9_the_usual_port_and_capitals_are_the_same_origin():
    assert url("https://CDS.example:443/a").text == "https://CDS.example:443/a"


def test_k9_a_spare_link_stands_beside_one_that_every_client_opens():
    spare = Link("Launch", url("https://app.example/launch"), LinkType.SMART, "x", spare=True)
    assert len(card_of(links=(Link("Open", PAGE), spare)).links) == 2
    with pytest.raises(Fault):
        card_of(links=(spare,))


def test_k10_system_actions_are_absent_when_there_are_none_and_never_come_untold():
    assert guidance_of(()).to_json() == {"cards": []}
    assert Guidance((card_of(),), (MAKE,)).to_json()["systemActions"] == [MAKE.to_json()]
    with pytest.raises(Fault):
        Guidance((), (MAKE,))
    with pytest.raises(Fault):
        Guidance((card_of(),), (Action("create", "Diagnose", condition()),))


def test_k10_system_actions_go_when_their_card_goes():
    whole = Guidance((card_of(), card_of(uuid=UUID2)), (MAKE,))
    assert whole.keep(whole.cards[:1]).system_actions == (MAKE,)
    assert whole.keep(whole.cards[1:]).system_actions == ()
    assert whole.keep(()).to_json() == {"cards": []}


def test_k10_only_what_adds_may_apply_itself_and_never_a_condition():
    Suggestion("Record", UUID2, (MAKE,), may_apply_itself=True)
    for action in (
        Action("create", "Suspect", condition()),
        Action("update", "Change", TASK | {"id": "t1"}),
        Action("delete", "Take away", resource_id="Task/1"),
    ):
        with pytest.raises(Fault):
            Suggestion("Record", UUID2, (action,), may_apply_itself=True)
    both = (Suggestion("Record", UUID2, (MAKE,), may_apply_itself=True), Suggestion("Other", UUID3))
    with pytest.raises(Fault):
        card_of(suggestions=both, selection_behavior=AT_MOST_ONE)


def test_k11_only_the_hooks_own_orders_are_changed_or_taken_back():
    order = {"resourceType": "ServiceRequest", "subject": {"reference": "Patient/p1"}}
    swap = (
        Action("delete", "Take away", resource_id="ServiceRequest/1"),
        Action("create", "Put in its place", order),
    )
    Guidance((offer_of(*swap),)).demand_of("p1", None, {"ServiceRequest/1"})
    for guidance, drafts in (
        (Guidance((offer_of(*swap),)), {"ServiceRequest/2"}),
        (Guidance((offer_of(swap[0]),)), {"ServiceRequest/2"}),
        (Guidance((offer_of(Action("update", "Change", order | {"id": "3"})),)), set()),
    ):
        with pytest.raises(Fault):
            guidance.demand_of("p1", None, drafts)


def test_k11_no_empty_list_of_actions_is_sent():
    assert "actions" not in Suggestion("Do", UUID2).to_json()


def test_k12_actions_stand_in_the_order_of_a_transaction_and_touch_a_thing_once():
    change, make = Action("update", "Change", TASK | {"id": "t1"}), MAKE
    gone = Action("delete", "Take away", resource_id="Task/2")
    assert Suggestion("Do", UUID2, (change, make, gone)).actions == (gone, make, change)
    with pytest.raises(Fault):
        Suggestion("Do", UUID2, (change, Action("delete", "Take away", resource_id="Task/t1")))


def test_an_action_about_another_patient_is_a_fault_before_it_is_sent():
    mine = Guidance((offer_of(Action("create", "Record", condition())),))
    mine.demand_of("p1", None, ())
    with pytest.raises(Fault):
        mine.demand_of("p2", None, ())


@pytest.mark.parametrize("status", ["confirmed", "unconfirmed", "differential"])
def test_a_condition_is_only_ever_proposed_as_provisional(status):
    Action("create", "Propose", condition())
    for kind, resource in (
        ("create", condition(status)),
        ("update", condition() | {"id": "c1"}),
        ("create", {"resourceType": "Condition", "subject": {"reference": "Patient/p1"}}),
    ):
        with pytest.raises(Fault):
            Action(kind, "Diagnose", resource)


def test_what_a_card_is_about_is_not_on_the_wire():
    about = CardAbout(threshold=0.5, finding_key="diabetes-risk", input_hash="ab")
    assert card_of(about=about).to_json() == card_of().to_json()
    with pytest.raises(Fault):
        CardAbout(finding_key="x" * 129)


# Whatever one puts in


@given(st.text(max_size=400))
def test_a_summary_is_one_line_of_at_most_139_characters_for_every_client(text):
    short = shorten(text)
    assert len(short.encode("utf-16-le", "surrogatepass")) <= 139 * 2
    assert "\n" not in short


def test_a_long_summary_is_cut_at_a_word_and_says_so():
    short = shorten("word " * 40)
    assert short.endswith("word…")
    assert 130 <= len(short) <= 139


@pytest.mark.parametrize(
    "seen_as_one",
    [
        "e\u0301",
        "\U0001f44d\U0001f3fd",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "\U0001f1e9\U0001f1ea",
        "\u1100\u1161\u11a8",
        "\uac01\u11a8",
        "\u0e01\u0e33",
        "\u0915\u094d\u0937\u093f",
    ],
)
def test_a_cut_never_goes_through_what_is_seen_as_one_character(seen_as_one):
    for before in range(120, 139):
        short = shorten("x" * before + seen_as_one * 20)
        whole, rest = divmod(len(short.removesuffix("…")) - before, len(seen_as_one))
        assert rest == 0
        assert whole >= 0


# Mostly legal, so that most of what is drawn comes through; each part is wrong now and then.
GOOD = st.sampled_from(["Look", "Heart rate \U0001f493 of 60/min", "a\nb", "x" * 150, "1 < 2", "\u202eLook"])
WORDS = st.one_of(GOOD, GOOD, GOOD, st.text(st.characters(), max_size=12))
VALUES = st.recursive(
    st.sampled_from([True, 1, 1.5, "a", None, 2**60, float("nan"), "", " "]),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.just("a"), inner, max_size=1)),
    max_leaves=4,
)
RESOURCES = st.one_of(
    st.sampled_from([TASK, TASK, condition(), TASK | {"id": "t1"}, condition("confirmed")]),
    st.builds(lambda value: TASK | {"extra": value}, VALUES),
)
ACTIONS = st.one_of(
    st.tuples(st.just(Action), st.tuples(st.sampled_from(["create", "update"]), WORDS, RESOURCES)),
    st.tuples(
        st.just(Action),
        st.tuples(
            st.sampled_from(["delete", "delete", "merge"]),
            WORDS,
            st.none(),
            st.sampled_from(["Task/1", "Task/2", "1", None]),
        ),
    ),
)
SUGGESTIONS = st.tuples(
    st.just(Suggestion),
    st.tuples(
        WORDS,
        st.sampled_from([UUID2, UUID3]),
        st.lists(ACTIONS, max_size=2),
        st.booleans(),
        st.sampled_from([ActionSelection.ALL, ActionSelection.ALL, *ActionSelection]),
    ),
)
LINKS = st.tuples(
    st.just(lambda label, text, kind, context: Link(label, url(text), kind, context)),
    st.tuples(
        WORDS,
        st.sampled_from(["https://cds.example/a", "https://cds.example/b", "https://elsewhere.example/"]),
        st.sampled_from([LinkType.SMART, LinkType.SMART, LinkType.ABSOLUTE]),
        st.sampled_from([None, "x", "x"]),
    ),
)
CARDS = st.fixed_dictionaries(
    {
        "uuid": st.just(UUID),
        "summary": WORDS,
        "indicator": st.sampled_from([*Indicator]),
        "detail": st.one_of(st.none(), WORDS),
        "links": st.lists(LINKS, max_size=1),
        "suggestions": st.lists(SUGGESTIONS, max_size=2),
        "selection_behavior": st.sampled_from([ANY, ANY, AT_MOST_ONE, None]),
        "override_reasons": st.lists(st.builds(Coding, GOOD, GOOD, WORDS), max_size=1),
    }
)


def made(value):
    """Build from the innermost part outwards."""
    if isinstance(value, tuple) and value and callable(value[0]):
        return value[0](*map(made, value[1]))
    return tuple(map(made, value)) if isinstance(value, list) else value


@settings(max_examples=120, deadline=None)
@given(st.lists(CARDS, min_size=1, max_size=1), st.lists(ACTIONS, max_size=1))
def test_whatever_is_put_in_the_answer_is_legal_or_there_is_none(cards, actions):
    try:
        kept = [Card(source=SOURCE, **{name: made(value) for name, value in card.items()}) for card in cards]
        body = Guidance(tuple(kept), made(actions)).to_json()
    except Fault:
        return
    wire = orjson.loads(orjson.dumps(body))
    assert problems("response", wire) == []
    assert breaches(wire) == []


def breaches(body):
    """Read the rules off the wire alone, apart from the code that made it."""
    found = []
    for card in body["cards"]:
        if not 0 < len(card["summary"]) < 140:
            found.append("K1")
        suggestions = card.get("suggestions", [])
        if suggestions and card.get("selectionBehavior") not in {"any", "at-most-one"}:
            found.append("cds-resp-6")
        if (
            card.get("selectionBehavior") == "at-most-one"
            and sum("isRecommended" in one for one in suggestions) > 1
        ):
            found.append("cds-resp-1")
        if re.search(r"(?<!\\)<[a-zA-Z/!]", card.get("detail", "")):
            found.append("K3")
        found += [
            "cds-resp-3" for link in card.get("links", []) if link["type"] != "smart" and "appContext" in link
        ]
        found += ["K9" for link in card.get("links", []) if not link["url"].startswith("https://cds.example/")]
        found += ["cds-resp-4" for one in card.get("overrideReasons", []) if not one.get("display", "").strip()]
        actions = [action for one in suggestions for action in one.get("actions", [])]
        found += [
            rule for action in (*actions, *body.get("systemActions", [])) for rule in action_breaches(action)
        ]
    if body.get("systemActions") == [] or (body.get("systemActions") and not body["cards"]):
        found.append("K10")
    return found + (["T2"] if empties({**body, "cards": body["cards"] or ["none"]}) else [])


def action_breaches(action):
    delete = action["type"] == "delete"
    if not action.get("description") or action["type"] not in {"create", "update", "delete"}:
        yield "cds-resp-5"
    if delete != ("resourceId" in action) or delete == ("resource" in action):
        yield "cds-resp-2"
    if action.get("resource", {}).get("resourceType") == "Condition" and "provisional" not in str(action):
        yield "Condition"


def empties(value):
    if isinstance(value, dict):
        return not value or any(item is None or empties(item) for item in value.values())
    if isinstance(value, list):
        return not value or any(item is None or empties(item) for item in value)
    return value == ""
