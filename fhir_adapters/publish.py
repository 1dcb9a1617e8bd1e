"""Our own results into the FHIR store: upserts by id, in the caller's transaction, safe to repeat."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection

from clinical.errors import PreconditionMissing
from clinical.finding import ModelRef
from clinical.identity import PatientKey
from fhir_adapters.charts import charts_of, surviving
from fhir_adapters.resources import imaging_study
from fhir_adapters.resources.ids import device_id
from fhir_adapters.resources.patient import Demographics, patient
from fhir_adapters.search.index import index_of
from record_store.resource_history import Version, latest_all
from record_store.resources import NewResource, lock_writers, put_all, read
from record_store.times import to_text

Json = dict[str, Any]

PRELIMINARY, ACTIVE = "preliminary", "active"
# When the same work is done again only its clock differs, and the first telling stands.
_CLOCKS = frozenset({"issued", "recorded"})
_SET_BY_STORE = frozenset({"versionId", "lastUpdated"})
# What a FHIR string must not hold (R4 2.24.0.1) and PostgreSQL takes in no text, as JSON writes it: a header may.
_CONTROL = re.compile(rb"(?<!\\)((?:\\\\)*)\\(?:u00[01][0-9a-f]|[bf])")


def publish(conn: Connection, resources: Sequence[Mapping[str, Any]], now: datetime) -> list[str]:
    """Write resources by their ids and return the references of those that are new or changed.

    A resource whose content is stored already (apart from when it was issued or recorded) keeps its version. One
    that a client has deleted comes back: what was found is told again when the work is done again. What a person
    has made of a result stands (final, amended, entered in error, a word of theirs in it), and so does a recall.
    An ImagingStudy keeps the series and instances that it has and gains the new ones.

    resources: with `resourceType` and `id`, references relative; each (type, id) once. Control characters are left
    out of their texts.
    """
    lock_writers(conn)
    updated = to_text(now)
    before = latest_all(conn, [(each["resourceType"], each["id"]) for each in resources])
    versions = [
        _next_version(_legible(each), before.get((each["resourceType"], each["id"])), updated)
        for each in resources
    ]
    news = [new for new in versions if new is not None]
    put_all(conn, news)
    return [f"{new.type}/{new.id}" for new in news]


def versions_of(conn: Connection, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Return the current versions of those (type, id) that are here."""
    return {key: one.stored.version for key, one in latest_all(conn, keys).items() if not one.deleted}


def status_of(conn: Connection, resource_type: str, resource_id: str) -> str | None:
    """Return the status of a resource, "" when it says none; None when it is not here."""
    stored = read(conn, resource_type, resource_id)
    return None if stored is None else str(orjson.loads(stored.body).get("status", ""))


def is_recalled(conn: Connection, model: ModelRef) -> bool:
    """Tell whether this model was recalled, or its version whatever the digest (before its first result too)."""
    devices = (device_id(model), device_id(ModelRef(model.name, model.version, "")))
    return any(status_of(conn, "Device", one) not in (None, ACTIVE) for one in devices)


def find_or_add_patient(
    conn: Connection,
    key: PatientKey,
    derived_id: str,
    now: datetime,
    demographics: Demographics | None = None,
) -> str:
    """Return the id of the Patient with this identifier (system and value), writing one when there is none.

    derived_id: the id of the Patient to write, the same for the same key. When several Patients carry the
    identifier, ours is preferred and else the first by id, so that all results of one key meet in one chart.
    One that was merged into another is never taken: the other is, and PreconditionMissing raised without it.
    """
    lock_writers(conn)
    in_use = surviving(conn, key)
    if in_use:
        return derived_id if derived_id in in_use else in_use[0]
    if charts_of(conn, key).changed_at is not None:
        raise PreconditionMissing("its patient's chart was merged into one that is not here")
    publish(conn, [patient(key, resource_id=derived_id, demographics=demographics)], now)
    return derived_id


def _legible(resource: Mapping[str, Any]) -> Json:
    written = orjson.dumps(resource)
    if _CONTROL.search(written) is None:
        return dict(resource)
    cleaned: Json = orjson.loads(_CONTROL.sub(rb"\1", written))
    return cleaned


def _next_version(resource: Json, last: Version | None, updated: str) -> NewResource | None:
    version = 1 if last is None else last.stored.version + 1
    if last is not None and not last.deleted:
        before = _content(orjson.loads(last.stored.body))
        if _is_settled(before, last.stored.version, resource):
            return None
        if resource["resourceType"] == "ImagingStudy":
            resource = imaging_study.merged(before, resource)
        if _timeless(before) == _timeless(_content(resource)):
            return None
    meta = {**resource.get("meta", {}), "versionId": str(version), "lastUpdated": updated}
    head = {name: resource[name] for name in ("resourceType", "id")} | {"meta": meta}
    body = {**head, **{name: value for name, value in resource.items() if name not in head}}
    indexed = index_of(body, base_url="")
    return NewResource(
        type=resource["resourceType"],
        id=resource["id"],
        version=version,
        updated=updated,
        body=orjson.dumps(body),
        index=indexed.rows,
        patient=indexed.patient,
        code=indexed.code,
        date_lo=indexed.date_lo,
        method="PUT",
    )


def _is_settled(before: Json, version: int, new: Json) -> bool:
    """Tell whether somebody has decided about this since the model said it, or the model itself was recalled."""
    if new.get("status") == PRELIMINARY:
        return before.get("status") != PRELIMINARY or version > 1
    return new["resourceType"] == "Device" and new.get("status") == ACTIVE and before.get("status") != ACTIVE


def _content(resource: Json) -> Json:
    meta = {name: value for name, value in resource.get("meta", {}).items() if name not in _SET_BY_STORE}
    return {**resource, "meta": meta}


def _timeless(resource: Json) -> Json:
    return {name: value for name, value in resource.items() if name not in _CLOCKS}
