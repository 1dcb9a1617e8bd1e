"""Tells senders whether we keep what they sent (storage commitment as SCP): only what can be read back is kept.

The dicom process keeps the question and tells on its association when the sender waits there; what it could not
tell, after a restart as well, a worker tells on an association of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import structlog

from clinical.clock import Clock
from clinical.errors import ClinicalError, Fault, NotFound
from consilium.wiring import House
from dicom_node.commitment import CommitmentAnswer
from dicom_node.commitment_scp import Report, TransactionReused, answer_for, report_to
from dicom_node.destinations import Destination
from record_store import commitment_requests
from record_store.audit import append as append_audit
from record_store.audit import digest
from record_store.blobs import Blobs
from record_store.commitment_requests import CommitmentRequest
from record_store.database import Database
from record_store.deliveries import RetryPolicy

SAME_ASSOCIATION_S = 15.0  # how long the association of the question has to itself
LEASE_S = 300.0
NO_ADDRESS = "CONSILIUM_NODES has no address of this sender"
Tell = Callable[[Destination, str, CommitmentRequest, CommitmentAnswer], str | None]
log = structlog.get_logger()


def vouching_of(house: House) -> "Vouching":
    """Return who keeps questions and tells answers in this process."""
    return Vouching(house.db, house.blobs, house.nodes, house.settings.ae_title, house.delivery_retry, house.now)


@dataclass(frozen=True, slots=True)
class Vouching:
    """Keeps questions and tells answers. nodes: where AEs are reached, by title. tell: on a new association."""

    db: Database
    blobs: Blobs
    nodes: Mapping[str, Destination]
    ae_title: str
    retry: RetryPolicy
    now: Clock
    tell: Tell = report_to

    def keep(self, request: CommitmentRequest) -> Callable[[Report | None], None]:
        """Commit a question; return what tells its answer on the question's own association, or that it is over.

        Raises TransactionReused, and Busy when the database is away or too many questions of the sender wait.
        """
        now = self.now()
        with self.db.write() as conn:
            first = now + timedelta(seconds=SAME_ASSOCIATION_S)
            if not commitment_requests.keep(conn, request, now, first):
                raise TransactionReused("the transaction UID stands for other objects")
        log.info("commitment requested", calling_ae=request.calling_ae, count=len(request.objects))
        return lambda report: self._tell_here(request, report)

    def _tell_here(self, request: CommitmentRequest, report: Report | None) -> None:
        """Tell on the association of the question; None: it is over, so a worker tells at once."""
        try:
            if report is not None:
                claimed = commitment_requests.claim_this(self.db, request, self.now(), LEASE_S)
                if claimed is None:
                    return  # a worker was faster
                problem = report(self.answer(claimed))
                if problem is None:
                    self._told(claimed, None)
                    return
                log.info("commitment not told here", calling_ae=request.calling_ae, problem=problem)
                request = claimed
            with self.db.write() as conn:
                commitment_requests.due_now(conn, request, self.now())
        except ClinicalError as error:  # the edge of the association's thread; the row stays due
            log.warning("commitment not told here", category=error.category, problem=error.message)

    def due(self) -> list[str]:
        """Return the AE titles of senders to whom an answer is due."""
        return commitment_requests.due_senders(self.db, self.now())

    def tell_sender(self, ae_title: str) -> bool:
        """Tell a sender what is due, on associations of our own; False when it cannot be told."""
        while (request := commitment_requests.claim(self.db, ae_title, self.now(), LEASE_S)) is not None:
            node = self.nodes.get(ae_title)
            problem = NO_ADDRESS if node is None else self.tell(node, self.ae_title, request, self.answer(request))
            if not self._told(request, problem):
                return False
        return True

    def answer(self, request: CommitmentRequest) -> CommitmentAnswer:
        """Return which objects are kept: the bytes of each are read back and checked. Raises Busy."""
        with self.db.read() as conn:
            held = commitment_requests.held(conn, [uid for _, uid in request.objects])
        damaged = frozenset(uid for uid, (_, sha256) in held.items() if not self._readable(sha256))
        return answer_for(request, {uid: sop_class for uid, (sop_class, _) in held.items()}, damaged)

    def _readable(self, sha256: str) -> bool:
        try:
            with self.blobs.local_path(sha256):
                return True
        except (Fault, NotFound):
            return False

    def _told(self, request: CommitmentRequest, problem: str | None) -> bool:
        with self.db.write() as conn:
            state = commitment_requests.told(conn, request, problem, self.now(), self.retry)
            append_audit(
                conn,
                at=self.now(),
                action="commitment-told",
                outcome=state,
                actor=f"ae:{request.calling_ae}",
                subject=digest(request.transaction_uid),
                detail={"objects": len(request.objects), "attempt": request.attempts},
            )
        log.info("commitment told", calling_ae=request.calling_ae, result=state, problem=problem)
        return problem is None
