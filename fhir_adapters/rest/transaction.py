"""transaction: all entries or none, in one database transaction (R4 3.1.0.11.2).

Which resource each write means is settled first, under the locks of conditions and resources (in one order, so
that two transactions never wait for each other); then links between entries are resolved; then everything is
written at once. Reads come last, when all is written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson
from flask import Response, request
from sqlalchemy import Connection

from clinical.errors import Fault, IncorrectInput, NotFound, PreconditionMissing
from fhir_adapters.rest.accessed import note_written
from fhir_adapters.rest.batch import alone, bundle_response, entry_answer
from fhir_adapters.rest.condition import meant
from fhir_adapters.rest.drafts import became_of, draft_of, drafts_of, told_of
from fhir_adapters.rest.entries import Entry
from fhir_adapters.rest.fhir import Fhir, Permission
from fhir_adapters.rest.negotiate import preferences
from fhir_adapters.rest.reach import demand_within
from fhir_adapters.rest.versions import Draft, demand_turn, letter, location, next_version, removal
from record_store.resource_history import Version, latest_all
from record_store.resources import NewResource, lock_key, put_all

_READS = ("GET", "HEAD")
_LETTERS: Mapping[str, Permission] = {"POST": "c", "PUT": "u", "PATCH": "u", "DELETE": "d"}


@dataclass(frozen=True, slots=True)
class Planned:
    """A write that knows its resource.

    before: the version that it follows. found: nothing is to be written: the condition of a create found one, or
    there is nothing to delete.
    """

    entry: Entry
    id: str
    before: Version | None
    found: bool = False


def answer_transaction(fhir: Fhir, entries: Sequence[Entry]) -> Response:
    """Return a transaction-response with the answers in the order of the entries."""
    answers: dict[int, bytes] = {}
    writes = [entry for entry in entries if entry.method not in _READS]
    made = {one.number: fhir.new_id() for one in writes if one.method == "POST" and one.condition is None}
    drafts = drafts_of(fhir, writes, made)
    with fhir.db.write() as conn:
        planned = _plan(fhir, conn, writes, made)
        news = _news(fhir, conn, planned, drafts)
        put_all(conn, list(news.values()))
        note_written(fhir, conn, list(news.values()))
    whole = preferences(request).get("return") == "representation"
    for plan in planned:
        answers[plan.entry.number] = _answer(fhir, plan, news.get(plan.entry.number), whole=whole)
    for entry in entries:
        if entry.method in _READS:
            answers[entry.number] = entry_answer(alone(entry))
    return bundle_response("transaction-response", [answers[entry.number] for entry in entries])


def _plan(fhir: Fhir, conn: Connection, writes: Sequence[Entry], made: Mapping[int, str]) -> list[Planned]:
    conditions = {entry.number: condition for entry in writes if (condition := entry.condition) is not None}
    matches: dict[int, Version | None] = {}
    # One order for all transactions: two that hold some of the same conditions never wait for each other.
    for entry in sorted(
        (entry for entry in writes if entry.number in conditions),
        key=lambda one: (one.type, conditions[one.number]),
    ):
        with told_of(entry):
            matches[entry.number] = meant(conn, entry.type, conditions[entry.number], fhir.base_url)
    ids = dict(made) | {
        entry.number: _id(fhir, entry, matches.get(entry.number)) for entry in writes if entry.number not in made
    }
    # Nobody else knows an id that was made here.
    keys = sorted({(one.type, ids[one.number]) for one in writes if one.number not in made and ids[one.number]})
    for kind, resource_id in keys:
        lock_key(conn, f"{kind}/{resource_id}")
    now = latest_all(conn, keys)
    planned, seen = [], set()
    for entry in writes:
        resource_id = ids[entry.number]
        before = _reached(fhir, conn, entry, now.get((entry.type, resource_id)))
        found = entry.method == "POST" and matches.get(entry.number) is not None
        found = found or (entry.method == "DELETE" and (before is None or before.deleted))
        with told_of(entry):
            if not found and (entry.type, resource_id) in seen:
                raise IncorrectInput("a transaction may write a resource once", expression=["resource"])
        if not found:
            seen.add((entry.type, resource_id))
        planned.append(Planned(entry, resource_id, before, found))
    return planned


def _reached(fhir: Fhir, conn: Connection, entry: Entry, before: Version | None) -> Version | None:
    """Return the version that an entry's write follows. Raises where the caller may not write it.

    To a delete, what the caller may not know of is not there.
    """
    try:
        with told_of(entry):
            needed, part = _LETTERS[entry.method], entry.method == "PATCH"
            demand_turn(fhir, conn, entry.type, needed, before, entry.if_match, part=part)
    except NotFound:
        if entry.method != "DELETE":
            raise
        return None
    return before


def _id(fhir: Fhir, entry: Entry, match: Version | None) -> str:
    own = str(entry.resource.get("id", "")) if entry.method == "PUT" else ""
    if match is not None:
        if own and own != match.stored.id:
            raise IncorrectInput("the match has another id", expression=[entry.place + ".resource.id"])
        return match.stored.id
    if entry.method == "PUT" and entry.id and own != entry.id:
        raise IncorrectInput(
            "the resource's id must be that of the url", expression=[entry.place + ".resource.id"]
        )
    if entry.method in ("DELETE", "PATCH"):
        return entry.id
    return entry.id if entry.method == "PUT" and entry.id else own or fhir.new_id()


def _news(
    fhir: Fhir, conn: Connection, planned: Sequence[Planned], drafts: Mapping[int, Draft]
) -> dict[int, NewResource]:
    """Return what is to be written, by the number of its entry."""
    became = became_of((plan.entry, plan.id) for plan in planned)

    def found(kind: str, condition: str) -> str:
        match = meant(conn, kind, condition, fhir.base_url, hold=False)
        if match is None:
            raise PreconditionMissing("a conditional reference matches nothing", expression=["resource"])
        return f"{kind}/{match.stored.id}"

    news: dict[int, NewResource] = {}
    for plan in planned:
        entry = plan.entry
        if plan.found:
            continue
        with told_of(entry):
            if entry.method == "DELETE" and plan.before is not None:
                news[entry.number] = removal(fhir, plan.before)
                continue
            drafted = drafts.get(entry.number) or draft_of(fhir, entry, became, found, plan.before)
            new = next_version(fhir, drafted, resource_id=plan.id, before=plan.before, method=entry.method)
            demand_within(new, letter(plan.before, entry.method))
            news[entry.number] = new
    return news


def _answer(fhir: Fhir, plan: Planned, new: NewResource | None, *, whole: bool) -> bytes:
    """Return the response entry of a write. whole: with the resource as it is stored."""
    if plan.entry.method == "DELETE":
        return b'{"response":{"status":"204"}}'
    created = plan.before is None or plan.before.deleted
    if new is not None:
        stored = new.stored
    elif plan.before is not None:  # the condition of a create found it
        stored, created = plan.before.stored, False
    else:
        raise Fault("a write of a transaction has no resource")
    said = {
        "status": "201" if created else "200",
        "location": location(fhir, stored),
        "etag": f'W/"{stored.version}"',
        "lastModified": stored.updated,
    }
    resource = b'"resource":' + stored.body + b"," if whole else b""
    return b"{" + resource + b'"response":' + orjson.dumps(said) + b"}"
