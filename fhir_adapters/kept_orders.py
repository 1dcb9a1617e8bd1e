"""An order of a worklist, once in the FHIR store. What an EHR said itself stands, and so do a client's changes."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection

from clinical.errors import PreconditionMissing
from clinical.identity import PatientKey
from fhir_adapters.orders import is_same, ordered_for_another, requests_of
from fhir_adapters.publish import find_or_add_patient, publish, versions_of
from fhir_adapters.resources.ids import derived
from fhir_adapters.resources.patient import Demographics
from fhir_adapters.resources.service_request import ImagingOrder, imaging_order, order_provenance
from record_store.resource_history import latest
from record_store.resources import condition_key, lock_key, lock_writers, read


class Kept(StrEnum):
    """What became of an order, in words for `study explain`."""

    WRITTEN = "written to the FHIR store"
    KNOWN = "as it stands in the FHIR store"
    THEIRS = "the FHIR store has it from elsewhere, and that is used"
    ALTERED = "a client has changed or deleted it in the FHIR store, and that stands"
    FOR_ANOTHER = "the FHIR store has it for another patient, so it is not written"
    MERGED = "its patient's chart was merged, so it is not written"


def keep_order(
    conn: Connection,
    order: ImagingOrder,
    *,
    patient: PatientKey,
    derived_id: str,
    demographics: Demographics,
    worklist: str,
    now: datetime,
) -> Kept:
    """Write an order as a ServiceRequest with its Provenance unless it is here; return what became of it.

    It is looked for by patient, accession number and issuer, under the lock that a conditional create (R4
    3.1.0.8.1) by that identifier takes: of many that say the same order at once one writes it. Ours is changed
    only when the order has changed, and only while its last version is ours.

    derived_id: the id of the Patient to write where none has this identifier, as `find_or_add_patient`.
    """
    number = order.accession_number
    lock_key(conn, condition_key("ServiceRequest", [("identifier", f"{order.accession_system}|{number}")]))
    lock_writers(conn)
    ident = derived("order", derived_id, order.accession_system, number)
    if ordered_for_another(conn, patient, number, order.accession_system):
        return Kept.FOR_ANOTHER
    probe = imaging_order(order, resource_id=ident, patient_id=derived_id)
    here = requests_of(conn, patient, number)
    if any(one["id"] != ident and is_same(one, probe, number) for one in here):
        return Kept.THEIRS
    if not _is_untouched(conn, ident):
        return Kept.ALTERED
    try:
        subject = find_or_add_patient(conn, patient, derived_id, now, demographics)
    except PreconditionMissing:
        return Kept.MERGED
    if not publish(conn, [imaging_order(order, resource_id=ident, patient_id=subject)], now):
        return Kept.KNOWN
    version = versions_of(conn, [("ServiceRequest", ident)])["ServiceRequest", ident]
    source = order_provenance(
        order,
        resource_id=_provenance_id(ident, version),
        order_id=ident,
        version=version,
        worklist=worklist,
        recorded=now,
    )
    publish(conn, [source], now)
    return Kept.WRITTEN


def _is_untouched(conn: Connection, ident: str) -> bool:
    """Tell whether the last version is ours, which has a Provenance of ours, or there never was one."""
    last = latest(conn, "ServiceRequest", ident)
    if last is None:
        return True
    return not last.deleted and read(conn, "Provenance", _provenance_id(ident, last.stored.version)) is not None


def _provenance_id(ident: str, version: int) -> str:
    return derived("order-provenance", ident, str(version))
