"""Asks the interlocks about a study that is about to be closed; what a person has released is not asked again."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from clinical.errors import IncorrectInput, NotFound
from consilium.interlocks import (
    MERGED,
    OTHER_PERSON,
    OTHER_SIDE,
    OTHERS_ORDER,
    SEVERAL_ORDERED,
    Interlocks,
    contradicts_chart,
    contradicts_order,
    why_held,
)
from consilium.selection import Selecting
from dicom_node.header import Header
from fhir_adapters.charts import charts_of
from fhir_adapters.orders import ordered_for_another, ordered_side, orders_of
from record_store.audit import digest
from record_store.database import Database
from record_store.instances import InstanceRow, instances_of, study_row
from record_store.study_orders import StudyOrder, order_of
from record_store.tables import audit
from record_store.times import from_text


@dataclass(frozen=True, slots=True)
class Holding:
    """Reads the headers of a study's images and says why it must be held.

    accession_system: FHIR identifier system of accession numbers whose issuer nobody states, "" for none.
    """

    db: Database
    selecting: Selecting
    interlocks: Interlocks
    accession_system: str = ""

    def reason(self, study_uid: str, modalities: Collection[str]) -> str | None:
        """Return why the study must be held, or None. modalities: of the images that models read."""
        with self.db.read() as conn:
            rows = instances_of(conn, study_uid)
            released = released_at(conn, study_uid)
        headers = [header for header in map(self._header, rows) if header and header.modality in modalities]
        seen = {row.sop_instance_uid for row in rows if released is not None and row.received_at <= released}
        with self.db.read() as conn:
            new = [header for header in headers if header.sop_instance_uid not in seen]
            doubt = merged(conn, study_uid) or self._other_person(conn, study_uid, new)
            if self.interlocks.order:
                doubt = doubt or against_the_order(order_of(conn, study_uid), new)
                doubt = doubt or self._others_order(conn, study_uid, new)
                doubt = doubt or self._other_side(conn, study_uid, new)
        return doubt or why_held(self.interlocks, headers, frozenset(seen))

    def _other_person(self, conn: Connection, study_uid: str, headers: Sequence[Header]) -> str | None:
        study = study_row(conn, study_uid)
        if not self.interlocks.chart or study is None or study.patient is None:
            return None
        charts = charts_of(conn, study.patient)
        return OTHER_PERSON if contradicts_chart(headers, charts.birth_dates, charts.genders) else None

    def _others_order(self, conn: Connection, study_uid: str, headers: Sequence[Header]) -> str | None:
        """Compare with the orders that our FHIR store has with the study's numbers, whoever put them there."""
        study = study_row(conn, study_uid)
        if study is None or study.patient is None:
            return None
        found = order_of(conn, study_uid)
        system = (found.accession_system if found else "") or self.accession_system
        for number in sorted({header.accession_number for header in headers} - {""}):
            if ordered_for_another(conn, study.patient, number, system):
                return SEVERAL_ORDERED if orders_of(conn, study.patient, number) else OTHERS_ORDER
        return None

    def _other_side(self, conn: Connection, study_uid: str, headers: Sequence[Header]) -> str | None:
        """Compare with the orders that our FHIR store has: by patient and accession number."""
        study = study_row(conn, study_uid)
        if study is None or study.patient is None:
            return None
        for number in sorted({header.accession_number for header in headers} - {""}):
            ordered = ordered_side(conn, study.patient, number)
            if contradicts_order([one for one in headers if one.accession_number == number], ordered):
                return OTHER_SIDE
        return None

    def _header(self, row: InstanceRow) -> Header | None:
        try:
            return self.selecting.image(row).header
        except (NotFound, IncorrectInput):
            return None  # its job will fail and say so


def against_the_order(order: StudyOrder | None, headers: Sequence[Header]) -> str | None:
    """Return what a study contradicts of its order, None when there is none. headers: that nobody has released."""
    if order is None or not headers:
        return None
    if order.stranger or order.several:
        return OTHERS_ORDER if order.stranger else SEVERAL_ORDERED
    return OTHER_SIDE if contradicts_order(headers, order.side) else None


def merged(conn: Connection, study_uid: str) -> str | None:
    """Return why a study's patient is in doubt by the charts, or None; asked anew when a chart has changed.

    A person who releases the study has seen the merge: its results then go to the chart that is in use.
    """
    study = study_row(conn, study_uid)
    charts = charts_of(conn, study.patient) if study and study.patient else None
    if charts is None or not charts.merged or charts.changed_at is None:
        return None
    released = released_at(conn, study_uid)
    return None if released is not None and released >= charts.changed_at else MERGED


def released_at(conn: Connection, study_uid: str) -> datetime | None:
    """Return when a person released a study last. The audit is the record of who looked."""
    query = select(func.max(audit.c.at)).where(
        audit.c.action == "study-released", audit.c.subject == digest(study_uid)
    )
    found = conn.execute(query).scalar_one()
    return None if found is None else from_text(found)
