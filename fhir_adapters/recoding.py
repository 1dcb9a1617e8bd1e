"""Standard codes for what is stored already: after the site's table has grown (`consilium codes apply`).

Each resource gets its next version with the codes added; nothing else changes, and numbers keep their digits.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from fhir_adapters.search.index import index_of
from fhir_adapters.standardise import CodeTable
from fhir_adapters.strict_json import load_object
from fhir_adapters.verbatim import dumps
from record_store.resource_history import Version, latest_all
from record_store.resources import NewResource, lock_key, put_all
from record_store.times import to_text

Json = dict[str, Any]


def recode(
    conn: Connection, names: Sequence[tuple[str, str]], table: CodeTable, now: datetime, base_url: str
) -> int:
    """Add what the table says to resources (type, id), in the caller's transaction; return how many changed."""
    for kind, resource_id in sorted(names):
        lock_key(conn, f"{kind}/{resource_id}")
    news = [
        new for one in latest_all(conn, names).values() if (new := _next(one, table, now, base_url)) is not None
    ]
    put_all(conn, news)
    return len(news)


def _next(before: Version, table: CodeTable, now: datetime, base_url: str) -> NewResource | None:
    if before.deleted:
        return None
    was = before.stored
    resource = load_object(was.body, decimals=True)
    # Not any(): it would stop at the first concept that has gained something.
    if not sum(_gains(concept, table) for concept in _concepts(resource)):
        return None
    version, updated = was.version + 1, to_text(now)
    resource["meta"] = {**resource.get("meta", {}), "versionId": str(version), "lastUpdated": updated}
    indexed = index_of(resource, base_url)
    return NewResource(
        type=was.type,
        id=was.id,
        version=version,
        updated=updated,
        body=dumps(resource),
        index=indexed.rows,
        patient=indexed.patient,
        code=indexed.code,
        date_lo=indexed.date_lo,
        method="PATCH",
    )


def _concepts(value: object) -> Iterator[Json]:
    if isinstance(value, dict):
        if isinstance(value.get("coding"), list):
            yield value
        for one in value.values():
            yield from _concepts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _concepts(one)


def _gains(concept: Json, table: CodeTable) -> bool:
    codings = [one for one in concept["coding"] if isinstance(one, dict)]
    held = {(one.get("system"), one.get("code")) for one in codings}
    new = [
        standard
        for one in codings
        for standard in table.codes(str(one.get("system", "")), str(one.get("code", "")))
        if (standard.system, standard.code) not in held
    ]
    for standard in dict.fromkeys(new):
        shown = {"display": standard.display} if standard.display else {}
        concept["coding"].append({"system": standard.system, "code": standard.code, **shown})
    return bool(new)
