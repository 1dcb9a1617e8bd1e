"""AI results written through to other FHIR servers: which are due, and one after another to each destination."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import orjson
import structlog
from sqlalchemy import Connection

from clinical.clock import Clock
from clinical.codes import AI_ASSERTED
from fhir_adapters.remote.copying import condition_of, copy_of, links_of, patient_of, patient_there
from fhir_adapters.remote.problem import ChangedThere, RemoteProblem
from fhir_adapters.remote.server import RemoteServer, Stored
from fhir_adapters.verbatim import dumps
from record_store import fhir_deliveries
from record_store.audit import append as append_audit
from record_store.criteria import IdIn, TokenIn
from record_store.database import Database
from record_store.deliveries import RetryPolicy
from record_store.fhir_deliveries import FhirDelivery, Outcome
from record_store.outbox import Written
from record_store.resource_history import latest
from record_store.resource_search import SearchQuery, search
from record_store.resources import read

# What a model says, in types that have an identifier by which a copy is found again.
RESULTS = ("Observation", "RiskAssessment", "DiagnosticReport")
LEASE_S = 180.0
GONE = "it was deleted here"
CHANGED = "it was changed there since, and is left as it is"
ENTERED_IN_ERROR = "entered-in-error"
_NOT_THERE = (404, 410)
KEPT = timedelta(days=90)  # rows of what is over: deleted here, or never taken there
UNCONFIGURED = "this destination is no longer configured for results"
_LABEL = TokenIn("_security", ((AI_ASSERTED.system, AI_ASSERTED.code),))
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Offering:
    """Which written versions go to which destinations; `consilium.matching` asks it about the outbox."""

    destinations: tuple[str, ...]

    def concerned(self, conn: Connection, part: Sequence[Written]) -> list[Written]:
        """Return the newest version of each resource that carries the AI label, or that a destination has."""
        newest = {(one.type, one.id): one for one in part if one.type in RESULTS}
        if not self.destinations or not newest:
            return []
        labelled = fhir_deliveries.known(conn, newest)
        for kind in RESULTS:
            ids = tuple(own for of, own in newest if of == kind)
            if ids:
                query = SearchQuery(kind, (IdIn(ids), _LABEL), limit=len(ids))
                labelled |= {(kind, match.resource.id) for match in search(conn, query)}
        return [one for key, one in newest.items() if key in labelled]

    def offer(self, conn: Connection, found: Sequence[Written], now: Clock) -> None:
        """Make them due."""
        for one in found:
            for destination in self.destinations:
                fhir_deliveries.offer(conn, one.type, one.id, one.version, destination, now())


@dataclass(frozen=True, slots=True)
class Forwarding:
    """Sends results to FHIR servers and writes down what each said. remotes: by destination; made at first use.

    base_url: ours, by which copies are known again. observe: (destination, what became of it).
    """

    db: Database
    remotes: Mapping[str, Callable[[], RemoteServer]]
    base_url: str
    retry: RetryPolicy
    now: Clock
    observe: Callable[[str, str], None]
    stopping: Callable[[], bool] = lambda: False

    def due(self) -> list[str]:
        """Return the destinations for which something is due, the longest waiting first."""
        return fhir_deliveries.due_destinations(self.db, self.now())

    def deliver(self, name: str) -> bool:
        """Send what is due to a destination; False when it is away. Raises IncorrectInput for a key of ours."""
        # Before a claim: a key that cannot be read costs no result one of its attempts.
        make = self.remotes.get(name)
        remote = make() if make is not None else None
        while not self.stopping():
            claimed = fhir_deliveries.claim(self.db, name, self.now(), LEASE_S)
            if claimed is None:
                return True
            outcome = self._outcome(remote, claimed)
            with self.db.write() as conn:
                state = fhir_deliveries.settle(conn, claimed, outcome, self.now())
                append_audit(
                    conn,
                    at=self.now(),
                    action="fhir-result-delivery",
                    outcome=state,
                    actor="consilium",
                    subject=f"{claimed.type}/{claimed.id}",
                    detail={"destination": name, "version": claimed.version, "status": outcome.status},
                )
            self.observe(name, state)
            log.info(
                "fhir result delivery",
                destination=name,
                type=claimed.type,
                result=state,
                attempt=claimed.attempts + 1,
                http_status=outcome.status,
                problem=outcome.problem,
            )
            if outcome.problem is not None and outcome.status is None and state == fhir_deliveries.PENDING:
                return False
        return True

    def _outcome(self, remote: RemoteServer | None, claimed: FhirDelivery) -> Outcome:
        if remote is None:
            return Outcome(problem=UNCONFIGURED)
        try:
            stored = self._sent(remote, claimed)
        except ChangedThere as problem:
            return Outcome(problem.status, CHANGED)
        except RemoteProblem as problem:
            return Outcome(problem.status, problem.message, self._pause(claimed, problem))
        if stored is None:
            return Outcome(problem=GONE)
        return Outcome(200, None, None, stored.id, stored.etag)

    def _pause(self, claimed: FhirDelivery, problem: RemoteProblem) -> timedelta | None:
        tried = claimed.attempts + 1
        if not problem.may_pass or tried >= self.retry.max_attempts:
            return None
        asked = min(problem.retry_after_s or 0.0, self.retry.ceiling_s)
        return timedelta(seconds=max(self.retry.delay_s(tried), asked))

    def _sent(self, remote: RemoteServer, claimed: FhirDelivery) -> Stored | None:
        """Send the current version; None when there is none. Raises RemoteProblem."""
        with self.db.read() as conn:
            current = latest(conn, claimed.type, claimed.id)
        if current is None:
            return None
        if current.deleted:
            return self._withdrawn(remote, claimed)
        body = current.stored.body
        resource = orjson.loads(body)
        with self.db.read() as conn:
            own = patient_of(resource, self.base_url)
            patient = read(conn, "Patient", own) if own is not None else None
            there = fhir_deliveries.sent(conn, claimed.destination, set(links_of(resource, self.base_url)))
        if own is not None:
            if patient is None:
                raise RemoteProblem("its patient is not here", may_pass=True)
            there[("Patient", own)] = patient_there(remote, orjson.loads(patient.body))
        if claimed.remote_id is not None:
            return self._updated(remote, claimed, body, there, claimed.remote_id, claimed.remote_etag)
        condition = condition_of(claimed.type, claimed.id, self.base_url)
        made = remote.create(claimed.type, copy_of(body, self.base_url, there, None), condition)
        if made.created:
            return made
        # An earlier try had arrived, perhaps with an earlier version.
        return self._updated(remote, claimed, body, there, made.id, made.etag)

    def _withdrawn(self, remote: RemoteServer, claimed: FhirDelivery) -> Stored | None:
        """Say of what was deleted here that it was entered in error; None when nothing of it is there.

        What is there changes and our memory of it does not: its bytes are kept, but for the status. It is not
        deleted there: others may have built on it, and a result that vanishes tells them nothing (R4 3.1.0.7).
        """
        own, etag = claimed.remote_id, claimed.remote_etag
        if own is None:  # an earlier try may have arrived, and its answer been lost
            condition = condition_of(claimed.type, claimed.id, self.base_url)
            found = next(remote.search(f"{claimed.type}?{condition}"), None)
            if found is None:
                return None
            own = str(found.get("id", ""))
        try:
            there = remote.read(f"{claimed.type}/{own}", decimals=True)
        except RemoteProblem as problem:
            if problem.status in _NOT_THERE:
                return None
            raise
        version = (there.get("meta") or {}).get("versionId")
        known = f'W/"{version}"' if version else None
        if there.get("status") == ENTERED_IN_ERROR:
            return Stored(own, known, created=False)
        return remote.update(claimed.type, own, dumps(there | {"status": ENTERED_IN_ERROR}), etag or known)

    def _updated(
        self,
        remote: RemoteServer,
        claimed: FhirDelivery,
        body: bytes,
        there: Mapping[tuple[str, str], str],
        remote_id: str,
        etag: str | None,
    ) -> Stored:
        return remote.update(claimed.type, remote_id, copy_of(body, self.base_url, there, remote_id), etag)


def purge_deliveries(db: Database, now: Clock) -> int:
    """Forget what has been over for KEPT; return how many rows. What a living result became there is kept."""
    return fhir_deliveries.purge(db, now() - KEPT)
