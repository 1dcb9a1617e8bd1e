"""Asks the archive how many objects open studies have, beside the loop that closes them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import structlog

from clinical.clock import Clock
from dicom_node.expected_count import Counted
from record_store.audit import digest
from record_store.database import Database
from record_store.evidence import ToAsk, claim_count, record_count, to_count

POLL_S = 0.1
AGAIN_S = 5.0  # after which an archive that counts otherwise, or says nothing, is asked once more
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Counting:
    """archive: its name in CONSILIUM_PACS, for what it holds of ours. quiet_s: the usual quiet time of a study."""

    db: Database
    archive: str
    count: Callable[[str], Counted]
    quiet_s: float
    now: Clock

    def once(self) -> int:
        """Ask about what is due and write down what is said; return how many studies were asked about.

        Several workers may run it: each question is claimed, and one that is lost with its worker is put again.
        """
        quiet, again = timedelta(seconds=self.quiet_s), timedelta(seconds=AGAIN_S)
        with self.db.read() as conn:
            wanted = to_count(conn, self.now(), quiet, again)
        return sum(self._ask(one) for one in wanted)

    def _ask(self, wanted: ToAsk) -> bool:
        asked_at = self.now()
        with self.db.write(durable=False) as conn:
            if not claim_count(conn, wanted, asked_at):
                return False
        said = self.count(wanted.study_uid)
        with self.db.write(durable=False) as conn:
            record_count(conn, wanted.study_uid, self.archive, said.objects, said.problem, asked_at)
        log.info("archive asked", study=digest(wanted.study_uid), count=said.objects, problem=said.problem)
        return True
