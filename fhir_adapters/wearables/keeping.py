"""Readings into the store: collected by window, a lot of windows in one transaction."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, tzinfo

import orjson
from sqlalchemy import Connection

from clinical.errors import PreconditionMissing
from clinical.identity import PatientKey
from fhir_adapters.charts import surviving
from fhir_adapters.rest.fhir import Fhir
from fhir_adapters.rest.versions import draft, next_version
from fhir_adapters.validation.refusal import demand_valid
from fhir_adapters.wearables.daily import Slots, id_of, is_withdrawn, observation_of, slot_of, slots_in
from fhir_adapters.wearables.readings import Reading, Series, Unread, Window, day_of
from record_store.resource_history import Version, latest_all
from record_store.resources import NewResource, lock_key, lock_writers, put_all, read

OPEN_WINDOWS = 64  # collected before they are written


@dataclass(slots=True)
class Worn:
    """What an import of wearables did. values: read. withdrawn: windows that somebody has taken back."""

    values: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    withdrawn: int = 0
    patients: int = 0
    unread: int = 0


@dataclass(slots=True)
class Keeper:
    """Keeps readings. windows: how a time finds its window (`day_of`, `hour_of`).

    make_patients: whoever is not here gets a Patient with nothing but the identifier (source, person).
    """

    fhir: Fhir
    zone: tzinfo
    windows: Callable[[datetime, tzinfo], Window] = day_of
    make_patients: bool = False
    done: Worn = field(default_factory=Worn)
    _open: dict[tuple[Series, Window], Slots] = field(default_factory=dict)
    _patients: dict[tuple[str, str, bool], str] = field(default_factory=dict)

    def take(self, readings: Iterable[Reading | Unread], unread: Callable[[Unread], None]) -> None:
        """Keep readings. Raises PreconditionMissing for a wearer who is no patient here."""
        for one in readings:
            problem = one if isinstance(one, Unread) else self._collect(one)
            if problem is not None:
                self.done.unread += 1
                unread(problem)
        self.flush()

    def _collect(self, one: Reading) -> Unread | None:
        key = (one.series, self.windows(one.at, self.zone))
        slots = self._open.get(key)
        if slots is None:
            if len(self._open) >= OPEN_WINDOWS:
                self.flush()
            slots = self._open[key] = {}
        slot = slot_of(one.series, key[1], one.at)
        if slots.setdefault(slot, one.text) != one.text:
            return Unread(one.line, "another value of the same time stands before it")
        self.done.values += 1
        return None

    def flush(self) -> None:
        """Write what is collected, in one transaction."""
        if not self._open:
            return
        for series, _ in self._open:
            self._patient(series)
        with self.fhir.db.write() as conn:
            keys = sorted(("Observation", id_of(*key)) for key in self._open)
            for kind, own in keys:
                lock_key(conn, f"{kind}/{own}")
            here = latest_all(conn, keys)
            news = [self._next(here, *key, slots) for key, slots in self._open.items()]
            put_all(conn, [one for one in news if one is not None])
        self._open.clear()

    def _next(
        self, here: dict[tuple[str, str], Version], series: Series, window: Window, slots: Slots
    ) -> NewResource | None:
        before = here.get(("Observation", id_of(series, window)))
        there: Slots = {}
        if before is not None:
            if before.deleted or is_withdrawn(before.stored.body):
                self.done.withdrawn += 1
                return None
            there = slots_in(before.stored.body, series, window)
        whole = there | slots
        if whole == there:
            self.done.unchanged += 1
            return None
        patient = self._patients[_wearer(series)]
        made = observation_of(series, window, f"Patient/{patient}", whole)
        demand_valid(made, "Observation")
        self.done.created += before is None
        self.done.updated += before is not None
        drafted = draft(self.fhir, made, orjson.dumps(made))
        return next_version(self.fhir, drafted, resource_id=made["id"], before=before, method="PUT")

    def _patient(self, series: Series) -> None:
        """Find the wearer's chart by the identifier (source, person), never by a name or an id."""
        key = _wearer(series)
        if key in self._patients:
            return
        with self.fhir.db.write() as conn:
            lock_writers(conn)
            found = _charts(conn, series)
            if len(found) > 1:
                raise PreconditionMissing("a wearer's identifier stands in several charts")
            if not found and (not self.make_patients or series.ours):
                raise PreconditionMissing(
                    "a wearer is no patient here: none has the identifier (--source, name in the file); "
                    "--make-patients makes charts that hold nothing else"
                )
            self._patients[key] = found[0] if found else self._new_patient(conn, series.source, series.person)

    def _new_patient(self, conn: Connection, source: str, person: str) -> str:
        own = "w-" + hashlib.sha256(f"{source} {person}".encode()).hexdigest()[:40]
        made = {"resourceType": "Patient", "id": own, "identifier": [{"system": source, "value": person}]}
        drafted = draft(self.fhir, made, orjson.dumps(made))
        put_all(conn, [next_version(self.fhir, drafted, resource_id=own, before=None, method="PUT")])
        self.done.patients += 1
        return own


def _wearer(series: Series) -> tuple[str, str, bool]:
    return series.source, series.person, series.ours


def _charts(conn: Connection, series: Series) -> list[str]:
    """Return the ids of the charts of a series' wearer."""
    if series.ours:
        return [series.person] if read(conn, "Patient", series.person) is not None else []
    return surviving(conn, PatientKey(series.source, series.person))
