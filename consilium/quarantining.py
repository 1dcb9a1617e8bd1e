"""What an operator does with objects in quarantine: looks, lets one be tried again, gives it out, removes it.

Two kinds lie there. What was refused as malformed is in a folder of its own (`record_store.quarantine_folder`); an
image that was stored and ended its decoder three times stays in the store and is only not decoded any more
(`record_store.quarantine`).
"""

import mmap
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from clinical.errors import ClinicalError, IncorrectInput, NotFound, Unsupported
from consilium.operator import checked_operator
from consilium.wiring import House
from record_store import quarantine
from record_store.audit import append
from record_store.instances import Taken
from record_store.quarantine_folder import Quarantined

REFUSED, DECODER = "refused", "decoder"
SHOWN_DIGITS = 12
_WORDS = {
    Taken.NEW: "stored; its study goes on as after any image",
    Taken.SAME: "it was here already, with the same bytes",
    Taken.DIFFERENT: "another object has this SOP Instance UID; the first one is kept",
}
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Released:
    """What became of one that was tried again. is_out: it is not in quarantine any more."""

    is_out: bool
    words: str


def rows(house: House) -> list[Row]:
    """Return what is in quarantine, the last refused first; without patient data."""
    with house.db.read() as conn:
        images = quarantine.quarantined(conn)
    refused = [
        {
            "object": one.sha256[:SHOWN_DIGITS],
            "kind": REFUSED,
            "last": one.last_at,
            "times": one.times,
            "from": one.refusal.calling,
            "address": one.refusal.address,
            "status": f"0x{one.refusal.status:04X}",
            "bytes": one.size,
            "why": one.refusal.why,
        }
        for one in house.quarantine.entries()
    ]
    why = f"it ended its decoder {quarantine.MOST_TRIES} times"
    blank = dict.fromkeys(("last", "times", "from", "address", "status", "bytes"))
    return refused + [{"object": one, "kind": DECODER, **blank, "why": why} for one in images]


def details(house: House, name: str) -> Row:
    """Return all that is known of an object that was refused. Raises NotFound, IncorrectInput."""
    one = house.quarantine.named(name)
    said = {name: value for name, value in asdict(one).items() if name != "refusal"}
    return said | asdict(one.refusal) | {"status": f"0x{one.refusal.status:04X}"}


def release(house: House, name: str, by: str) -> Released:
    """Try an object again by the one intake, as when it came; what is taken, or is here, leaves the quarantine.

    An image that ended its decoder may be decoded again. Raises NotFound, IncorrectInput, and Busy when the store
    is full or the database away.
    """
    actor = checked_operator(by)
    if _release_image(house, name, actor):
        return Released(True, "it may be decoded again; 'consilium jobs --retry' queues its study")
    one = house.quarantine.named(name)
    outcome, words = _taken(house, one)
    is_out = outcome in {Taken.NEW, Taken.SAME}
    with house.db.write() as conn:
        _audit(conn, house, one, "quarantine-released", actor, str(outcome), words)
    if is_out:
        house.quarantine.remove(one)
    return Released(is_out, words)


def export(house: House, name: str, to: Path, by: str) -> Path:
    """Write an object out as it came, for a vendor's support; return where. to: a new file, or a folder.

    It holds patient data. Raises NotFound, IncorrectInput when the file cannot be made.
    """
    actor, one = checked_operator(by), house.quarantine.named(name)
    target = to / f"{one.sha256}.dcm" if to.is_dir() else to
    try:
        descriptor = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as out, house.quarantine.path(one).open("rb") as file:
                # Before a byte is out, and not around them: the medium may be slow, and all who store would wait.
                with house.db.write() as conn:
                    _audit(conn, house, one, "quarantine-exported", actor, "exported", one.refusal.why)
                shutil.copyfileobj(file, out)
        except BaseException:
            target.unlink(missing_ok=True)  # half an object is of no use, and a patient's data all the same
            raise
    except OSError as error:
        raise IncorrectInput(f"the file cannot be written ({error.strerror})") from None
    return target


def remove(house: House, name: str, by: str) -> None:
    """Remove an object for good. Raises NotFound, IncorrectInput."""
    actor, one = checked_operator(by), house.quarantine.named(name)
    with house.db.write() as conn:
        _audit(conn, house, one, "quarantine-removed", actor, "removed", one.refusal.why)
        house.quarantine.remove(one)


def _release_image(house: House, name: str, actor: str) -> bool:
    with house.db.write() as conn:
        return quarantine.release(conn, name, house.now(), actor)


def _taken(house: House, one: Quarantined) -> tuple[Taken | str, str]:
    """Take an object; return what became of it: how it was taken or the error's category, and that in words."""
    from dicom_node.file_intake import FileIntake, open_file  # noqa: PLC0415 - pydicom, for this alone
    from dicom_node.header import Header  # noqa: PLC0415
    from dicom_node.intake import Intake, Sender  # noqa: PLC0415

    def refuse(header: Header) -> None:
        classes = house.image_classes
        if classes is not None and header.sop_class_uid not in classes:
            raise Unsupported("this SOP class is not stored here")

    said = one.refusal
    intake = Intake(house.db, house.blobs, house.issuers, house.now, restore=house.homecoming)
    files = FileIntake(intake, house.staging, house.settings.private_encodings)
    try:
        with house.quarantine.path(one).open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        opened = open_file(data)
        _, taken = files.take(opened, Sender(said.calling, said.called, said.fetched), refuse)
    except (IncorrectInput, Unsupported) as error:
        return str(error.category), f"refused again: {error.message}"
    except FileNotFoundError:  # it has given way, or somebody has removed it
        raise NotFound("no object has this digest") from None
    except ClinicalError:
        raise
    except Exception as error:  # noqa: BLE001 - as when it came: 0xC000
        return "fault", f"we failed over it again ({type(error).__name__})"
    return taken, _WORDS[taken]


def _audit(
    conn: Connection, house: House, one: Quarantined, action: str, actor: str, outcome: str, why: str
) -> None:
    append(
        conn,
        at=house.now(),
        action=action,
        outcome=outcome,
        actor=actor,
        subject=one.refusal.instance or one.sha256[:SHOWN_DIGITS],
        detail={"object": one.sha256[:SHOWN_DIGITS], "why": why},
    )
