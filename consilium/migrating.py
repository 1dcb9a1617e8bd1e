"""A database brought up in a process of its own: what that loads (Alembic) would stay with a role while it runs.

That was 14 MB of the process that came first, and in what it forks.
"""

import fcntl
import os
import traceback
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from clinical.errors import Busy, ClinicalError, Fault
from consilium.supervise import end_with_parent
from record_store.database import Database
from record_store.migrate import is_current, migrate


def migrate_apart(db: Database, folder: Path) -> None:
    """Do what `migrate_if_needed` does. To be called before there is a thread; db is closed afterwards.

    folder: where the processes of this machine wait for the first of them, so that the others load nothing for it.

    Raises Busy with the reason why it could not be done, Fault when a traceback of it is on stderr.
    """
    if is_current(db):
        return
    with (folder / "migrating.lock").open("w") as held:
        with suppress(OSError):  # a file system without locks: the database has its own
            fcntl.flock(held, fcntl.LOCK_EX)
        if not is_current(db):
            _in_a_child(db)


def _in_a_child(db: Database) -> None:
    db.dispose()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        _migrate(db, writing)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as said:
        why = said.read()
    _, status = os.waitpid(child, 0)
    if why:
        raise Busy(why)
    if status:
        raise Fault("the database could not be brought to the tables of this version")


def _migrate(db: Database, writing: int) -> NoReturn:
    code = 1
    try:
        end_with_parent()  # what is not committed is taken back, as when we were one
        migrate(db)
        code = 0
    except ClinicalError as error:
        os.write(writing, error.message.encode())
    except BaseException:  # noqa: BLE001 - the child's edge: behind it the parent's work would be done twice
        traceback.print_exc()
    finally:
        os._exit(code)
