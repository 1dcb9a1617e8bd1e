"""JSON lines with an allow-list: a patient cannot reach a log by somebody adding a keyword."""

import ast
import io
import json
import logging
from pathlib import Path

import pytest
import structlog

from consilium import logs

METHODS = {"debug", "info", "warning", "error", "exception", "critical"}


@pytest.fixture
def lines(kept_logging: None) -> io.StringIO:
    stream = io.StringIO()
    logs.configure("DEBUG", role="test", stream=stream)
    return stream


def test_a_field_that_is_not_listed_is_dropped_and_named(lines: io.StringIO) -> None:
    structlog.get_logger("cds.services").info("scored", job="abc", patient_name="Somebody Else")
    event = json.loads(lines.getvalue())
    assert event["job"] == "abc"
    assert event["dropped_fields"] == ["patient_name"]
    assert "Somebody" not in lines.getvalue()


@pytest.mark.parametrize("value", [1 << 80, "\ud800", float("nan"), {1, 2}, b"x"])
def test_no_value_keeps_an_event_from_being_said(lines: io.StringIO, value: object) -> None:
    structlog.get_logger().warning("odd", count=value)
    assert json.loads(lines.getvalue())["event"] == "odd"


def test_an_exception_is_logged_by_its_kind_and_not_by_its_text(lines: io.StringIO) -> None:
    try:
        int("Somebody Else")
    except ValueError:
        structlog.get_logger().exception("failed")
        logging.getLogger("somewhere").exception("failed too")
    events = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert [event["error"] for event in events] == ["ValueError", "ValueError"]
    assert "Somebody" not in lines.getvalue()


def test_libraries_are_heard_from_warning_up(lines: io.StringIO) -> None:
    logging.getLogger("pynetdicom.acse").debug("PatientName is Somebody Else")
    logging.getLogger("sqlalchemy.engine").info("INSERT ... 'Somebody Else'")
    logging.getLogger("a.library.that.nobody.listed").info("Somebody Else")
    assert lines.getvalue() == ""


def test_our_own_rooms_are_heard_at_the_level_that_was_set(lines: io.StringIO) -> None:
    logging.getLogger("record_store.jobs").debug("a claim was lost")
    assert json.loads(lines.getvalue())["level"] == "debug"


def test_a_library_is_heard_by_where_it_speaks_and_not_by_its_words(lines: io.StringIO) -> None:
    logging.getLogger("pydicom").warning("Invalid value for VR DA: 'Somebody Else'")
    logging.getLogger("somewhere.else").error(ValueError("Somebody Else"))
    first, second = (json.loads(line) for line in lines.getvalue().splitlines())
    assert (first["logger"], second["logger"]) == ("pydicom", "somewhere.else")
    assert first["where"].startswith("test_logs:")
    assert "Somebody" not in lines.getvalue()


def test_the_web_server_s_templates_are_kept_and_what_a_client_sent_is_not(lines: io.StringIO) -> None:
    speaks = logging.getLogger("gunicorn.error")
    speaks.propagate = True
    speaks.warning("Invalid request from ip=10.0.0.1: 'GET /fhir/Patient?name=Somebody'")
    speaks.error("Error handling request %s", "/fhir/Patient?name=Somebody")
    speaks.error("Worker (pid:%s) exited with code %s.", 4711, 3)
    assert [json.loads(line)["event"] for line in lines.getvalue().splitlines()] == [
        "Invalid request from ip=10.0.0.1",
        "Error handling request …",
        "Worker (pid:4711) exited with code 3.",
    ]


def test_every_field_that_the_code_logs_is_on_the_list() -> None:
    top = Path(logs.__file__).parents[1]
    unlisted = {
        f"{path.relative_to(top)}:{call.lineno} {keyword.arg}"
        for room in logs.ROOMS
        for path in (top / room).rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
        if isinstance(call.func.value, ast.Name) and call.func.value.id == "log"
        for keyword in call.keywords
        if keyword.arg not in logs.ALLOWED_FIELDS | {"exc_info"}
    }
    assert not unlisted
