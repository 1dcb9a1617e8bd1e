"""Feedback, shadow mode and hygiene as a client meets them over HTTP."""

import pytest
from sqlalchemy import func, select

from cds.card import Card, CardAbout, Source
from cds.feedback.sent import SentCardLog
from cds.hooks import PATIENT_VIEW
from cds.service import Service
from cds.testing import hook_body
from cds.wire_schema.testing import problems
from clinical.codes import Coding
from clinical.errors import Busy, PreconditionMissing
from clinical.finding import ModelRef
from clinical.risk import Indicator
from record_store.tables import feedback, sent_card, shadow_call

SOURCE = Source("A service for tests", Coding("http://example.org/topics", "hello", "Greeting"))
OVERRIDDEN = {"outcome": "overridden", "outcomeTimestamp": "2026-11-22T09:00:00Z"}


def counted(db, table):
    with db.read() as conn:
        return conn.execute(select(func.count()).select_from(table)).scalar_one()


def speaks(_call, context):
    about = CardAbout(ModelRef("m", "1", "d" * 64), finding_key="the finding")
    return (Card(context.new_uuid(), "Hello", Indicator.INFO, SOURCE, about=about),)


def raises(error):
    def answer(_call, _context):
        raise error

    return answer


@pytest.fixture
def server(own_clinic, make_client):
    """server(answer, **stages) -> client of one service `x` with all of this room's stages."""

    def make(answer=speaks, shadow=(), **rules):
        return make_client(
            services=(Service("x", PATIENT_VIEW, "X", "A service.", (), answer),),
            db=own_clinic.db,
            new_uuid=own_clinic.new_uuid,
            sent=SentCardLog(own_clinic.now, own_clinic.names),
            feedback=own_clinic.desk,
            hygiene=own_clinic.hygiene(**rules),
            shadow=own_clinic.shadow(*shadow),
        )

    return make


def called(client, post, **more):
    return post(client, "x", hook_body("zzcanary-1", **more))


def test_a_card_that_was_sent_takes_feedback_and_the_answer_is_an_empty_object(server, post, own_clinic) -> None:
    client = server()
    (card,) = called(client, post).get_json()["cards"]
    for _ in range(2):
        answer = post(client, "x/feedback", {"feedback": [{"card": card["uuid"], **OVERRIDDEN}]})
        assert (answer.status_code, answer.get_json(), answer.mimetype) == (200, {}, "application/json")
    assert (counted(own_clinic.db, sent_card), counted(own_clinic.db, feedback)) == (1, 1)


def test_what_is_wrong_with_feedback_is_an_operation_outcome_with_its_path(server, post, own_clinic) -> None:
    client = server()
    (card,) = called(client, post).get_json()["cards"]
    good = {"card": card["uuid"], **OVERRIDDEN}
    unknown = good | {"card": "9368d37b-283f-44a0-93ea-547cebab93ed"}
    for sent, path in [({"feedback": [good, unknown]}, "feedback[1].card"), ({"feedback": {}}, "feedback")]:
        answer = post(client, "x/feedback", sent)
        assert answer.status_code == 400
        assert answer.get_json()["issue"][0]["expression"] == [path]
        assert problems("outcome", answer.get_json()) == []
    assert counted(own_clinic.db, feedback) == 0


@pytest.mark.parametrize(
    ("path", "method", "body", "content_type", "status"),
    [
        ("x/feedback", "GET", b"", "application/json", 405),
        ("nobody/feedback", "POST", b"{}", "application/json", 404),
        ("x/feedback", "POST", b'{"feedback": []}', "text/plain", 415),
        ("x/feedback", "POST", b'{"feedback": [}', "application/json", 400),
        ("x/feedback", "POST", b'{"feedback": [], "feedback": []}', "application/json", 400),
        ("x/feedback", "POST", b'{"feedback": []}', "application/json", 200),
    ],
)
def test_the_rules_of_the_edge_hold_for_feedback_too(server, path, method, body, content_type, status) -> None:
    answer = server().open(f"/cds-services/{path}", method=method, data=body, content_type=content_type)
    assert answer.status_code == status


def test_a_shadowed_service_says_nothing_and_is_recorded(server, post, own_clinic) -> None:
    answer = called(server(shadow=["x"]), post)
    assert (answer.status_code, answer.get_json()) == (200, {"cards": []})
    assert (counted(own_clinic.db, shadow_call), counted(own_clinic.db, sent_card)) == (1, 1)


@pytest.mark.parametrize("error", [Busy("late"), PreconditionMissing("no bmi"), ValueError("Zzcanary")])
def test_the_failure_of_a_shadowed_service_disturbs_nobody_and_is_kept(server, post, own_clinic, error) -> None:
    answer = called(server(raises(error), shadow=["x"]), post)
    assert (answer.status_code, answer.get_json()) == (200, {"cards": []})
    assert [said for _, said in own_clinic.shadowed] in (["busy"], ["precondition"], ["fault"])
    assert counted(own_clinic.db, shadow_call) == 1


def test_the_same_failure_on_stage_is_an_error(server, post) -> None:
    assert called(server(raises(Busy("late"))), post).status_code == 503


def test_a_call_that_cannot_be_read_is_refused_in_shadow_mode_too(server, post) -> None:
    assert post(server(shadow=["x"]), "x", {"hook": "patient-view"}).status_code == 400


def test_a_shadowed_service_is_quiet_also_while_the_store_is_away(server, post, own_clinic) -> None:
    client = server(shadow=["x"])
    with own_clinic.db.write() as conn:
        conn.exec_driver_sql("DROP TABLE shadow_call")
    assert called(client, post).get_json() == {"cards": []}
    assert own_clinic.shadowed == [("x", "unrecorded")]


def test_on_stage_a_card_that_cannot_be_recorded_is_not_sent(server, post, own_clinic) -> None:
    client = server()
    with own_clinic.db.write() as conn:
        conn.exec_driver_sql("DROP TABLE feedback")
        conn.exec_driver_sql("DROP TABLE sent_card")
    answer = called(client, post)
    assert answer.status_code >= 500
    assert answer.get_json()["resourceType"] == "OperationOutcome"


def test_a_repeated_card_is_held_back_over_http_and_comes_again_after_the_window(server, post, own_clinic) -> None:
    client = server(repeat_window_s=60)
    instances = iter(f"d1577c69-dfbe-44ad-ba6d-3e05e953b2e{n}" for n in range(9))
    counts = []
    for minutes in (0, 0.5, 0.6):
        own_clinic.later(minutes=minutes)
        counts.append(len(called(client, post, hookInstance=next(instances)).get_json()["cards"]))
    assert counts == [1, 0, 1]
    assert own_clinic.held == [("x", "repeated")]
