"""The body of a feedback call: what is wrong is named by its place, and what was sent is never repeated."""

import copy
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds.feedback.request import LONGEST_COMMENT, MOST_REPORTS, parse_feedback
from cds.wire_schema.testing import problems
from clinical.errors import IncorrectInput

CARD = "9368d37b-283f-44a0-93ea-547cebab93ed"
TAKEN = "0d1577c6-dfbe-44ad-ba6d-3e05e953b2ea"
CODING = {"system": "http://example.org/reasons", "code": "4711", "display": "Because"}
ACCEPTED = {
    "card": CARD,
    "outcome": "accepted",
    "acceptedSuggestions": [{"id": TAKEN}],
    "outcomeTimestamp": "2026-11-22T09:00:00Z",
}
OVERRIDDEN = {
    "card": CARD,
    "outcome": "overridden",
    "overrideReason": {"reason": CODING, "userComment": "Seen by Dr Zzcanary"},
    "outcomeTimestamp": "2026-11-22T09:00:00Z",
}


def body(**changes):
    return {"feedback": [OVERRIDDEN | changes]}


def without(report, key):
    return {"feedback": [{name: value for name, value in report.items() if name != key}]}


def parsed(sent):
    """What was read and None, or nothing and the refusal; anything else that is raised fails the test."""
    try:
        return parse_feedback(sent), None
    except IncorrectInput as error:
        return (), error


def at(text):
    return parse_feedback({"feedback": [ACCEPTED | {"outcomeTimestamp": text}]})[0].report.outcome_at


def test_both_outcomes_are_read() -> None:
    taken, refused = (one.report for one in parse_feedback({"feedback": [ACCEPTED, OVERRIDDEN]}))
    assert (taken.outcome, taken.accepted) == ("accepted", (TAKEN,))
    assert (refused.reason_code, refused.reason_system) == ("4711", "http://example.org/reasons")
    assert refused.user_comment == "Seen by Dr Zzcanary"
    assert "Zzcanary" not in repr(refused)


@pytest.mark.parametrize("said", [{"reason": CODING}, {"userComment": "no"}])
def test_a_reason_or_a_comment_is_enough_and_neither_is_needed_at_all(said) -> None:
    assert parse_feedback(body(overrideReason=said))
    assert parse_feedback(without(OVERRIDDEN, "overrideReason"))


def test_what_is_not_known_and_extensions_are_let_through() -> None:
    more = {"extension": {"com.example": {}}, "hookInstance": "x"}
    assert parse_feedback({"feedback": [ACCEPTED | more], **more})


def test_no_reports_are_legal_as_the_specification_s_model_says() -> None:
    assert parse_feedback({"feedback": []}) == ()


@pytest.mark.parametrize(
    ("sent", "path"),
    [
        ({}, "feedback"),
        ({"feedback": None}, "feedback"),
        ({"feedback": ACCEPTED}, "feedback"),
        ({"feedback": [ACCEPTED] * (MOST_REPORTS + 1)}, "feedback"),
        ({"feedback": ["x"]}, "feedback[0]"),
        ({"feedback": [ACCEPTED, None]}, "feedback[1]"),
        (without(ACCEPTED, "card"), "feedback[0].card"),
        (body(card=1), "feedback[0].card"),
        (body(card=f"urn:uuid:{CARD}"), "feedback[0].card"),
        (without(ACCEPTED, "outcome"), "feedback[0].outcome"),
        (body(outcome="ignored"), "feedback[0].outcome"),
        (body(outcome=["accepted"]), "feedback[0].outcome"),
        (without(ACCEPTED, "acceptedSuggestions"), "feedback[0].acceptedSuggestions"),
        (body(outcome="accepted", acceptedSuggestions=[]), "feedback[0].acceptedSuggestions"),
        (body(acceptedSuggestions=[{"id": TAKEN}]), "feedback[0].acceptedSuggestions"),
        (body(acceptedSuggestions={}), "feedback[0].acceptedSuggestions"),
        (body(acceptedSuggestions=[TAKEN]), "feedback[0].acceptedSuggestions[0]"),
        (body(acceptedSuggestions=[{"id": TAKEN}, {"id": ""}]), "feedback[0].acceptedSuggestions[1].id"),
        (body(overrideReason={}), "feedback[0].overrideReason"),
        (body(overrideReason="no"), "feedback[0].overrideReason"),
        (body(overrideReason={"reason": "x"}), "feedback[0].overrideReason.reason"),
        (body(overrideReason={"reason": {"system": "x"}}), "feedback[0].overrideReason.reason.code"),
        (body(overrideReason={"reason": {"code": "x", "system": 1}}), "feedback[0].overrideReason.reason.system"),
        (body(overrideReason={"userComment": "  "}), "feedback[0].overrideReason.userComment"),
        (
            body(overrideReason={"userComment": "x" * (LONGEST_COMMENT + 1)}),
            "feedback[0].overrideReason.userComment",
        ),
        (without(ACCEPTED, "outcomeTimestamp"), "feedback[0].outcomeTimestamp"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(sent, path) -> None:
    with pytest.raises(IncorrectInput) as caught:
        parse_feedback(sent)
    assert caught.value.expression == (path,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-22T09:00:00Z", datetime(2026, 11, 22, 9, tzinfo=UTC)),
        ("1985-04-12t23:20:50.52z", datetime(1985, 4, 12, 23, 20, 50, 520000, UTC)),
        ("2026-11-22T09:00:00+00:00", datetime(2026, 11, 22, 9, tzinfo=UTC)),
        ("2026-11-22T09:00:00-00:00", datetime(2026, 11, 22, 9, tzinfo=UTC)),
        ("2026-11-22T09:00:00.1234567891Z", datetime(2026, 11, 22, 9, 0, 0, 123456, UTC)),
        ("1990-12-31T23:59:60Z", datetime(1990, 12, 31, 23, 59, 59, 999999, UTC)),
    ],
)
def test_times_of_rfc_3339_in_utc_are_read(text, expected) -> None:
    assert at(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T09:00:00",
        "2026-11-22T10:00:00+01:00",
        "2026-11-22 09:00:00Z",
        "2026-11-22",
        "2026-W47-7T09:00:00Z",
        "2026-02-30T09:00:00Z",
        "2026-11-22T24:00:00Z",
        "2026-11-22T09:00:60Z",
        "2026-11-22T09:00Z",
        "2026-11-22T09:00:00.Z",
        "0000-01-01T00:00:00Z",
        "２０２６-11-22T09:00:00Z",
        "2026-11-22T09:00:00Z\n",
        1795338000,
        None,
    ],
)
def test_other_times_are_refused(text) -> None:
    with pytest.raises(IncorrectInput) as caught:
        at(text)
    assert caught.value.expression == ("feedback[0].outcomeTimestamp",)


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
PLACES = [
    ("card",),
    ("outcome",),
    ("acceptedSuggestions",),
    ("acceptedSuggestions", 0),
    ("acceptedSuggestions", 0, "id"),
    ("overrideReason",),
    ("overrideReason", "reason"),
    ("overrideReason", "reason", "code"),
    ("overrideReason", "userComment"),
    ("outcomeTimestamp",),
]


@given(place=st.sampled_from(PLACES), value=values, start=st.sampled_from([ACCEPTED, OVERRIDDEN]))
def test_whatever_is_put_in_one_place_is_read_or_named_there_and_never_repeated(place, value, start) -> None:
    report = copy.deepcopy(start)
    target = report
    for step in place[:-1]:
        target = target.setdefault(step, {}) if isinstance(target, dict) else target[step]
        if not isinstance(target, dict | list) or (isinstance(target, list) and not target):
            return
    try:
        target[place[-1]] = value
    except (IndexError, TypeError):
        return
    read, error = parsed({"feedback": [ACCEPTED, report]})
    if error is None:
        assert [one.path for one in read] == ["feedback[0]", "feedback[1]"]
        return
    assert error.expression[0].startswith("feedback[1]")
    if isinstance(value, str) and len(value) > 5 and value not in error.expression[0]:
        assert value not in error.message


@given(values)
def test_no_value_at_all_is_more_than_refused(value) -> None:
    for sent in ({"feedback": value}, {"feedback": [value]}, value if isinstance(value, dict) else {}):
        _, error = parsed(sent)
        assert error is None or error.expression[0].startswith("feedback")


@given(st.permutations([ACCEPTED, OVERRIDDEN, ACCEPTED | {"card": TAKEN}]))
def test_the_order_of_reports_is_kept(reports) -> None:
    assert [one.report.card for one in parse_feedback({"feedback": reports})] == [one["card"] for one in reports]


def test_what_we_take_is_legal_by_the_schema_that_we_publish() -> None:
    assert problems("feedback", {"feedback": [ACCEPTED, OVERRIDDEN]}) == []
