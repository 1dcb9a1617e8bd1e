"""UPS-RS as the user agent, against a Flask peer that checks media types and the Transaction UID."""

import threading

import httpcore
import pytest
from flask import Flask, Response
from werkzeug.serving import make_server

from consilium.workitems.http import Http, HttpAnswer
from consilium.workitems.rs import UpsRs, said_by_http
from dicom_node.query.scu import Unanswered
from dicom_node.ups import reports
from dicom_node.ups.states import Answer, StepState
from dicom_node.ups.workitem import read_workitem
from tests.consilium.workitems.peer_rs import rs
from tests.dicom_node.ups.peer import Book, step

UID, OURS, OTHERS = "2.25.100", "2.25.1", "2.25.2"


@pytest.fixture
def book():
    return Book(step(objects=("1.9",), retrieve_ae="PACS"))


@pytest.fixture
def worklist(book):
    with rs(book) as url:
        yield UpsRs("ai", url, Http("worklist"))


def test_scheduled_steps_are_found_and_read(worklist, book) -> None:
    (found,) = map(read_workitem, worklist.scheduled())
    assert (found.uid, found.labels, found.stations[0].value) == (UID, ("Chest nodules",), "CONSILIUM")
    assert read_workitem(worklist.read(UID)[1]).inputs[0].objects == ("1.9",)
    book.change(UID, "IN PROGRESS", OTHERS)
    assert worklist.scheduled() == []


def test_a_step_is_claimed_reported_on_and_ended_with_the_same_transaction_uid(worklist, book) -> None:
    assert worklist.change(UID, StepState.IN_PROGRESS, OURS).answer is Answer.DONE
    assert worklist.change(UID, StepState.IN_PROGRESS, OTHERS).answer is Answer.CONFLICT
    assert worklist.update(UID, OTHERS, reports.progress(5, "mine")).answer is Answer.CONFLICT
    assert worklist.update(UID, OURS, reports.progress(40, "a model reads it")).answer is Answer.DONE
    assert book.progress().ProcedureStepProgress == 40
    assert worklist.change("2.25.404", StepState.CANCELED, OURS).answer is Answer.GONE


def test_a_step_is_gone_by_the_word_of_a_worklist_that_is_there_and_not_by_that_of_its_proxy(book) -> None:
    with rs(book) as url:
        away = UpsRs("ai", f"{url}/moved", Http("worklist"))
        for ask in (
            lambda: away.read(UID),
            lambda: away.change(UID, StepState.IN_PROGRESS, OURS),
            lambda: away.update(UID, OURS, reports.progress(5, "mine")),
        ):
            with pytest.raises(Unanswered, match="HTTP 404"):
                ask()
        assert UpsRs("ai", url, Http("worklist")).read("2.25.404")[0].answer is Answer.GONE


def test_a_token_is_shown_and_a_refusal_is_said(book) -> None:
    with rs(book, token="secret") as url:
        assert len(UpsRs("ai", url, Http("worklist", "secret")).scheduled()) == 1
        with pytest.raises(Unanswered, match="HTTP 401"):
            UpsRs("ai", url, Http("worklist")).scheduled()
        assert UpsRs("ai", url, Http("worklist", "other")).change(UID, StepState.IN_PROGRESS, OURS).words == (
            "the worklist does not let us (HTTP 401)"
        )
        assert "secret" not in repr(UpsRs("ai", url, Http("worklist", "secret")))


@pytest.mark.parametrize(
    ("status", "warning", "answer"),
    [
        (200, "", Answer.DONE),
        (404, "", Answer.GONE),
        (409, "", Answer.CONFLICT),
        (400, "299 x: The Transaction UID is missing.", Answer.CONFLICT),
        (400, "", Answer.REFUSED),
        (301, "", Answer.REFUSED),
    ],
)
def test_http_statuses_mean_what_the_standard_says(status, warning, answer) -> None:
    assert said_by_http(HttpAnswer(status, {"warning": warning}, b"")).answer is answer


def test_the_authorities_are_read_once_for_many_requests(monkeypatch) -> None:
    made = []
    real = httpcore.default_ssl_context
    monkeypatch.setattr(httpcore, "default_ssl_context", lambda: made.append(1) or real())
    for _ in range(3):
        with pytest.raises(Unanswered, match="no connection"):
            UpsRs("ai", "https://127.0.0.1:9/rs", Http("worklist")).scheduled()
    assert len(made) <= 1


def test_an_error_of_the_server_is_no_answer() -> None:
    with pytest.raises(Unanswered):
        said_by_http(HttpAnswer(503, {}, b""))


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"{", "application/dicom+json"), (b'["x"]', "application/dicom+json"), (b"<html>", "text/html")],
)
def test_an_answer_that_is_no_dicom_json_is_no_answer(body, kind) -> None:
    app = Flask("odd")
    app.add_url_rule("/<path:_>", view_func=lambda _: Response(body, content_type=kind))
    server = make_server("127.0.0.1", 0, app)
    server.timeout = 10
    thread = threading.Thread(target=server.handle_request, daemon=True)
    thread.start()
    try:
        with pytest.raises(Unanswered):
            UpsRs("ai", f"http://127.0.0.1:{server.server_port}", Http("worklist")).scheduled()
    finally:
        thread.join()
        server.server_close()
