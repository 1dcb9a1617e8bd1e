"""The one way by which an object becomes ours: durable, committed and queued. C-STORE and STOW-RS take it.

A content-addressed blob (fsync, rename, fsync of the folder), then one committed transaction with instance,
study and audit; only then is it acknowledged.
"""

import re
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import structlog

from clinical.clock import Clock
from clinical.errors import Busy, Fault
from clinical.identity import IssuerTable
from clinical.uids import uid_digest
from dicom_node.header import Header
from dicom_node.uids import checked_uid
from record_store import audit
from record_store.blobs import Blobs
from record_store.database import Database
from record_store.instances import ReceivedInstance, Taken
from record_store.parts import PartFile
from record_store.taking import Flush, NotCommitted, Taking

__all__ = ["Intake", "NotCommitted", "Sender", "check_uids"]

_CODE_STRING = re.compile(r"[A-Z0-9 _]{1,16}")  # PS3.5 6.2: what is none names no modality

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent it and as whom it called us: as the instance's row keeps them, at most 16 characters each.

    fetched: we have asked for it.
    """

    calling: str
    called: str
    fetched: bool = False


Restore = Callable[[Path, Header, Sender], Header | None]


def as_it_came(_path: Path, _header: Header, _sender: Sender) -> Header | None:
    """Leave an object's identity as it is."""
    return None


class Intake:
    """Where objects go. fault: called at "before-commit" and "after-commit", for tests that crash there.

    restore: gives an object that comes back under a pseudonym its own identity: it rewrites the file and returns
    the new header, or None for an object that is no such. It may raise any ClinicalError to refuse it.
    """

    def __init__(
        self,
        db: Database,
        blobs: Blobs,
        issuers: IssuerTable,
        now: Clock,
        fault: Callable[[str], None] = lambda _point: None,
        restore: Restore = as_it_came,
        flush: Flush = Flush.FILES,
    ) -> None:
        self.db, self.now = db, now
        self._restore = restore
        self._issuers = issuers
        self._taking = Taking(db, blobs, now, fault, flush)
        self._take, self._tells = self._taking.take, True
        self.start, self.stop = self._taking.start, self._taking.stop

    def rehearsing(self) -> "Intake":
        """Return one that does the same with an object, takes it back (`record_store.taking`) and tells nobody."""
        other = copy(self)
        other._take, other._tells = self._taking.rehearse, False  # noqa: SLF001 - one of ours
        return other

    def take(self, path: Path, header: Header, transfer_syntax: str, sender: Sender) -> Taken:
        """Store a finished Part 10 file, as `take_part`; the file is gone afterwards."""
        return self.take_part(PartFile.of(path), header, transfer_syntax, sender)

    def take_part(self, part: PartFile, header: Header, transfer_syntax: str, sender: Sender) -> Taken:
        """Store a complete part whose header has been read and checked.

        When this returns, the object is durable and its study is queued. Raises what `record_store.taking` raises:
        NotCommitted when the database is away.
        """
        if self._restore is not as_it_came:  # else it needs no file yet
            path = part.path
            if (restored := self._restore(path, header, sender)) is not None:
                part.close()
                header, part = restored, PartFile.of(path)
        instance = ReceivedInstance(
            sop_instance_uid=header.sop_instance_uid,
            sop_class_uid=header.sop_class_uid,
            transfer_syntax_uid=transfer_syntax,
            study_uid=header.study_uid,
            series_uid=header.series_uid,
            modality=header.modality if _CODE_STRING.fullmatch(header.modality) else "",
            patient=self._issuers.from_dicom(header.issuer_of_patient_id, header.patient_id),
            sha256=part.sha256,
            size=part.size,
            calling_ae=sender.calling,
            called_ae=sender.called,
            fetched=sender.fetched,
        )
        taken = self._take(part, instance)
        if self._tells:
            self._say(instance, taken)
        return taken

    def _say(self, instance: ReceivedInstance, taken: Taken) -> None:
        # An association brings thousands, and says at its end how many (`scp`); each has its row in the audit.
        say = log.warning if taken is Taken.DIFFERENT else log.debug
        say(
            "instance received",
            instance=uid_digest(instance.sop_instance_uid),
            study=uid_digest(instance.study_uid),
            outcome=str(taken),
            size=instance.size,
        )

    def refused(
        self, sop_instance_uid: str, sender: Sender, outcome: str, why: str, *, audited: bool = True
    ) -> None:
        """Record what was not taken: nothing is lost without a trace.

        audited: False when the database has just not answered; the sender need not wait for it twice.
        """
        if not self._tells:
            return
        instance = uid_digest(sop_instance_uid)
        log.warning("instance refused", instance=instance, calling_ae=sender.calling, outcome=outcome, why=why)
        if not audited:
            return
        try:
            with self.db.write() as conn:
                audit.append(
                    conn,
                    at=self.now(),
                    action="instance-refused",
                    outcome=outcome,
                    actor=f"ae:{sender.calling}",
                    subject=instance,
                    detail={"why": why},
                )
        except (Busy, Fault):
            log.warning("refusal not audited", instance=instance)


def check_uids(header: Header) -> None:
    """Raise IncorrectInput unless the four UIDs of an object are UIDs."""
    checked_uid(header.study_uid, "Study Instance UID")
    checked_uid(header.series_uid, "Series Instance UID")
    checked_uid(header.sop_instance_uid, "SOP Instance UID")
    checked_uid(header.sop_class_uid, "SOP Class UID")
