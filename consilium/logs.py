"""JSON lines by structlog, with an allow-list of fields.

A field that is not listed is dropped and its name noted, so that a patient's data cannot reach a log by
somebody adding a keyword. Libraries are heard from WARNING up, and then by where they speak and not by what
they say: their words hold request lines, header values and the input that a validator was given.
"""

import json
import logging
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, TextIO

import orjson
import structlog

# Identifiers here are ones we made (job keys, row ids, digests) or the standards' public words.
ALLOWED_FIELDS = frozenset(
    {
        "ae_title",
        "again_in_s",
        "association",
        "associations",
        "attempt",
        "attempts",
        "bytes",
        "called_ae",
        "calling_ae",
        "cards",
        "category",
        "check",
        "child",
        "client",
        "code",
        "codes",
        "completed",
        "count",
        "delivery",
        "destination",
        "device",
        "digest",
        "dimse_status",
        "dropped_fields",
        "error",
        "event",
        "events",
        "executor",
        "exit_code",
        "export",
        "expression",
        "failed",
        "file",
        "findings",
        "graph",
        "hook",
        "hook_instance",
        "host",
        "how",
        "http_status",
        "instance",
        "instances",
        "job",
        "jobs",
        "kind",
        "last",
        "level",
        "line",
        "logger",
        "method",
        "model",
        "model_version",
        "new",
        "object",
        "ours",
        "outcome",
        "passing",
        "not_taken",
        "path_template",
        "pid",
        "port",
        "problem",
        "problems",
        "profile",
        "reason",
        "reasons",
        "remaining",
        "reports",
        "restarts",
        "result",
        "revision",
        "role",
        "route",
        "series",
        "service",
        "signal",
        "size",
        "skipped",
        "sop_class",
        "state",
        "statement",
        "status",
        "step",
        "studies",
        "study",
        "subscription",
        "taken",
        "timestamp",
        "tls",
        "took_ms",
        "transfer_syntax",
        "type",
        "version",
        "wait_s",
        "warning",
        "where",
        "why",
        "workers",
        "workitem",
    }
)

Event = MutableMapping[str, Any]


def allow_listed(_: object, __: str, event: Event) -> Event:
    """Drop every field that is not on the list, and say which names were dropped."""
    dropped = sorted(name for name in event if name not in ALLOWED_FIELDS and not name.startswith("_"))
    for name in dropped:
        del event[name]
    if dropped:
        event["dropped_fields"] = dropped
    return event


def without_traceback(_: object, __: str, event: Event) -> Event:
    """Keep the exception's class and drop its text: validators repeat what they were given."""
    info = event.pop("exc_info", None)
    if info:
        kind = info[0] if isinstance(info, tuple) else type(info) if isinstance(info, BaseException) else None
        kind = kind or sys.exc_info()[0]
        event["error"] = kind.__name__ if kind else "unknown"
    event.pop("stack_info", None)
    return event


def library_words(_: object, __: str, event: Event) -> Event:
    """Say which library spoke and where; keep its words only where we know them to hold nobody's data."""
    record: logging.LogRecord = event["_record"]
    arguments = event.pop("positional_args", None)
    event["logger"], event["where"] = record.name, f"{record.module}:{record.lineno}"
    known = isinstance(record.msg, str) and record.name.startswith(KNOWN_WORDS)
    event["event"] = _without_texts(record.msg, arguments) if known else "a library's message"
    return event


def _without_texts(template: str, arguments: object) -> str:
    # "Invalid request from ip=127.0.0.1: <the request>" is put together before it gets here.
    template = template.partition(": ")[0]
    if not isinstance(arguments, tuple):
        return template
    try:
        return template % tuple(value if isinstance(value, int) else "…" for value in arguments)
    except (TypeError, ValueError):
        return template


def configure(level: str, *, role: str, stream: TextIO | None = None, for_good: bool = False) -> None:
    """Route structlog and the standard library's logging to one JSON line an event on `stream` (stderr).

    for_good: nobody configures again in this process, so that loggers need not be put together for every line.
    """
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        without_traceback,
        _with_role(role),
    ]
    out = stream or sys.stderr
    renderer = structlog.processors.JSONRenderer(serializer=_as_text)
    # Our own events go straight to the stream: by way of the standard library a line took 61 us instead of 15.
    structlog.configure(
        processors=[*shared, allow_listed, renderer],
        logger_factory=structlog.WriteLoggerFactory(file=out),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        cache_logger_on_first_use=for_good,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            # The formatter must not put a message together that nobody is going to read.
            use_get_message=False,
            pass_foreign_args=True,
            foreign_pre_chain=[*shared, library_words],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))
    for room in ROOMS:
        logging.getLogger(room).setLevel(level)
    quieten_libraries()


def _as_text(event: Event, **options: Any) -> str:  # noqa: ANN401 - as structlog calls it
    try:
        return orjson.dumps(event, default=options["default"]).decode()
    except TypeError:  # a whole number beyond 64 bits, a lone surrogate
        return json.dumps(event, **options)


def _with_role(role: str) -> Callable[[object, str, Event], Event]:
    def add(_: object, __: str, event: Event) -> Event:
        event["role"] = role
        return event

    return add


# Only these speak below WARNING.
ROOMS = ("cds", "clinical", "consilium", "dicom_node", "fhir_adapters", "model_runtime", "record_store")
# Of these a message is kept up to its first colon and without its arguments' texts.
KNOWN_WORDS = ("gunicorn",)
# Some set a level of their own; what matters of their INFO and DEBUG lines is said by our own events.
LIBRARIES = ("alembic", "asyncio", "dbos", "gunicorn", "httpcore", "httpx", "pydicom", "pynetdicom", "sqlalchemy")


def quieten_libraries() -> None:
    """Let libraries speak from WARNING up only."""
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
