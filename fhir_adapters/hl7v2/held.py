"""What the store holds of the resources that messages name, looked up for many messages at once.

Within one transaction: what is written meanwhile is told with `now_holds`, so that the next message sees it.
"""

from collections.abc import Iterable

import orjson
from sqlalchemy import Connection

from clinical.identity import PatientKey
from fhir_adapters.charts import in_use, surviving
from fhir_adapters.hl7v2.errors import DUPLICATE_KEY, UNKNOWN_KEY, MessageError
from fhir_adapters.hl7v2.parts import Mapped, Part
from fhir_adapters.resources.labels import uri
from record_store.identified import Key, identified, linked, versions
from record_store.resource_history import Version, latest
from record_store.resources import condition_key, lock_key


class Held:
    """Answers which resource a part is, and what of it is here."""

    def __init__(self, conn: Connection, messages: Iterable[Mapped], more: Iterable[tuple[str, str]] = ()) -> None:
        """Look up what the messages name, and more (type, id)."""
        self._conn = conn
        parts = [
            part for one in messages for part in (*one.parts, *(each for pair in one.retired for each in pair))
        ]
        self._ids: dict[Key, list[str]] = _identified(conn, {key for part in parts for key in _keys(part)})
        wanted = {(part.type, part.id) for part in parts} | set(more)
        wanted |= {(part.type, part.rather) for part in parts if part.rather}
        wanted |= {(key[0], one) for key, ids in self._ids.items() for one in ids}
        found = versions(conn, wanted)
        self._versions: dict[tuple[str, str], Version | None] = {key: found.get(key) for key in wanted}
        self._replaced = linked(conn, [one for kind, one in wanted if kind == "Patient"])

    def version(self, kind: str, resource_id: str) -> Version | None:
        """Return the current version, deleted or not."""
        key = (kind, resource_id)
        if key not in self._versions:  # where a merge of charts has led
            self._versions[key] = latest(self._conn, kind, resource_id)
        return self._versions[key]

    def alive(self, kind: str, resource_id: str) -> Version | None:
        """Return the current version, None when there is none or it was deleted."""
        found = self.version(kind, resource_id)
        return None if found is None or found.deleted else found

    def now_holds(self, part: Part, version: Version) -> None:
        """Take in what was written for a part."""
        self._versions[part.type, version.stored.id] = version
        for key in _keys(part):
            ids = self._ids.setdefault(key, [])
            if version.stored.id not in ids:
                ids.append(version.stored.id)

    def id_of(self, part: Part) -> str | None:
        """Return the id of the resource that a part is, None when it is not here.

        Raises MessageError when its identifiers lead to several.
        """
        if part.patient:
            return self._patient(part)
        if part.rather and self.alive(part.type, part.rather):
            return part.rather
        found = {one for key in _keys(part) for one in self._ids.get(key, ()) if self.alive(part.type, one)}
        if part.id in found or self.alive(part.type, part.id):
            return part.id
        if len(found) > 1:
            raise MessageError(DUPLICATE_KEY, f"its numbers are of several resources of type {part.type}")
        return next(iter(found), None)

    def _patient(self, part: Part) -> str | None:
        """Return the chart in use that all those identifiers lead to which lead anywhere."""
        leads = [ids for key in part.patient if (ids := self._charts(key)) is not None]
        if not leads:
            return None
        common = set.intersection(*leads)
        if not common:
            dead = not any(leads)
            raise MessageError(
                UNKNOWN_KEY if dead else DUPLICATE_KEY,
                "the patient's chart was merged into one that is not here"
                if dead
                else "the patient's identifiers are of several people",
            )
        return part.id if part.id in common else min(common)

    def leads_on(self, part: Part, patient_id: str) -> bool:
        """Tell whether a patient's identifiers lead to a chart by a merge only, and none of them is its own.

        A number that was merged is not its own either when its messages list the old numbers, too.
        """
        charts = {key: self._with(key) for key in part.patient}
        own = (patient_id in ids and ids == self._charts(key) for key, ids in charts.items())
        return any(charts.values()) and not any(own)

    def _charts(self, key: PatientKey) -> set[str] | None:
        """Return the charts in use of this identifier; None when nobody has it, empty when none is in use."""
        ids = self._with(key)
        if not ids:
            return None
        if ids & self._replaced or any(self._retired(one) for one in ids):
            return set(surviving(self._conn, key))
        return ids

    def _with(self, key: PatientKey) -> set[str]:
        """Return all charts of this identifier, in use or not."""
        found = self._ids.get(("Patient", uri(key.system), key.value), ())
        return {one for one in found if self.alive("Patient", one)}

    def _retired(self, patient_id: str) -> bool:
        found = self.alive("Patient", patient_id)
        # Most charts say neither word, and are not read for it.
        if found is None or (b"replaced-by" not in found.stored.body and b'"active"' not in found.stored.body):
            return False
        body = orjson.loads(found.stored.body)
        return body.get("active") is False or any(one.get("type") == "replaced-by" for one in body.get("link", ()))

    def same_person(self, before: str, now: str) -> bool:
        """Tell whether two references to Patients are to one person, who may have been merged in between."""
        return before == now or f"Patient/{in_use(self._conn, before.removeprefix('Patient/'))}" == now


def _identified(conn: Connection, keys: set[Key]) -> dict[Key, list[str]]:
    """Return who has the identifiers; those that nobody has nobody else gives away before this transaction ends.

    The locks are those of a client's If-None-Exist (decision 038).
    """
    found = identified(conn, keys)
    absent = keys - found.keys()
    if not absent or conn.dialect.name != "postgresql":
        return found
    for kind, system, value in sorted(absent):
        lock_key(conn, condition_key(kind, [("identifier", f"{system}|{value}")]))
    return found | identified(conn, absent)


def _keys(part: Part) -> list[Key]:
    return [(part.type, system, value) for system, value in part.identifiers]
