"""A message's resources into the store, in the caller's transaction, safe to repeat.

What is the same as before keeps its version. A patient's identifiers are joined and never taken away; a report
keeps the results that a later message does not repeat.
"""

from collections.abc import Mapping
from typing import Any

import orjson
from sqlalchemy import Connection

from fhir_adapters.hl7v2.bundle import complete
from fhir_adapters.hl7v2.errors import DUPLICATE_KEY, INTERNAL, MessageError
from fhir_adapters.hl7v2.held import Held
from fhir_adapters.hl7v2.parts import WITHIN, Mapped, Part, Way, references
from fhir_adapters.search.index import index_of
from fhir_adapters.search.parameters import TYPES
from fhir_adapters.strict_json import load_object
from fhir_adapters.validation import problems_of
from fhir_adapters.verbatim import dumps
from record_store.resource_history import Version
from record_store.resources import NewResource, put_all

Json = dict[str, Any]

_ABOUT = ("subject",)
# How far a result has come (tables 0085 and 0123); what takes one back has no place here, and always counts.
_PROGRESS = {
    "registered": 0, "partial": 0, "preliminary": 0, "final": 1, "amended": 2, "corrected": 2,
}  # fmt: skip


class Writer:
    """Writes messages one after the other. updated: `times.to_text`. Nothing is in the store before `flush`."""

    def __init__(self, conn: Connection, held: Held, updated: str, base_url: str) -> None:
        self._conn, self._held, self._updated, self._base_url = conn, held, updated, base_url
        self._pending: dict[tuple[str, str], NewResource] = {}

    def apply(self, mapped: Mapped, received: str = "") -> list[str]:
        """Plan what a message asks for and return the references of what it tells of.

        received: when it came, of one that has waited (`times.to_text`): what was written since then stays.
        Raises MessageError, and then nothing of the message is planned.
        """
        names = self._names(mapped)
        self._demand_own_mentions(mapped, names)
        plan: dict[str, tuple[Part, NewResource]] = {}
        for part in mapped.parts:
            new = self._next(part, names, received)
            if new is not None:
                plan[names[part.reference]] = (part, new)
        for old, survivor in mapped.retired:
            gone, stays = names[old.reference], names[survivor.reference]
            if gone != stays:  # they are one already
                self._demand_own_chart(old, gone)
                self._link(old, gone, stays, "replaced-by", plan)
                self._link(survivor, stays, gone, "replaces", plan)
        for part, new in plan.values():
            self._take(part, new)
        told = [names[part.reference] for part in mapped.parts if part.way in (Way.MERGE, Way.REPLACE)]
        return [name for name in dict.fromkeys((*told, *plan)) if name]

    def add(self, kind: str, resource_id: str, resource: Json) -> None:
        """Plan a resource of ours, unless it is there."""
        if self._held.version(kind, resource_id) is None:
            part = Part(kind, resource_id, resource, Way.KEEP)
            self._take(part, self._new(part, resource_id, None, resource, ours=True))

    def flush(self) -> None:
        """Write what was planned."""
        put_all(self._conn, list(self._pending.values()))
        self._pending.clear()

    def _take(self, part: Part, new: NewResource) -> None:
        key = (new.type, new.id)
        if key in self._pending:  # one version at a time
            self.flush()
        self._pending[key] = new
        self._held.now_holds(part, Version(new.stored, deleted=False, method=new.method))

    def _names(self, mapped: Mapped) -> dict[str, str]:
        """Return what each part is called here, "" where it is not kept and never will be."""
        names: dict[str, str] = {}
        for part in (*mapped.parts, *(old for old, _ in mapped.retired)):
            found = self._held.id_of(part) if part.type in TYPES else None
            writes = part.way is not Way.MENTION and part.type in TYPES
            names[part.reference] = f"{part.type}/{found or part.id}" if found or writes else ""
        return names

    def _next(self, part: Part, names: Mapping[str, str], received: str) -> NewResource | None:
        name = names[part.reference]
        if part.way is Way.MENTION or not name:
            return None
        resource_id = name.partition("/")[2]
        before = self._held.version(part.type, resource_id)
        alive = before is not None and not before.deleted
        if alive and part.way is Way.KEEP:
            return None
        for reference in references(part.resource):
            known = names.get(reference["reference"], reference["reference"])
            if known:
                reference["reference"] = known
            else:
                del reference["reference"]
        if before is None or not alive:
            return self._new(part, resource_id, before, complete(part))
        was = load_object(before.stored.body, decimals=True)
        self._demand_same_person(part, was)
        if (received and before.stored.updated > received) or _is_older(part.resource, was):
            return None
        if part.way is Way.MERGE:
            content = _merged(was, part)
            return None if content == was else self._new(part, resource_id, before, content)
        content = complete(part)
        if part.type == "DiagnosticReport":
            _keep_results(content, was, part.resource)
        same = _identified(part.type, resource_id, before.stored.version, before.stored.updated, content)
        if dumps(same) == before.stored.body:
            return None
        return self._new(part, resource_id, before, content)

    def _demand_own_mentions(self, mapped: Mapped, names: Mapping[str, str]) -> None:
        """Raise MessageError when a result or order names a visit or an order of another patient."""
        mentioned = {one.reference: names[one.reference] for one in mapped.parts if one.way is Way.MENTION}
        pairs = {
            (mentioned[other["reference"]], names[subject["reference"]])
            for part in mapped.parts
            if (subject := part.resource.get("subject"))
            for other in (part.resource.get("encounter"), *part.resource.get("basedOn", ()))
            if other and mentioned.get(other["reference"])
        }
        for name, subject in sorted(pairs):
            kind, _, resource_id = name.partition("/")
            found = self._held.alive(kind, resource_id)
            then = orjson.loads(found.stored.body).get("subject") if found is not None else None
            if then and not self._held.same_person(str(then.get("reference", "")), subject):
                raise MessageError(DUPLICATE_KEY, f"it names the number of another patient's {kind}")

    def _demand_own_chart(self, old: Part, gone: str) -> None:
        """Raise MessageError when a merged number leads to the chart that has taken it over: that stays in use."""
        if self._held.leads_on(old, gone.partition("/")[2]):
            raise MessageError(DUPLICATE_KEY, "the number of MRG-1 was merged into another patient's chart before")

    def _demand_same_person(self, part: Part, was: Json) -> None:
        for name in _ABOUT:
            now, then = part.resource.get(name), was.get(name)
            if now and then and not self._held.same_person(str(then.get("reference", "")), now["reference"]):
                raise MessageError(DUPLICATE_KEY, f"its number is that of another patient's {part.type}")

    def _link(
        self, part: Part, own: str, other: str, kind: str, plan: dict[str, tuple[Part, NewResource]]
    ) -> None:
        """Plan that a chart says what became of it or of the other one (R4 8.1.6, Patient.link)."""
        resource_id = own.partition("/")[2]
        before, planned = self._held.version("Patient", resource_id), plan.get(own)
        alive = before is not None and not before.deleted
        stored = planned[1].body if planned else before.stored.body if before is not None and alive else None
        was = complete(part) if stored is None else load_object(stored, decimals=True)
        link = {"other": {"reference": other}, "type": kind}
        links = was.get("link", [])
        content = was | {"link": links if link in links else [*links, link]}
        if kind == "replaced-by":
            content["active"] = False
        if stored is None or content != was:
            plan[own] = (part, self._new(part, resource_id, before, content))

    def _new(
        self, part: Part, resource_id: str, before: Version | None, content: Json, *, ours: bool = False
    ) -> NewResource:
        """Return the next version. ours: it holds nothing of the message's but names, and need not be checked."""
        version = 1 if before is None else before.stored.version + 1
        resource = _identified(part.type, resource_id, version, self._updated, content)
        found = () if ours else problems_of(resource, expected=part.type)
        problems = [one for one in found if one.severity == "error"]
        if problems:
            first = problems[0]
            raise MessageError(INTERNAL, f"it would become {first.expression}, which {first.text}", rejected=False)
        indexed = index_of(resource, self._base_url)
        return NewResource(
            type=part.type,
            id=resource_id,
            version=version,
            updated=self._updated,
            body=dumps(resource),
            index=indexed.rows,
            patient=indexed.patient,
            code=indexed.code,
            date_lo=indexed.date_lo,
            method="PUT",
        )


def _is_older(said: Json, was: Json) -> bool:
    """Tell whether a result is from before the one that is here.

    A final result can only be changed with a corrected one (table 0085), and a corrected one is not undone by the
    final one that it corrected; a time that both tell (OBR-22) decides first.
    """
    if "issued" in said and "issued" in was and said["issued"] != was["issued"]:
        return bool(said["issued"] < was["issued"])
    now, then = (_PROGRESS.get(str(one.get("status"))) for one in (said, was))
    return now is not None and then is not None and now < then


def _identified(kind: str, resource_id: str, version: int, updated: str, content: Json) -> Json:
    meta = {**content.get("meta", {}), "versionId": str(version), "lastUpdated": updated}
    head = {"resourceType": kind, "id": resource_id, "meta": meta}
    return {**head, **{name: value for name, value in content.items() if name not in head}}


def _merged(was: Json, part: Part) -> Json:
    """Return a resource with what the message says of it."""
    made = {name: value for name, value in was.items() if name not in part.removed}
    for name, value in part.resource.items():
        if name == "identifier":
            made[name] = _joined(was.get(name, []), value)
        elif name in WITHIN:
            made[name] = {key: one for key, one in (was.get(name, {}) | value).items() if one is not None}
            if not made[name]:
                del made[name]
        else:
            made[name] = value
    for name, value in part.defaults.items():
        made.setdefault(name, value)
    return made


def _joined(held: list[Json], said: list[Json]) -> list[Json]:
    known = {(one.get("system"), one.get("value")) for one in held}
    return [*held, *(one for one in said if (one.get("system"), one.get("value")) not in known)]


def _keep_results(content: Json, was: Json, said: Json) -> None:
    """Let a report keep what is not repeated: a sender may tell only what is new."""
    held = was.get("result", [])
    names = {one.get("reference") for one in held}
    joined = [*held, *(one for one in content.get("result", ()) if one.get("reference") not in names)]
    if joined:
        content["result"] = joined
    if "presentedForm" in was and "presentedForm" not in said:
        content["presentedForm"] = was["presentedForm"]
