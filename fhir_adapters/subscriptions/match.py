"""Whom a written version concerns: every subscription's criteria, judged on that version as it was written.

A version counts by what it says itself, also when a newer one has come since. A deletion concerns those whom the
version before it concerned: what they keep is gone.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection

from fhir_adapters.search.index import index_of
from fhir_adapters.subscriptions import topic
from fhir_adapters.subscriptions.asked import Asked
from fhir_adapters.subscriptions.request import query_of
from record_store.notifications import Event
from record_store.outbox import Written
from record_store.resource_history import Version, latest_all, version
from record_store.resource_search import SearchQuery
from record_store.resources import NewResource
from record_store.subscriptions import Held
from record_store.version_match import VersionMatch

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Watch:
    """A subscription, ready to be asked. of_topic: the topic's trigger decides, and the searches narrow it."""

    id: str
    of_topic: bool
    searches: tuple[SearchQuery, ...]

    @property
    def types(self) -> frozenset[str]:
        """The types whose versions may concern it. A topic's filters also choose its types."""
        return frozenset(one.type for one in self.searches) or frozenset(topic.TYPES)


@dataclass(frozen=True, slots=True)
class _Case:
    """A version with what decides about it. judged: the resource as it says (or said, before its deletion)."""

    written: Written
    version: Version
    judged: Version
    before: Version | None


def watch_of(held: Held, base_url: str) -> Watch:
    """Return what a subscription watches. Raises IncorrectInput when this server no longer knows a parameter."""
    asked = Asked.from_json(held.asked)
    return Watch(held.id, asked.topic is not None, tuple(query_of(one, base_url) for one in asked.searches))


def events_of(
    conn: Connection, written: Sequence[Written], watches: Sequence[Watch], match: VersionMatch, base_url: str
) -> dict[str, list[Event]]:
    """Return the events of each subscription that has any, in the order of writing."""
    types = frozenset[str]().union(*(one.types for one in watches))
    cases = _cases(conn, [one for one in written if one.type in types])
    if not cases:
        return {}
    told = [
        _indexed(case, base_url)
        for case in cases
        if any(one.searches for one in watches if case.written.type in one.types)
    ]
    searches = {f"{one.id} {number}": query for one in watches for number, query in enumerate(one.searches)}
    found = match.matches(told, searches)
    events: dict[str, list[Event]] = defaultdict(list)
    for case in cases:
        for watch in watches:
            if case.written.type in watch.types and _concerns(case, watch, found):
                events[watch.id].append(_event(case))
    return events


def _concerns(case: _Case, watch: Watch, found: Mapping[str, set[tuple[str, str, int]]]) -> bool:
    one = case.written
    kept = [
        (one.type, one.id, one.version) in found[f"{watch.id} {number}"]
        for number, query in enumerate(watch.searches)
        if query.type == one.type
    ]
    if not watch.of_topic:
        return any(kept)
    return not case.version.deleted and all(kept) and topic.fires(_json(case.version), _json_of(case.before))


def _cases(conn: Connection, written: Sequence[Written]) -> list[_Case]:
    current = latest_all(conn, list({(one.type, one.id) for one in written}))
    cases = []
    for one in written:
        last = current.get((one.type, one.id))
        if last is None:
            continue
        exact = last if last.stored.version == one.version else version(conn, one.type, one.id, one.version)
        before = version(conn, one.type, one.id, one.version - 1) if _looks_back(one, exact) else None
        if before is not None and before.deleted:
            before = None
        if exact is not None and (judged := before if exact.deleted else exact) is not None:
            cases.append(_Case(one, exact, judged, before))
    return cases


def _looks_back(one: Written, exact: Version | None) -> bool:
    return one.version > 1 and exact is not None and (exact.deleted or one.type in topic.TYPES)


def _indexed(case: _Case, base_url: str) -> NewResource:
    one, indexed = case.written, index_of(_json(case.judged), base_url)
    return NewResource(
        type=one.type,
        id=one.id,
        version=one.version,
        updated=case.version.stored.updated,
        body=b"",
        index=indexed.rows,
        patient=indexed.patient,
        code=indexed.code,
        date_lo=indexed.date_lo,
    )


def _event(case: _Case) -> Event:
    one = case.written
    return Event(one.type, one.id, one.version, case.version.stored.updated, case.version.deleted)


def _json_of(version_: Version | None) -> Json | None:
    return None if version_ is None else _json(version_)


def _json(version_: Version) -> Json:
    said: Json = orjson.loads(version_.stored.body)
    return said
