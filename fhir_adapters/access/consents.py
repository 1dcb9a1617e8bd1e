"""The Consents of the store, as a process knows them: read anew within a second of a change, compiled per caller.

What they take away becomes one criterion for each type, for all patients at once.
"""

import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import orjson
from sqlalchemy import Connection, func, select

from clinical.clock import Clock
from fhir_adapters.access.compartment import about, of_nobody
from fhir_adapters.access.consent import NEVER, Rule, denied, permitted, rules_of, turns_at
from fhir_adapters.access.grant import EMERGENCY, Grant
from record_store.criteria import AllOf, AnyOf, Criterion, Not
from record_store.database import Database
from record_store.tables import resource
from record_store.times import to_text

LOOK_EVERY_S = 1.0
MOST_IN_ONE = 5_000  # patients in one list of a statement
MOST_MADE = 4096

Judge = Callable[[Rule, str, Grant, str], Criterion | None]


@dataclass(frozen=True, slots=True)
class _Known:
    """What was read, and what was made of it.

    state: of the Consents then. rules: by patient. turns: when what they say changes by itself, in order.
    """

    state: tuple[int, int] = (0, 0)
    rules: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    turns: tuple[str, ...] = ()
    made: dict[tuple[int, str, str, str], Criterion | None] = field(default_factory=dict)


class Consents:
    """What patients have said. opt_in: their data is seen only where a Consent permits it.

    Safe for threads and over a fork.
    """

    def __init__(
        self,
        db: Database,
        now: Clock,
        base_url: str,
        *,
        opt_in: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db, self._now, self._base_url, self._opt_in, self._clock = db, now, base_url, opt_in, clock
        self._known = _Known()
        self._looked_at = float("-inf")
        self._lock = threading.Lock()

    def narrowed(self, grant: Grant, resource_type: str) -> Criterion | None:
        """Return what consents leave a caller of a type: None for all. Raises Busy when the store is away."""
        if grant.everything or grant.purpose == EMERGENCY:
            return None
        self._look()
        now, known = to_text(self._now()), self._known
        key = (bisect_right(known.turns, now), grant.actor, grant.purpose, resource_type)
        try:
            return known.made[key]  # another thread may clear it at any moment
        except KeyError:
            made = self._criterion(known, grant, resource_type, now)
        if len(known.made) >= MOST_MADE:
            known.made.clear()
        known.made[key] = made
        return made

    def _criterion(self, known: _Known, grant: Grant, resource_type: str, now: str) -> Criterion | None:
        taken = _of_patients(known, denied, grant, resource_type, now)
        within = [Not(taken)] if taken != NEVER else []
        if self._opt_in and about(resource_type, ("",)) is not None:
            given = _of_patients(known, permitted, grant, resource_type, now)
            others = of_nobody(resource_type)
            return AllOf((given if others is None else AnyOf((given, others)), *within))
        return within[0] if within else None

    def _look(self) -> None:
        if self._clock() - self._looked_at < LOOK_EVERY_S:
            return
        with self._lock:
            if self._clock() - self._looked_at < LOOK_EVERY_S:
                return
            with self._db.read() as conn:
                state = _state(conn)
                if state != self._known.state:
                    self._known = _read(conn, state, self._base_url)
            self._looked_at = self._clock()


def _of_patients(known: _Known, judge: Judge, grant: Grant, resource_type: str, now: str) -> Criterion:
    """Return what rules say of a type, of all patients together; those who say the same in one."""
    alike: dict[Criterion | None, list[str]] = {}
    for patient, rules in known.rules.items():
        for said in {judge(rule, resource_type, grant, now) for rule in rules} - {NEVER}:
            alike.setdefault(said, []).append(patient)
    parts: list[Criterion] = []
    for said, patients in alike.items():
        for first in range(0, len(patients), MOST_IN_ONE):
            whose = about(resource_type, tuple(patients[first : first + MOST_IN_ONE]))
            if whose is not None:
                parts.append(whose if said is None else AllOf((whose, said)))
    return AnyOf(tuple(parts))


def _read(conn: Connection, state: tuple[int, int], base_url: str) -> _Known:
    query = select(resource.c.body).where(resource.c.type == "Consent", resource.c.deleted == 0)
    rules: dict[str, tuple[Rule, ...]] = {}
    for body in conn.execute(query).scalars():
        found = rules_of(orjson.loads(body), base_url)
        if found is not None and found.rules:
            rules[found.patient] = (*rules.get(found.patient, ()), *found.rules)
    turns = {at for several in rules.values() for at in turns_at(several)}
    return _Known(state, rules, tuple(sorted(turns)))


def _state(conn: Connection) -> tuple[int, int]:
    """Return what differs after every change of a Consent: each makes a version more.

    Not the newest time: a transaction that is committed late has an earlier one.
    """
    every = select(func.count(), func.coalesce(func.sum(resource.c.version), 0))
    row = conn.execute(every.where(resource.c.type == "Consent")).one()
    return int(row[0]), int(row[1])
