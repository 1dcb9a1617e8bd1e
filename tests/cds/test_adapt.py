"""The same guidance for every client: legal for each of them, and nothing that it cannot do is silently lost."""

import itertools

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cds.adapt import adapt
from cds.caller import Capabilities, SpecVersion
from cds.card import Action, ActionSelection, Card, Link, LinkType, SelectionBehavior, Source, Suggestion
from cds.guidance import Guidance
from cds.markdown import WORD_JOINER, bold, paragraphs, table
from cds.origins import origins_of
from cds.wire_schema.testing import problems
from clinical.codes import Coding
from clinical.override_codes import ACTION_COMPLETED
from clinical.risk import Indicator

V1, V2, V3 = SpecVersion
ANY, AT_MOST_ONE = SelectionBehavior.ANY, SelectionBehavior.AT_MOST_ONE
ALL_ACTIONS = frozenset({"create", "update", "delete"})
url = origins_of("https://cds.example").url
OPEN = Link("Open the image", url("https://cds.example/overlay/1"))
LAUNCH = Link("Launch the viewer", url("https://cds.example/launch"), LinkType.SMART, "study=1")
TASK = {"resourceType": "Task", "status": "draft"}
RECORD = Action(
    "create", "Record the estimate as a RiskAssessment", {"resourceType": "RiskAssessment", "status": "final"}
)


def uuid(number):
    return f"00000000-0000-4000-8000-{number:012d}"


def make(what="a task"):
    return Action("create", f"Make {what}", TASK)


def offer(number, label="Order a test", *actions, **more):
    return Suggestion(label, uuid(number), actions or (make(),), **more)


def card_of(*suggestions, behaviour=ANY, **more):
    source = Source("Consilium", Coding("http://example.org", "t", "Topic"))
    parts = {"uuid": uuid(0), "summary": "Look", "indicator": Indicator.INFO, "source": source, "detail": "Text"}
    return Card(**parts | {"suggestions": suggestions, "selection_behavior": behaviour} | more)


def sent(card, *system_actions, **capabilities):
    body = adapt(Guidance((card,), system_actions), Capabilities(**capabilities)).to_json()
    return orjson.loads(orjson.dumps(body))


def card_sent(card, *system_actions, **capabilities):
    (one,) = sent(card, *system_actions, **capabilities)["cards"]
    return one


def test_a_client_that_can_do_everything_gets_the_card_as_it_is():
    card = card_of(offer(1, is_recommended=True), links=(OPEN, LAUNCH), override_reasons=(ACTION_COMPLETED,))
    assert card_sent(card, version=V3, smart_links=True, app_context=True) == card.to_json()


def test_the_line_1_0_gets_no_topic_no_override_reasons_and_reads_the_recommendation_in_the_label():
    card = card_of(offer(1, is_recommended=True), behaviour=AT_MOST_ONE, override_reasons=(ACTION_COMPLETED,))
    one = card_sent(card, version=V1)
    assert one["source"] == {"label": "Consilium"}
    assert "overrideReasons" not in one
    assert one["suggestions"][0]["label"] == "Order a test (recommended)"
    assert "isRecommended" not in one["suggestions"][0]


def test_a_delete_is_a_string_in_resource_for_the_line_1_0_and_nowhere_else():
    gone = Action("delete", "Take the order back", resource_id="ServiceRequest/7")
    for version in (V2, V3):
        (action,) = card_sent(card_of(offer(1, "Stop", gone)), version=version)["suggestions"][0]["actions"]
        assert action["resourceId"] == "ServiceRequest/7"
        assert "resource" not in action
    (action,) = card_sent(card_of(offer(1, "Stop", gone)), version=V1)["suggestions"][0]["actions"]
    assert action == {"type": "delete", "description": "Take the order back", "resource": "7"}


def test_a_client_that_knows_only_any_gets_the_best_of_a_choice_and_reads_the_others():
    card = card_of(offer(1, "First"), offer(2, "Second", is_recommended=True), behaviour=AT_MOST_ONE)
    one = card_sent(card, selection_behaviors=(ANY,))
    assert one["selectionBehavior"] == "any"
    assert [each["label"] for each in one["suggestions"]] == ["Second"]
    assert "First: Make a task" in one["detail"]
    assert "Second" not in one["detail"]


def test_a_client_that_knows_only_at_most_one_gets_all_and_one_favourite():
    card = card_of(offer(1, "First", is_recommended=True), offer(2, "Second", is_recommended=True))
    one = card_sent(card, selection_behaviors=(AT_MOST_ONE,))
    assert one["selectionBehavior"] == "at-most-one"
    assert [each.get("isRecommended") for each in one["suggestions"]] == [True, None]
    assert one["suggestions"][1]["label"] == "Second (recommended)"
    assert "one of the suggestions" in one["detail"]


@pytest.mark.parametrize("cannot", [{"selection_behaviors": ()}, {"actions": frozenset()}])
def test_a_client_that_takes_no_suggestions_reads_what_to_do(cannot):
    one = card_sent(card_of(offer(1, "Order *HbA1c*")), **cannot)
    assert "suggestions" not in one
    assert "selectionBehavior" not in one
    assert one["detail"] == (
        "Text\n\n**To be done by hand, as this system does not take these suggestions**\n\n"
        r"- Order \*HbA1c\*: Make a task"
    )


def test_a_suggestion_is_taken_whole_or_not_at_all():
    half = offer(1, "Replace", make(), Action("delete", "Take the old one away", resource_id="Task/1"))
    one = card_sent(card_of(half, offer(2, "Other")), actions=frozenset({"create"}))
    assert [each["label"] for each in one["suggestions"]] == ["Other"]
    assert "Replace: Take the old one away; Make a task" in one["detail"]


@pytest.mark.parametrize(("choice", "behaviour"), [("any", "any"), ("at-most-one", "at-most-one")])
def test_a_choice_of_actions_becomes_a_choice_of_suggestions_for_a_client_not_known_to_support_it(
    choice, behaviour
):
    card = card_of(offer(1, "Order", make("one"), make("two"), action_selection=ActionSelection(choice)))
    (known,) = card_sent(card, version=V3, action_selection_behavior=True)["suggestions"]
    assert known["actionSelectionBehavior"] == choice
    for version in (V2, V3):
        one = card_sent(card, version=version)
        assert [each["label"] for each in one["suggestions"]] == ["Order: Make one", "Order: Make two"]
        assert one["selectionBehavior"] == behaviour


def test_a_choice_of_actions_beside_other_suggestions_is_told_in_words():
    chosen = offer(1, "Order", make("one"), make("two"), action_selection=ActionSelection.AT_MOST_ONE)
    one = card_sent(card_of(chosen, offer(2, "Other")))
    assert [each["label"] for each in one["suggestions"]] == ["Other"]
    assert "Order: Make one; Make two" in one["detail"]


def test_system_actions_go_to_a_client_known_for_them_and_the_card_tells_of_them():
    body = sent(card_of(offer(1)), RECORD, version=V3, system_actions=True)
    assert body["systemActions"] == [RECORD.to_json()]
    assert "do this by itself: Record the estimate as a RiskAssessment" in body["cards"][0]["detail"]


def test_system_actions_are_a_suggestion_for_every_other_client():
    for capabilities in ({"version": V3}, {"version": V1, "system_actions": True, "selection_behaviors": (ANY,)}):
        body = sent(card_of(), RECORD, **capabilities)
        assert "systemActions" not in body
        (made,) = body["cards"][0]["suggestions"]
        assert made["label"] == "Record the estimate as a RiskAssessment"
        assert made["actions"] == [RECORD.to_json()]


def test_what_may_apply_itself_is_a_system_action_where_that_is_agreed_and_else_a_suggestion():
    record = Suggestion("Record it", uuid(1), (RECORD,), may_apply_itself=True)
    card = card_of(record, offer(2))
    body = sent(card, version=V3, system_actions=True)
    assert body["systemActions"] == [RECORD.to_json()]
    assert [one["label"] for one in body["cards"][0]["suggestions"]] == ["Order a test"]
    assert "do this by itself: Record the estimate" in body["cards"][0]["detail"]
    for capabilities in ({}, {"selection_behaviors": (AT_MOST_ONE,)}, {"version": V1, "system_actions": True}):
        body = sent(card, **capabilities)
        assert "systemActions" not in body
        assert [one["label"] for one in body["cards"][0]["suggestions"]] == ["Record it", "Order a test"]


def test_the_same_card_is_always_adapted_with_the_same_uuids():
    card = card_of(offer(1, "Order", make("one"), make("two"), action_selection=ActionSelection.ANY))
    assert sent(card, RECORD) == sent(card, RECORD)


def test_system_actions_beside_a_choice_of_one_are_told_in_words():
    one = card_sent(card_of(offer(1), behaviour=AT_MOST_ONE), RECORD)
    assert len(one["suggestions"]) == 1
    assert "Record the estimate as a RiskAssessment" in one["detail"]


def test_a_smart_link_goes_only_to_a_client_that_passes_its_context_on():
    card = card_of(links=(OPEN, LAUNCH))
    for capabilities in ({}, {"smart_links": True}, {"app_context": True}):
        one = card_sent(card, **capabilities)
        assert [link["label"] for link in one["links"]] == ["Open the image"]
        assert "Not opened by this system: Launch the viewer" in one["detail"]
    spare = Link("Launch the viewer", LAUNCH.url, LinkType.SMART, "study=1", spare=True)
    assert "Launch" not in card_sent(card_of(links=(OPEN, spare)))["detail"]


def test_a_client_without_tables_gets_lists_with_the_same_words():
    text = paragraphs(
        bold("Inputs"), table(("Input", "Value", "Unit"), [("a|b", "1", ""), ("c", "2", "kg")]), "End"
    )
    one = card_sent(card_of(detail=text), tables=False)
    assert one["detail"] == "**Inputs**\n\n- **a\\|b**: Value 1\n- **c**: Value 2; Unit kg\n\nEnd"
    assert card_sent(card_of(detail=text))["detail"] == text
    numbered = table(("Image", "Size"), [("1", "9 mm"), ("", "3 mm"), ("2", "")])
    one = card_sent(card_of(detail=numbered), tables=False)
    assert one["detail"] == "- **Image 1**: 9 mm\n- **Image**: 3 mm\n- **Image 2**"


# Every combination of capabilities

COMBINATIONS = [
    Capabilities(
        version=version, selection_behaviors=behaviours, actions=actions, system_actions=system,
        action_selection_behavior=choice, override_reasons=reasons, smart_links=smart, app_context=context,
        tables=tables,
    )
    for version, behaviours, actions, system, choice, reasons, (smart, context), tables in itertools.product(
        SpecVersion,
        [(ANY,), (AT_MOST_ONE,), (AT_MOST_ONE, ANY), ()],
        [ALL_ACTIONS, frozenset({"create"}), frozenset()],
        *[[True, False]] * 3,
        [(False, False), (True, False), (True, True)],
        [True, False],
    )
]  # fmt: skip

LABELS = st.sampled_from(["Order a test", "1. [Do](this) <b>", "Look | twice", "www.x.example", "*a*"])
ACTIONS = st.one_of(
    st.builds(lambda text: Action("create", text, TASK), LABELS),
    st.builds(lambda text, n: Action("delete", text, resource_id=f"Task/{n}"), LABELS, st.integers(1, 9**9)),
    st.builds(lambda text, n: Action("update", text, TASK | {"id": f"u{n}"}), LABELS, st.integers(1, 9**9)),
)


@st.composite
def guidances(draw):
    suggestions = []
    for number in range(draw(st.integers(0, 3))):
        actions = draw(st.lists(ACTIONS, max_size=3, unique_by=lambda one: one.target or id(one)))
        kinds = list(ActionSelection) if len(actions) > 1 else [ActionSelection.ALL]
        recommended = number == 0 and draw(st.booleans())
        label = f"{draw(LABELS)} {number}"
        chosen = draw(st.sampled_from(kinds))
        by_itself = all(action.type == "create" for action in actions) and draw(st.booleans())
        suggestions.append(Suggestion(label, uuid(number + 1), tuple(actions), recommended, chosen, by_itself))
    links = draw(st.sampled_from([(), (OPEN,), (LAUNCH,), (OPEN, LAUNCH)]))
    told = f"See [it]({links[0].url.text})." if links else draw(st.sampled_from([None, "| a |\n|---|\n| b |"]))
    free = ANY if any(one.may_apply_itself for one in suggestions) else AT_MOST_ONE
    behaviour = draw(st.sampled_from([ANY, free]))
    card = card_of(
        *suggestions, behaviour=behaviour, links=links, detail=told, override_reasons=(ACTION_COMPLETED,)
    )
    return Guidance((card,), draw(st.sampled_from([(), (RECORD,)])))


def read(detail):
    """Return the text as a reader sees it, near enough to find words in it."""
    return detail.replace("\\", "").replace(WORD_JOINER, "")


def lost(before, body, client):
    """Return the words that the client is neither sent as a button or link, nor reads."""
    (card,) = body["cards"]
    text = read(card.get("detail", ""))
    buttons = [read(each["label"]) for each in card.get("suggestions", [])]
    applied = [action["description"] for action in body.get("systemActions", [])]
    for one in before.cards[0].suggestions:
        done = all(action.description in applied for action in one.actions)
        if not any(one.label in each for each in (*buttons, text)) and not (one.may_apply_itself and done):
            yield one.label
    for link in before.cards[0].links:
        if link.label not in [each["label"] for each in card.get("links", [])] and link.label not in text:
            yield link.label
    for action in before.system_actions:
        if not any(action.description in each for each in (*applied, *buttons, text)):
            yield action.description


@settings(max_examples=12, deadline=None)
@given(guidances(), st.integers(0, 6))
def test_every_client_gets_legal_guidance_and_loses_no_word_of_it(guidance, start):
    # Each example goes through every seventh combination; all 1728 are met, most of them several times.
    for client in COMBINATIONS[start::7]:
        body = adapt(guidance, client).to_json()
        assert list(lost(guidance, body, client)) == []
        (card,) = body["cards"]
        choice = card.get("selectionBehavior")
        assert choice is None or choice in client.selection_behaviors
        actions = [action for one in card.get("suggestions", []) for action in one.get("actions", [])]
        assert {action["type"] for action in actions} <= client.actions
        assert ("systemActions" in body) <= (client.system_actions and client.version is not V1)
        smart = [link for link in card.get("links", []) if link["type"] == "smart"]
        assert not smart or (client.smart_links and client.app_context)
        if client.version is V1:
            wire = orjson.dumps(body)
            assert not any(
                word in wire for word in (b"isRecommended", b"overrideReasons", b"resourceId", b"topic")
            )
        if not client.action_selection_behavior:
            assert b"actionSelectionBehavior" not in orjson.dumps(body)


@settings(max_examples=30, deadline=None)
@given(guidances(), st.sampled_from([one for one in COMBINATIONS if one.version is not V1]))
def test_what_is_adapted_fits_the_schema_of_the_wire(guidance, client):
    assert problems("response", orjson.loads(orjson.dumps(adapt(guidance, client).to_json()))) == []
