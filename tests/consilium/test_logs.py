"""JSON lines with an allow-list: a patient cannot reach a log by somebody adding a keyword."""

import ast
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from consilium import logs

METHODS = {"debug", "info", "warning", "error", "exception", "critical"}
ROOMS = ("cds", "clinical", "consilium", "dicom_node", "fhir_adapters", "model_runtime", "record_store")


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level, configuration = root.handlers[:], root.level, structlog.get_config()
    levels = {name: logging.getLogger(name).level for name in logs.LIBRARIES}
    stream = io.StringIO()
    logs.configure("DEBUG", role="test", stream=stream)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)
    structlog.configure(**configuration)


def test_a_field_that_is_not_listed_is_dropped_and_named(lines: io.StringIO) -> None:
    structlog.get_logger().info("scored", job="abc", patient_name="Somebody Else")
    event = json.loads(lines.getvalue())
    assert event["job"] == "abc"
    assert event["dropped_fields"] == ["patient_name"]
    assert "Somebody" not in lines.getvalue()


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
    assert lines.getvalue() == ""


def test_every_field_that_the_code_logs_is_on_the_list() -> None:
    top = Path(logs.__file__).parents[1]
    unlisted = {
        f"{path.relative_to(top)}:{call.lineno} {keyword.arg}"
        for room in ROOMS
        for path in (top / room).rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
        if isinstance(call.func.value, ast.Name) and call.func.value.id == "log"
        for keyword in call.keywords
        if keyword.arg not in logs.ALLOWED_FIELDS | {"exc_info"}
    }
    assert not unlisted
