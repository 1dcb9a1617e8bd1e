"""Asks the worklist what was ordered of a study that arrives, and keeps the order beside it.

A loop of its own: a study is closed whether the worklist has answered or not; what it says by then is compared
with what the images say (consilium/holding.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from sqlalchemy import Connection

from clinical.clock import Clock
from clinical.identity import IssuerTable
from consilium.circuit import ArchiveCircuits
from consilium.order_keeping import OrderKeeping
from consilium.order_matching import Match, is_surely_theirs, matched, questions, side_ordered
from dicom_node.destinations import Destination
from dicom_node.query.scu import Unanswered
from dicom_node.query.worklist import Order
from fhir_adapters.kept_orders import Kept
from record_store import study_orders
from record_store.audit import append as append_audit
from record_store.audit import digest
from record_store.database import Database
from record_store.study_orders import Unordered

POLL_S = 0.5
STUDIES_AT_ONCE = 8
# Why an order was not written, beside what `Kept` says.
NO_NUMBER = "it has no accession number, so it is not written"
NO_ISSUER = "it does not say who issued its patient's number, so it is not written"

log = structlog.get_logger()


class AskWorklist(Protocol):
    """dicom_node.query.worklist.orders_of"""

    def __call__(
        self,
        worklist: Destination,
        calling_ae: str,
        *,
        accession_number: str = "",
        patient_id: str = "",
        study_uid: str = "",
        requested_procedure_id: str = "",
    ) -> list[Order]: ...


@dataclass(frozen=True, slots=True)
class Ordering:
    """Asks for open studies, once each. issuers: of patients' numbers. keeping: None keeps no order."""

    db: Database
    worklist: Destination
    calling_ae: str
    now: Clock
    ask: AskWorklist
    circuits: ArchiveCircuits = field(default_factory=ArchiveCircuits)
    issuers: IssuerTable = field(default_factory=IssuerTable)
    keeping: OrderKeeping | None = None

    def once(self) -> int:
        """Ask for studies that nobody has asked for; return for how many."""
        with self.db.read() as conn:
            waiting = study_orders.unordered(conn, self.now(), STUDIES_AT_ONCE)
        return sum(map(self._ask, waiting))

    def _ask(self, one: Unordered) -> bool:
        if not self.circuits.may_ask(self.worklist.name):
            return False
        with self.db.write() as conn:
            if not study_orders.claim(conn, one.study_uid, self.now()):
                return False
        found = Match()
        problem: str | None = None
        try:
            found = self._found(one)
            self.circuits.answered(self.worklist.name)
        except Unanswered as why:
            problem = str(why)
            self.circuits.failed(self.worklist.name)
        with self.db.write() as conn:
            self._write(conn, one, found, problem)
        said = problem or found.doubt or None
        log.info("order asked", study=digest(one.study_uid), count=len(found.theirs), problem=said)
        return True

    def _found(self, one: Unordered) -> Match:
        doubts: list[str] = []
        for question in questions(one):
            orders = self.ask(self.worklist, self.calling_ae, **question.keys)
            found = matched(one, question, orders, self.issuers)
            if found.answers:
                return found
            doubts += [found.doubt] if found.doubt else []
        return Match(doubt="; ".join(dict.fromkeys(doubts)))

    def _write(self, conn: Connection, one: Unordered, found: Match, problem: str | None) -> None:
        sure = [order for order in found.theirs if is_surely_theirs(one, order, self.issuers)]
        kept = self._kept(conn, one, found, sure)
        first = next(iter(sure or found.theirs), None)  # of the order that is kept
        system = self.keeping.system_of(first) if self.keeping and first else ""
        study_orders.answer(
            conn,
            one.study_uid,
            self.now(),
            orders=len(found.theirs),
            side=side_ordered(found.theirs),
            stranger=found.stranger,
            several=found.several or kept == Kept.FOR_ANOTHER,
            found_by=found.by if found.theirs else "",
            accession=(system, first.accession_number if first else ""),
            kept=kept,
            doubt=found.doubt,
            problem=problem,
        )
        append_audit(
            conn,
            at=self.now(),
            action="order-asked",
            outcome="failed" if problem else "stranger" if found.stranger else "asked",
            actor="worker",
            subject=digest(one.study_uid),
            detail={"orders": len(found.theirs), **_told(kept=kept, doubt=found.doubt)},
        )

    def _kept(self, conn: Connection, one: Unordered, found: Match, sure: Sequence[Order]) -> str:
        """Keep the order and return what became of it, "" where none is kept. Of two patients' nobody's is."""
        if self.keeping is None or one.patient is None or not found.theirs or found.several:
            return ""
        if not sure:
            return NO_ISSUER
        number = sure[0].accession_number
        if not number:
            return NO_NUMBER
        same = [order for order in sure if order.accession_number == number]
        return self.keeping.keep(conn, one.patient, same, self.now())


def _told(**said: str) -> dict[str, str]:
    return {name: words for name, words in said.items() if words}
