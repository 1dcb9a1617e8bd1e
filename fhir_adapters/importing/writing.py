"""Resources into the local store, many in one transaction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import orjson
from sqlalchemy import Connection

from clinical.errors import Busy, Fault
from fhir_adapters.importing.items import Identifiers, Named, Rule, identifiers_of
from fhir_adapters.importing.prepare import Ready
from fhir_adapters.importing.tally import Tally
from fhir_adapters.rest.condition import match
from fhir_adapters.rest.fhir import Fhir, require_type
from fhir_adapters.rest.versions import next_version, removal
from fhir_adapters.splice import with_identity
from fhir_adapters.validation.profiles import Profiles
from record_store.imports import Imported, imported, note
from record_store.resource_history import Version, latest_all
from record_store.resources import NewResource, StoredResource, put_all

_KEPT_CONDITIONS = 100_000
Key = tuple[str, str]
Put = Callable[[Sequence[NewResource]], None]


@dataclass(slots=True)
class _Lot:
    """Versions of one transaction under way. latest: as it is with those that are written already."""

    latest: dict[Key, Version]
    put: Put
    news: dict[Key, NewResource] = field(default_factory=dict)

    def write(self) -> None:
        self.put(list(self.news.values()))
        for key, new in self.news.items():
            self.latest[key] = Version(new.stored, new.deleted, new.method)
        self.news = {}


class Store:
    """The local store as the target of an import."""

    def __init__(self, fhir: Fhir, *, rehearsal: bool = False) -> None:
        """rehearsal: look at everything and write nothing."""
        self.fhir = fhir
        self.rehearsal = rehearsal
        self._found: dict[tuple[str, str], str] = {}

    @property
    def base_url(self) -> str:
        """Ours: an absolute reference to this server equals the relative one."""
        return self.fhir.base_url

    @property
    def profiles(self) -> Profiles:
        """Those of the server."""
        return self.fhir.profiles

    def known(self, digest: str) -> Imported:
        """Return how far a file has come before."""
        with self.fhir.db.read() as conn:
            return imported(conn, digest)

    def found(self, kind: str, condition: str) -> str | None:
        """Return Type/id of what a conditional reference finds. Raises as `condition.meant`."""
        key = (kind, condition)
        if key not in self._found:
            target = self.match(kind, condition)
            if target is None:
                return None
            if len(self._found) >= _KEPT_CONDITIONS:
                self._found.clear()
            self._found[key] = target
        return self._found[key]

    def match(self, kind: str, condition: str) -> str | None:
        """Return Type/id of the one match as it is now, None when there is none. Raises NotFound for a type."""
        require_type(kind)
        with self.fhir.db.read() as conn:
            found = match(conn, kind, condition, self.fhir.base_url, hold=False)
        return None if found is None else f"{kind}/{found.stored.id}"

    def strangers(self, lot: Sequence[tuple[str, Identifiers]]) -> list[str]:
        """Return the ids under which the store keeps a Patient that has none of the identifiers told."""
        with self.fhir.db.read() as conn:
            here = latest_all(conn, [("Patient", one) for one, _ in lot])
        own = {key[1]: orjson.loads(one.stored.body) for key, one in here.items() if not one.deleted}
        kept = {one: identifiers_of(body) for one, body in own.items()}
        return sorted({one for one, said in lot if kept.get(one) and not kept[one] & said})

    def write(self, ready: Sequence[Ready], digest: str, so_far: Imported) -> Tally:
        """Write resources and how far the file has come, all or none. Raises Busy when another writer met us."""
        if self.rehearsal:
            with self.fhir.db.read() as conn:
                return self._enter(conn, ready, lambda _news: None)
        with self.fhir.db.write() as conn:
            self._hold(conn, ready)
            tally = self._enter(conn, ready, lambda news: put_all(conn, news))
            note(conn, digest, self.fhir.now(), so_far)
        return tally

    def finish(self, digest: str, so_far: Imported) -> None:
        """Keep that a file is done with."""
        if self.rehearsal:
            return
        with self.fhir.db.write() as conn:
            note(conn, digest, self.fhir.now(), so_far)

    def _enter(self, conn: Connection, ready: Sequence[Ready], put: Put) -> Tally:
        tally = Tally()
        lot = _Lot(latest_all(conn, sorted({_key(one.item.named) for one in ready})), put)
        for one in ready:
            key = _key(one.item.named)
            if key in lot.news:  # the same resource again: it is the version after
                lot.write()
            before = lot.latest.get(key)
            new = self._next(one, before)
            _count(tally, before, new)
            if new is not None:
                lot.news[key] = new
        lot.write()
        return tally

    def _hold(self, conn: Connection, ready: Sequence[Ready]) -> None:
        """Keep the conditions of what is to be created true until the end, in one order."""
        conditional = {
            (named.type, named.condition): named.id
            for one in ready
            if (named := one.item.named).condition is not None
        }
        for (kind, condition), planned in sorted(conditional.items()):
            found = match(conn, kind, str(condition), self.fhir.base_url)
            if found is not None and found.stored.id != planned:
                raise Busy("another client has created what a condition asks for; import again")

    def _next(self, one: Ready, before: Version | None) -> NewResource | None:
        """Return the version to write, None when nothing is to be written."""
        named, here = one.item.named, before is not None and not before.deleted
        if one.draft is None:
            return removal(self.fhir, before) if before is not None and here else None
        if named.rule is Rule.CREATE and before is not None:
            return None  # once: what became of it since, its deletion too, stays
        if before is not None and here and _says(before.stored, one.draft.data):
            return None
        method = "POST" if named.rule is Rule.CREATE else "PUT"
        return next_version(self.fhir, one.draft, resource_id=named.id, before=before, method=method)


def _says(stored: StoredResource, data: bytes) -> bool:
    """Tell whether a version says what these bytes say, its id and version aside."""
    same = with_identity(data, resource_id=stored.id, version=stored.version, updated=stored.updated)
    return same == stored.body


def _key(named: Named) -> Key:
    return named.type, named.id


def _count(tally: Tally, before: Version | None, new: NewResource | None) -> None:
    if new is None:
        tally.unchanged += 1
    elif new.deleted:
        tally.removed += 1
    elif before is None or before.deleted:
        tally.created += 1
    else:
        tally.updated += 1


def tried(write: Callable[[], Tally], tries: int = 3) -> Tally:
    """Write, and once more when another writer was quicker.

    A Fault too: of two that insert the same new id the database refuses one.
    """
    for left in range(tries - 1, -1, -1):
        try:
            return write()
        except (Busy, Fault):
            if not left:
                raise
    raise AssertionError("unreachable")
