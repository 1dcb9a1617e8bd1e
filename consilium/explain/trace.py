"""A study as one trace: associations, instances, closing, jobs, results, deliveries, from the rows kept of it.

Made when it is asked for, in OTLP's JSON form (ExportTraceServiceRequest), so nothing in the server waits for a
collector, and a study of last year has a trace too. Names are digests, AE titles and models: no patient. The same
study always has the same trace, in which a collector replaces what it has seen.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any

from record_store.audit import digest
from record_store.instances import InstanceRow
from record_store.readings import FAILED, JobRow
from record_store.study_history import Sent, StudyHistory

MOST_EVENTS = 128  # of one span, as OpenTelemetry's own limit; the others are counted
_INTERNAL, _SERVER, _CLIENT = 1, 2, 3
_OK, _ERROR = 1, 2

Value = str | int | bool


@dataclass(frozen=True, slots=True)
class Span:
    """One stretch of time. key: unique within the study; parent: another one's. events: (at, attributes).

    failed: why it ended badly.
    """

    name: str
    began: datetime
    ended: datetime
    kind: int = _INTERNAL
    attributes: Mapping[str, Value] = field(default_factory=dict)
    events: tuple[tuple[datetime, Mapping[str, Value]], ...] = ()
    failed: str = ""
    key: str = ""
    parent: str = "study"


def spans_of(history: StudyHistory) -> list[Span]:
    """Return the spans of a study, the whole first. Pure."""
    parts = [*_received(history.instances), *_closed(history), *_jobs(history), *_sent(history)]
    began = min((one.began for one in parts), default=history.study.last_received_at)
    ended = max((one.ended for one in parts), default=history.study.last_received_at)
    told: dict[str, Value] = {
        "consilium.study": digest(history.study.study_uid),
        "consilium.state": history.study.state,
    }
    told["consilium.revision"] = history.study.revision
    return [Span("study", began, ended, attributes=told, key="study", parent=""), *parts]


def _received(instances: Iterable[InstanceRow]) -> Iterator[Span]:
    ordered = sorted(instances, key=lambda one: (one.calling_ae, one.called_ae, one.received_at))
    for (calling, called), rows in groupby(ordered, lambda one: (one.calling_ae, one.called_ae)):
        held = list(rows)
        told: dict[str, Value] = {
            "dicom.calling_ae": calling,
            "dicom.called_ae": called,
            "dicom.instances": len(held),
        }
        told["dicom.bytes"] = sum(one.size for one in held)
        events = tuple(
            (one.received_at, {"name": "instance", "consilium.instance": digest(one.sop_instance_uid)})
            for one in held
        )
        yield Span(
            f"receive from {calling}",
            held[0].received_at,
            held[-1].received_at,
            _SERVER,
            told,
            events,
            key=f"receive {calling}>{called}",
        )


def _closed(history: StudyHistory) -> Iterator[Span]:
    for number, act in enumerate(history.acts):
        told = {key: value for key, value in act.detail.items() if isinstance(value, str | int | bool)}
        began = min(history.study.last_received_at, act.at) if act.action == "study-closed" else act.at
        yield Span(act.action, began, act.at, attributes=told, key=f"act {number}")


def _jobs(history: StudyHistory) -> Iterator[Span]:
    for job in history.jobs:
        ended = job.finished_at or job.created_at
        made = [one for one in history.made if one.job_key == job.job_key]
        events = tuple(
            (ended, {"name": one.kind, "consilium.instance": digest(one.sop_instance_uid)}) for one in made
        )
        images, findings = history.findings.get(job.job_key, (0, 0))
        told: dict[str, Value] = {
            "consilium.model": f"{job.model} {job.model_version}",
            "consilium.state": job.state,
        }
        told |= {"consilium.images": images, "consilium.findings": findings, "consilium.revision": job.revision}
        failed = job.reason or "failed" if job.state == FAILED else ""
        yield Span(f"job {job.model}", job.created_at, ended, _INTERNAL, told, events, failed, key=job.job_key)


def _sent(history: StudyHistory) -> Iterator[Span]:
    jobs = {
        made.sop_instance_uid: job for made in history.made for job in history.jobs if job.job_key == made.job_key
    }
    for one in history.sent:
        job = jobs.get(one.sop_instance_uid)
        if job is not None and one.attempts:
            yield _delivery(one, job)


def _delivery(one: Sent, job: JobRow) -> Span:
    began = job.finished_at or job.created_at
    ended = max(one.updated_at or began, began)
    told: dict[str, Value] = {"consilium.destination": one.destination, "consilium.attempts": one.attempts}
    told |= {"consilium.state": one.state, "consilium.instance": digest(one.sop_instance_uid)}
    if one.last_status is not None:
        told["dicom.status"] = f"0x{one.last_status:04X}"
    failed = one.last_problem or one.state if one.state == "dead" else ""
    key = f"deliver {one.destination} {one.sop_instance_uid}"
    return Span(f"deliver {one.kind}", began, ended, _CLIENT, told, (), failed, key, parent=job.job_key)


def as_otlp(history: StudyHistory) -> dict[str, Any]:
    """Return the trace as an ExportTraceServiceRequest: what a collector takes at /v1/traces."""
    trace = _name(f"trace {history.study.study_uid}", 32)
    spans = [_span(trace, one) for one in spans_of(history)]
    service = _attributes({"service.name": "consilium"})
    scope = {"scope": {"name": "consilium.study"}, "spans": spans}
    return {"resourceSpans": [{"resource": {"attributes": service}, "scopeSpans": [scope]}]}


def _span(trace: str, one: Span) -> dict[str, Any]:
    status = {"code": _ERROR, "message": one.failed} if one.failed else {"code": _OK}
    return {
        "traceId": trace,
        "spanId": _name(f"{trace} {one.key}", 16),
        "parentSpanId": _name(f"{trace} {one.parent}", 16) if one.parent else "",
        "name": one.name,
        "kind": one.kind,
        "startTimeUnixNano": _nanoseconds(one.began),
        "endTimeUnixNano": _nanoseconds(one.ended),
        "attributes": _attributes(one.attributes),
        "events": [_event(at, told) for at, told in one.events[:MOST_EVENTS]],
        "droppedEventsCount": max(0, len(one.events) - MOST_EVENTS),
        "status": status,
    }


def _event(at: datetime, told: Mapping[str, Value]) -> dict[str, Any]:
    rest = {key: value for key, value in told.items() if key != "name"}
    return {"timeUnixNano": _nanoseconds(at), "name": told["name"], "attributes": _attributes(rest)}


def _attributes(told: Mapping[str, Value]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in told.items()]


def _value(value: Value) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    # Protobuf's JSON form writes 64-bit integers as strings.
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}


def _nanoseconds(at: datetime) -> str:
    return str(int(at.timestamp() * 1_000_000) * 1000)


def _name(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
