"""What worklists say of steps in progress here: that somebody wants one canceled, or that it is already."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from clinical.clock import Clock
from record_store import workitems
from record_store.audit import append as append_audit
from record_store.audit import digest
from record_store.database import Database

if TYPE_CHECKING:
    from consilium.wiring import House

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Heeding:
    """worklists: their names by the AE title that they call us with. Another AE cancels nothing of theirs."""

    db: Database
    worklists: Mapping[str, str]
    now: Clock

    def __call__(self, calling_ae: str, uid: str, over: bool) -> None:
        """Have the performer look at it. over: it is canceled over there already, which the worklist will tell."""
        worklist = self.worklists.get(calling_ae)
        if worklist is None:
            log.warning("event of no worklist", calling_ae=calling_ae)
            return
        with self.db.write() as conn:
            asked = workitems.ask_to_cancel(conn, worklist, uid, self.now())
            if asked:
                append_audit(
                    conn,
                    at=self.now(),
                    action="workitem-cancel-asked",
                    outcome="canceled" if over else "asked",
                    actor=f"ae:{calling_ae}",
                    subject=digest(uid),
                    detail={"worklist": worklist},
                )
        log.info("workitem cancel asked", workitem=digest(uid), destination=worklist, result=asked)


def heeding_of(house: "House") -> Heeding:
    """Return who heeds the worklists of a house."""
    known = {one.ae_title: one.name for one in house.settings.ups if one.ae_title}
    return Heeding(house.db, known, house.now)
