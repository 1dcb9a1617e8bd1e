"""What a loss of power took is made anew from the journals of dead processes, before anybody is served.

Every object that was answered with Success is in one of them or on the disk. One that was not answered may be
there too, whole: it is stored then, and its sender's next try finds it.
"""

import hashlib

import structlog
from sqlalchemy import select

from clinical.clock import Clock
from clinical.errors import Fault, IncorrectInput, NotFound
from record_store.arrival_row import from_bytes
from record_store.blobs import Blobs
from record_store.database import Database
from record_store.instances import ReceivedInstance, record_instances
from record_store.journal import SUFFIX, Entry, JournalFile
from record_store.parts import PartFile
from record_store.tables import instance as instance_table

log = structlog.get_logger()


def replay(db: Database, blobs: Blobs, now: Clock) -> int:
    """Store what is missing, make all of it durable and take the journals away; return how many were missing.

    Raises Busy or Fault when store or database is away; the journals stay then.
    """
    missing = 0
    for path in sorted(blobs.staging.glob(f"*{SUFFIX}")):
        journal = JournalFile.left_behind(path)
        if journal is None:
            continue
        try:
            missing += _replay_one(journal, db, blobs, now)
        finally:
            journal.close()
        path.unlink(missing_ok=True)
    return missing


def _replay_one(journal: JournalFile, db: Database, blobs: Blobs, now: Clock) -> int:
    missing, names = 0, []
    for entry in journal.entries():
        try:
            instance = from_bytes(entry.row)
        except IncorrectInput as error:
            # Never thrown away unseen: the file stays, under a name that no start looks at.
            journal.path.rename(journal.path.with_suffix(".unread"))
            log.error("journal not read", why=error.message)  # noqa: TRY400
            break
        missing += _restore(journal, entry, instance, db, blobs, now)
        names.append(instance.sha256)
    blobs.settle(names)
    db.settle()
    return missing


def _restore(
    journal: JournalFile, entry: Entry, instance: ReceivedInstance, db: Database, blobs: Blobs, now: Clock
) -> bool:
    with db.read() as conn:
        uid = instance_table.c.sop_instance_uid
        known = conn.execute(
            select(instance_table.c.sha256).where(uid == instance.sop_instance_uid)
        ).scalar_one_or_none()
    if known not in (None, instance.sha256):
        return False  # it was refused: its UID had other bytes
    is_here = _is_here(blobs, instance.sha256)
    if not is_here:
        data = journal.read(entry)
        if hashlib.sha256(data).hexdigest() != instance.sha256:
            return False  # not whole, so its flush was never over and nobody was told of it
        part = PartFile.new(blobs.staging)
        part.write([data])
        (error,) = blobs.adopt_all([part])
        if error is not None:
            raise error
    if known is None:
        with db.record() as run:
            record_instances(run, db.dialect, [instance], now())
    return not is_here or known is None


def _is_here(blobs: Blobs, sha256: str) -> bool:
    try:
        blobs.get(sha256)
    except (NotFound, Fault):  # absent, or damaged: then it is replaced
        return False
    return True
