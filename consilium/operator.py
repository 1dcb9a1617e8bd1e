"""What an operator asks of the store: which studies, which deliveries, and to try again."""

from typing import Any

from sqlalchemy import select

from consilium.settings import Settings
from consilium.wiring import House
from record_store import deliveries
from record_store.audit import digest
from record_store.tables import study

Row = dict[str, Any]


def list_studies(settings: Settings) -> list[Row]:
    """Return the studies, newest first, by digest: a study's UID belongs to a patient."""
    with House(settings).db.read() as conn:
        rows = conn.execute(select(study).order_by(study.c.last_received_at.desc()).limit(200)).mappings().all()
    return [
        {
            "study": digest(row["study_uid"]),
            "state": row["state"],
            "revision": row["revision"],
            "instances": row["instances"],
            "last received": row["last_received_at"],
            "held because": row["hold_reason"],
        }
        for row in rows
    ]


def list_deliveries(settings: Settings, state: str | None) -> list[Row]:
    """Return deliveries of one state, or all."""
    with House(settings).db.read() as conn:
        found = deliveries.deliveries(conn, state)
    return [
        {
            "object": digest(one.sop_instance_uid),
            "destination": one.destination,
            "state": one.state,
            "attempts": one.attempts,
            "status": None if one.last_status is None else f"0x{one.last_status:04X}",
            "problem": one.last_problem,
        }
        for one in found
    ]


def resend_dead(settings: Settings) -> int:
    """Make every dead delivery due again; return how many."""
    house = House(settings)
    with house.db.write() as conn:
        dead = deliveries.deliveries(conn, deliveries.DEAD)
        for one in dead:
            deliveries.resend(conn, one.sop_instance_uid, one.destination, house.now())
    return len(dead)
