"""Who is told of steps that others created here (PS3.4 CC.2.3): a row for each AE and step, or all steps.

An AE with a global subscription gets a row of each new step. So a step's rows are all who are told of it, and one
that an AE has unsubscribed from stays so.
"""

from sqlalchemy import ColumnElement, Connection, select, update

from record_store.sql import insert_missing, insert_once
from record_store.tables import own_step, ups_subscription

GLOBAL = "1.2.840.10008.5.1.4.34.5"  # the well-known UID that stands for all steps
_KEY = ["receiving_ae", "workitem_uid"]


def subscribe(conn: Connection, receiving_ae: str, uid: str, *, lock: bool) -> None:
    """Subscribe an AE to a step, or to those to come (GLOBAL). lock: the step is kept until this ends."""
    row = {"receiving_ae": receiving_ae, "workitem_uid": uid, "deletion_lock": int(lock)}
    if not insert_once(conn, ups_subscription, row, _KEY):
        conn.execute(update(ups_subscription).where(_of(receiving_ae, uid)).values(deletion_lock=int(lock)))


def subscribe_to_all(conn: Connection, receiving_ae: str, *, lock: bool) -> list[str]:
    """Subscribe an AE to all steps, those to come too; return what there is. One of its own to a step stays so."""
    subscribe(conn, receiving_ae, GLOBAL, lock=lock)
    uids = list(conn.execute(select(own_step.c.workitem_uid).order_by(own_step.c.workitem_uid)).scalars())
    rows = [{"receiving_ae": receiving_ae, "workitem_uid": uid, "deletion_lock": int(lock)} for uid in uids]
    if rows:
        insert_missing(conn, ups_subscription, rows, _KEY)
    return uids


def unsubscribe(conn: Connection, receiving_ae: str, uid: str) -> None:
    """End an AE's subscription to a step, or to those to come (GLOBAL)."""
    conn.execute(ups_subscription.delete().where(_of(receiving_ae, uid)))


def unsubscribe_from_all(conn: Connection, receiving_ae: str) -> None:
    """End every subscription of an AE."""
    conn.execute(ups_subscription.delete().where(ups_subscription.c.receiving_ae == receiving_ae))


def inherit(conn: Connection, uid: str) -> None:
    """Subscribe those to a new step who are subscribed to all."""
    table = ups_subscription.c
    for row in conn.execute(select(table.receiving_ae, table.deletion_lock).where(table.workitem_uid == GLOBAL)):
        subscribe(conn, row.receiving_ae, uid, lock=bool(row.deletion_lock))


def told_of(conn: Connection, uid: str) -> list[str]:
    """Return the AEs that are told of a step."""
    table = ups_subscription.c
    query = select(table.receiving_ae).where(table.workitem_uid == uid).order_by(table.receiving_ae)
    return list(conn.execute(query).scalars())


def everybody(conn: Connection) -> list[str]:
    """Return the AEs that are subscribed to anything."""
    table = ups_subscription.c
    return list(conn.execute(select(table.receiving_ae).distinct().order_by(table.receiving_ae)).scalars())


def purge(conn: Connection) -> None:
    """Remove subscriptions to steps that are no more."""
    table = ups_subscription.c
    gone = ~select(own_step.c.workitem_uid).where(own_step.c.workitem_uid == table.workitem_uid).exists()
    conn.execute(ups_subscription.delete().where(table.workitem_uid != GLOBAL, gone))


def _of(receiving_ae: str, uid: str) -> ColumnElement[bool]:
    return (ups_subscription.c.receiving_ae == receiving_ae) & (ups_subscription.c.workitem_uid == uid)
