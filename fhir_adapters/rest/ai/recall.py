"""$ai-recall: every result of a model version becomes `entered-in-error`, as a new version, in bounded batches.

A batch is one transaction: its results, one Provenance of the recall, one AuditEvent and an audit row. What is in
error already is passed over, so that a recall may be cut off and asked for again; `next` says where to go on.
The outbox tells the subscribers, as of every write.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import Connection

from clinical.errors import IncorrectInput, NotFound
from clinical.finding import ModelRef
from fhir_adapters.publish import publish
from fhir_adapters.resources.ai_audit import recall_event
from fhir_adapters.resources.ids import derived, device_id
from fhir_adapters.resources.labels import AI_PROVENANCE_PROFILE, MODEL_IDENTIFIER, reference
from fhir_adapters.resources.reading import READING_IDENTIFIER
from fhir_adapters.rest.ai.changes import (
    CONFIRMED,
    ENTERED_IN_ERROR,
    NULLIFY,
    PERFORMER,
    Who,
    changed,
    decision_provenance,
    with_status,
)
from fhir_adapters.rest.ai.origin import provenances_of
from fhir_adapters.rest.fhir import Fhir
from fhir_adapters.search.parameters import RESULTS
from record_store.audit import append as append_audit
from record_store.criteria import TokenIn
from record_store.resource_search import SearchQuery, search
from record_store.resources import NewResource, StoredResource, lock_writers, put_all, read

BATCH = 100
INACTIVE = "inactive"
PROPOSALS = frozenset(("CarePlan", "Flag", "Goal"))
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Recalled:
    """Which results: of a model's version, and of one digest of it where that is named. reason: for people."""

    model: str
    version: str
    digest: str
    reason: str
    keep_confirmed: bool = False

    @property
    def label(self) -> str:
        """Name and version, as `ai-model` finds them."""
        return f"{self.model}@{self.version}"

    def made(self, resource: Json) -> bool:
        """Tell whether a result that names this version was made by the digest that is meant."""
        if not self.digest:
            return True
        mine = device_id(ModelRef(self.model, self.version, self.digest))
        text = orjson.dumps(resource).decode()
        return f'"Device/{mine}' in text or self.digest in _contained_versions(resource)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one batch met.

    retracted: references of the new versions. before: how many were in error already. kept: confirmed by a person
    and left alone; confirmed: confirmed and retracted all the same. readings: ids of image readings among those
    that are in error now.
    next: where to go on, "" at the end.
    """

    retracted: tuple[str, ...] = ()
    before: int = 0
    kept: int = 0
    confirmed: int = 0
    readings: tuple[str, ...] = ()
    provenance: str = ""
    next: str = ""


@dataclass(slots=True)
class Total:
    """What all batches of one call met."""

    retracted: int = 0
    before: int = 0
    kept: int = 0
    confirmed: int = 0
    provenances: list[str] = field(default_factory=list)
    readings: list[str] = field(default_factory=list)
    next: str = ""

    def add(self, batch: Batch) -> None:
        """Count a batch in."""
        self.retracted += len(batch.retracted)
        self.before += batch.before
        self.kept += batch.kept
        self.confirmed += batch.confirmed
        self.provenances += [batch.provenance] if batch.provenance else []
        self.readings += batch.readings
        self.next = batch.next

    def join(self, later: "Total") -> None:
        """Count in what the next call met."""
        self.retracted += later.retracted
        self.before += later.before
        self.kept += later.kept
        self.confirmed += later.confirmed
        self.provenances += later.provenances
        self.readings += later.readings
        self.next = later.next


# Told the ids of the image readings of a batch, in its transaction: what was made of them is not sent any more.
OnReadings = Callable[[Connection, Sequence[str]], None]


def nothing(_conn: Connection, _readings: Sequence[str]) -> None:
    """Do nothing about readings."""


def recall_batch(
    fhir: Fhir,
    conn: Connection,
    what: Recalled,
    who: Who,
    after: str,
    *,
    dry_run: bool,
    readings: OnReadings = nothing,
) -> Batch:
    """Retract the next BATCH results behind `after` ("" or a Batch's `next`); dry_run: only say what would be."""
    if not dry_run:
        lock_writers(conn)
        _withdraw(fhir, conn, what, who)
    page = _page(conn, what, after)
    meant, before, kept, confirmed = _sorted_out(what, page)
    place = f"{page[-1].type}/{page[-1].id}" if len(page) == BATCH else ""
    # Somebody may have put a result in error by hand: its objects still wait to be sent, its proposals stand.
    named = tuple(one for stored in (*before, *meant) for one in _readings_of(stored))
    meant += _proposals(conn, (*before, *meant))
    if dry_run:
        references = tuple(f"{one.type}/{one.id}/_history/{one.version}" for one in meant)
        return Batch(references, len(before), kept, confirmed, named, "", place)
    news = [changed(fhir, one, with_status(ENTERED_IN_ERROR, words_of(what))) for one in meant]
    provenance = _written(fhir, conn, what, who, news) if news else ""
    readings(conn, named)
    references = tuple(f"{one.type}/{one.id}/_history/{one.version}" for one in news)
    return Batch(references, len(before), kept, confirmed, named, provenance, place)


def words_of(what: Recalled) -> str:
    """Return what stands first in a recalled result."""
    return f"Entered in error: {what.model} {what.version} was recalled ({what.reason})."


def device_meant(resource: Json | None) -> tuple[str, str, str]:
    """Return name, version and digest of the model that a Device stands for. Raises IncorrectInput, NotFound."""
    if resource is None:
        raise NotFound("there is no such Device")
    for identifier in resource.get("identifier", ()):
        if identifier.get("system") == MODEL_IDENTIFIER:
            name, _, version = str(identifier.get("value", "")).partition("@")
            digests = [str(one.get("value", "")) for one in resource.get("version", ())]
            digest = next((one for one in digests if len(one) == 64), "")
            return name, version, digest
    raise IncorrectInput("that Device is no model of this server", expression=["device"])


def _page(conn: Connection, what: Recalled, after: str) -> list[StoredResource]:
    """Return the next BATCH results that name the model's version, in the order of type and id."""
    kind, _, ident = after.partition("/")
    found: list[StoredResource] = []
    for each in RESULTS:
        if kind and each < kind:
            continue
        token = TokenIn("ai-model", ((MODEL_IDENTIFIER, what.label),))
        place = (ident,) if each == kind and ident else None
        query = SearchQuery(each, (token,), after=place, limit=BATCH - len(found))
        found += [match.resource for match in search(conn, query)]
        if len(found) == BATCH:
            break
    return found


def _sorted_out(
    what: Recalled, page: Sequence[StoredResource]
) -> tuple[list[StoredResource], list[StoredResource], int, int]:
    """Return what is to be retracted, what is in error already, and how many were kept or are confirmed."""
    meant: list[StoredResource] = []
    before: list[StoredResource] = []
    kept = confirmed = 0
    for stored in page:
        resource = orjson.loads(stored.body)
        status = resource.get("status")
        if not what.made(resource):
            continue
        if status == ENTERED_IN_ERROR:
            before.append(stored)
        elif status in CONFIRMED and what.keep_confirmed:
            kept += 1
        else:
            confirmed += status in CONFIRMED
            meant.append(stored)
    return meant, before, kept, confirmed


def _proposals(conn: Connection, meant: Sequence[StoredResource]) -> list[StoredResource]:
    """Return what was proposed with these risks (a plan, a goal, a flag, a message) and is not in error yet."""
    risks = tuple((one.type, one.id) for one in meant if one.type == "RiskAssessment")
    if not risks:
        return []
    targets = [
        str(target.get("reference", "")).partition("/_history/")[0]
        for body in provenances_of(conn, risks)
        if AI_PROVENANCE_PROFILE in body.get("meta", {}).get("profile", ())
        for target in body["target"]
    ]
    found = []
    for name in dict.fromkeys(targets):
        kind, _, ident = name.partition("/")
        stored = read(conn, kind, ident) if kind in PROPOSALS else None
        if stored is not None and f'"{ENTERED_IN_ERROR}"'.encode() not in stored.body:
            found.append(stored)
    return found


def _withdraw(fhir: Fhir, conn: Connection, what: Recalled, who: Who) -> None:
    """Set the model's Device to inactive: from then on this server takes no new result of it.

    Without one nothing would stop a version that is recalled before it has said anything, or another digest of it.
    """
    devices = {stored.id: orjson.loads(stored.body) for stored in devices_of(conn, what)}
    own = device_id(ModelRef(what.model, what.version, what.digest))
    devices.setdefault(own, _device(what, own))
    note = {"text": f"Recalled: {what.reason}"}
    over = [
        device | {"status": INACTIVE, "note": [note, *device.get("note", [])]}
        for device in devices.values()
        if device.get("status") != INACTIVE
    ]
    if over:
        publish(conn, over, fhir.now())
        _audited(fhir, conn, what, who, "ai-withdrawn", INACTIVE, {"devices": len(over)})


def _device(what: Recalled, own: str) -> dict[str, Any]:
    """Return the Device that stands for a version, of any digest where none is meant, and makes nothing itself."""
    versions = [{"value": what.version}, *([{"value": what.digest}] if what.digest else [])]
    return {
        "resourceType": "Device",
        "id": own,
        "identifier": [{"system": MODEL_IDENTIFIER, "value": what.label}],
        "deviceName": [{"name": what.model, "type": "model-name"}],
        "version": versions,
    }


def devices_of(conn: Connection, what: Recalled) -> list[StoredResource]:
    """Return the Devices of the version, of all its digests or of the one that is meant."""
    token = TokenIn("identifier", ((MODEL_IDENTIFIER, what.label),))
    found = [match.resource for match in search(conn, SearchQuery("Device", (token,), limit=BATCH))]
    return [one for one in found if not what.digest or what.digest.encode() in one.body]


def _written(fhir: Fhir, conn: Connection, what: Recalled, who: Who, news: Sequence[NewResource]) -> str:
    """Write one batch with its Provenance and its audit; return the Provenance's reference."""
    now = fhir.now()
    put_all(conn, news)
    key = derived("recall", what.label, *(f"{one.type}/{one.id}/{one.version}" for one in news))
    devices = [reference("Device", one.id, one.version) for one in devices_of(conn, what)]
    provenance = decision_provenance(
        resource_id=key,
        targets=news,
        who=who,
        role=PERFORMER,
        activity=NULLIFY,
        reason=what.reason,
        recorded=now,
        about=devices,
    )
    event = recall_event(
        news, resource_id=derived("recall-audit", key), who=who.name, recorded=now, base=fhir.base_url
    )
    publish(conn, [provenance, event], now)
    detail = {"count": len(news), "provenance": key}
    _audited(fhir, conn, what, who, "ai-recalled", ENTERED_IN_ERROR, detail)
    return f"Provenance/{key}"


def _audited(
    fhir: Fhir, conn: Connection, what: Recalled, who: Who, action: str, outcome: str, detail: Json
) -> None:
    append_audit(
        conn,
        at=fhir.now(),
        action=action,
        outcome=outcome,
        actor=who.name,
        subject=f"model:{what.label}",
        detail={**detail, "digest": what.digest[:12] or None},
    )


def _readings_of(stored: StoredResource) -> Iterator[str]:
    if stored.type == "DiagnosticReport":
        for identifier in orjson.loads(stored.body).get("identifier", ()):
            if identifier.get("system") == READING_IDENTIFIER:
                yield str(identifier.get("value", ""))


def _contained_versions(resource: Json) -> list[str]:
    return [
        str(version.get("value", ""))
        for one in resource.get("contained", ())
        if one.get("resourceType") == "Device"
        for version in one.get("version", ())
    ]
