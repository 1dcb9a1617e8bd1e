"""Asks the worklist what was ordered under the accession number of a study that arrives.

A loop of its own: a study is closed whether the worklist has answered or not; what it says by then is compared
with what the images say (consilium/holding.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from clinical.clock import Clock
from clinical.codes import DICOM_SCHEME, Coding
from consilium.circuit import ArchiveCircuits
from dicom_node.destinations import Destination
from dicom_node.query.scu import Unanswered
from dicom_node.query.worklist import Order
from fhir_adapters.resources.imaging_study import date_time
from fhir_adapters.resources.service_request import ImagingOrder, imaging_order
from record_store import study_orders
from record_store.audit import append as append_audit
from record_store.audit import digest
from record_store.database import Database
from record_store.study_orders import Unordered

POLL_S = 0.5
STUDIES_AT_ONCE = 8

log = structlog.get_logger()


class AskWorklist(Protocol):
    """dicom_node.query.worklist.orders_of"""

    def __call__(self, worklist: Destination, calling_ae: str, *, accession_number: str) -> list[Order]: ...


@dataclass(frozen=True, slots=True)
class Ordering:
    """Asks for open studies, once each."""

    db: Database
    worklist: Destination
    calling_ae: str
    now: Clock
    ask: AskWorklist
    circuits: ArchiveCircuits = field(default_factory=ArchiveCircuits)

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
        orders: list[Order] = []
        problem: str | None = None
        try:
            orders = self.ask(self.worklist, self.calling_ae, accession_number=one.accession_number)
            self.circuits.answered(self.worklist.name)
        except Unanswered as why:
            problem = str(why)
            self.circuits.failed(self.worklist.name)
        theirs = [order for order in orders if order.patient_id == one.patient_id]
        side, stranger = side_ordered(theirs), is_for_another(one, orders)
        with self.db.write() as conn:
            study_orders.answer(
                conn, one.study_uid, self.now(), orders=len(theirs), side=side, stranger=stranger, problem=problem
            )
            append_audit(
                conn,
                at=self.now(),
                action="order-asked",
                outcome="failed" if problem else "stranger" if stranger else "asked",
                actor="worker",
                subject=digest(one.study_uid),
                detail={"orders": len(theirs)},
            )
        log.info("order asked", study=digest(one.study_uid), count=len(theirs), problem=problem)
        return True


def as_service_request(order: Order, *, resource_id: str, patient_id: str) -> dict[str, Any]:
    """Return an order as a FHIR ServiceRequest; codes of schemes without a FHIR system are left to the text."""
    systems = {scheme: system for system, scheme in DICOM_SCHEME.items()}
    codes = [Coding(systems[one.scheme], one.value, one.meaning) for one in order.codes if one.scheme in systems]
    made = ImagingOrder(
        accession_number=order.accession_number,
        codes=tuple(codes),
        text=order.description or order.step_description,
        reason=order.reason,
        side=order.side,
        occurrence=date_time(order.scheduled_date, order.scheduled_time),
    )
    return imaging_order(made, resource_id=resource_id, patient_id=patient_id)


def side_ordered(orders: Sequence[Order]) -> str:
    """Return the one side that all orders name, "" when there is none or they differ. Pure."""
    sides = {order.side for order in orders}
    return sides.pop() if len(sides) == 1 else ""


def is_for_another(one: Unordered, orders: Sequence[Order]) -> bool:
    """Tell whether every order is for somebody else: another identifier and another birth date. Pure.

    An identifier alone may be written in another way there; such an order is not believed, and that is all.
    """
    return bool(orders) and all(
        order.patient_id != one.patient_id
        and bool(order.patient_birth_date and one.patient_birth_date)
        and order.patient_birth_date != one.patient_birth_date
        for order in orders
    )
