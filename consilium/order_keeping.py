"""What a worklist says was ordered, kept as a ServiceRequest: an accession number is one order of one patient."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from clinical.codes import DICOM_SCHEME, Coding
from clinical.identity import PatientKey
from consilium.order_matching import side_ordered
from dicom_node.query.worklist import Code, Order
from fhir_adapters.kept_orders import Kept, keep_order
from fhir_adapters.resources.imaging_study import date_time
from fhir_adapters.resources.patient import GENDER, Demographics
from fhir_adapters.resources.service_request import ImagingOrder, Procedure, imaging_order

_SCHEMES = {scheme: system for system, scheme in DICOM_SCHEME.items()}


@dataclass(frozen=True, slots=True)
class OrderKeeping:
    """Keeps orders. systems: issuer of an accession number -> FHIR identifier system; "" is who states none.

    worklist: its AE title.
    """

    worklist: str
    systems: Mapping[str, str]
    patient_id: Callable[[PatientKey], str]

    def keep(self, conn: Connection, patient: PatientKey, orders: Sequence[Order], now: datetime) -> Kept:
        """Write orders with one accession number, which are surely this patient's; return what became of them."""
        return keep_order(
            conn,
            as_imaging_order(orders, self.system_of(orders[0])),
            patient=patient,
            derived_id=self.patient_id(patient),
            demographics=_demographics(orders[0]),
            worklist=self.worklist,
            now=now,
        )

    def system_of(self, order: Order) -> str:
        """Return the FHIR identifier system of an order's accession number, "" where nobody has told."""
        issuer = order.accession_issuer
        return self.systems.get(issuer) or (issuer if ":" in issuer else "")


def as_imaging_order(orders: Sequence[Order], accession_system: str = "") -> ImagingOrder:
    """Return the scheduled steps of one accession number as one order; each Requested Procedure once. Pure."""
    first = orders[0]
    procedures = {order.requested_procedure_id: _procedure(order) for order in reversed(orders)}
    days = sorted(day for one in orders if (day := date_time(one.scheduled_date, one.scheduled_time)))
    return ImagingOrder(
        accession_number=first.accession_number,
        procedures=tuple(procedures[ident] for ident in sorted(procedures)),
        reason=first.reason,
        side=side_ordered(orders),
        occurrence=next(iter(days), None),
        accession_system=accession_system,
        study_uid=first.study_uid,
    )


def as_service_request(order: Order, *, resource_id: str, patient_id: str) -> dict[str, Any]:
    """Return an order as a FHIR ServiceRequest; codes of schemes without a FHIR system are left to the text."""
    return imaging_order(as_imaging_order([order]), resource_id=resource_id, patient_id=patient_id)


def _procedure(order: Order) -> Procedure:
    codes = [coding for one in order.codes if (coding := _coding(one))]
    return Procedure(tuple(codes), order.description or order.step_description)


def _coding(one: Code) -> Coding | None:
    return Coding(_SCHEMES[one.scheme], one.value, one.meaning) if one.scheme in _SCHEMES else None


def _demographics(order: Order) -> Demographics:
    family, given = order.patient_name
    return Demographics(
        family=family or None,
        given=given or None,
        birth_date=date_time(order.patient_birth_date),
        gender=GENDER.get(order.patient_sex.upper()),
    )
