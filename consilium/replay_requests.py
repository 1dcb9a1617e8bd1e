"""Carries out what `$ai-replay` asks for, one request at a time; the web finds the answer in the table."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
import structlog

from clinical.clock import Clock
from clinical.errors import ClinicalError, Fault
from record_store import replays
from record_store.audit import append as append_audit
from record_store.database import Database
from record_store.replays import DONE, REFUSED, ReplayRow

if TYPE_CHECKING:
    from consilium.replaying import Replayed

POLL_S = 0.2
MOST_DIFFERENCES = 100
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ReplayRequests:
    """Takes requests from the table. run: `Replaying.run`."""

    db: Database
    run: "Callable[[str, str], Replayed]"
    now: Clock

    def once(self) -> int:
        """Carry out the request that waits longest; return how many there were (0 or 1)."""
        with self.db.read() as conn:
            request_id = replays.due(conn, self.now())
        if request_id is None:
            return 0
        with self.db.write() as conn:
            row = replays.row_of(conn, request_id) if replays.take(conn, request_id, self.now()) else None
        if row is not None:
            self._carry_out(row)
        return 1

    def _carry_out(self, row: ReplayRow) -> None:
        state, status, outcome = DONE, 200, "equal"
        try:
            replayed = self.run(row.type, row.resource_id)
            answer = told(replayed)
            outcome = "different" if replayed.differences else "equal"
        except ClinicalError as error:
            status, answer = _refusal(error)
            state, outcome = REFUSED, error.category.value
        except Exception as error:  # noqa: BLE001 - whatever it is, who asked hears of it and the next one is done
            # Its text may quote a patient's data; its kind and place cannot.
            where = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-4:]]
            log.error("replay failed", kind=type(error).__name__, where=where)  # noqa: TRY400
            fault = Fault("the result could not be computed again; the worker's log says where")
            status, answer = _refusal(fault)
            state, outcome = REFUSED, "fault"
        with self.db.write() as conn:
            replays.settle(conn, row.id, state, status, orjson.dumps(answer).decode(), self.now())
            append_audit(
                conn,
                at=self.now(),
                action="ai-replayed",
                outcome=outcome,
                actor="worker",
                subject=f"{row.type}/{row.resource_id}",
            )


def _refusal(error: ClinicalError) -> tuple[int, dict[str, Any]]:
    """Return the HTTP status and the OperationOutcome of an error."""
    from fhir_adapters.outcome import issue_of, operation_outcome  # noqa: PLC0415 - flask, and the validation's tables

    return issue_of(error)[1], operation_outcome(error)


def told(replayed: "Replayed") -> dict[str, Any]:
    """Return the comparison as Parameters."""
    from fhir_adapters.rest.ai import parameters as said  # noqa: PLC0415 - all of the FHIR API, for who asks

    shown = replayed.differences[:MOST_DIFFERENCES]
    return said.told(
        said.flag("equal", not replayed.differences),
        said.named("result", replayed.result),
        said.named("model", replayed.device),
        said.text("modelDigest", replayed.model.digest),
        said.text("inputDigest", replayed.input_sha256),
        said.number("differences", len(replayed.differences)),
        *(
            said.parts(
                "difference",
                said.text("place", one.place),
                said.text("stored", one.stored),
                said.text("computed", one.computed),
            )
            for one in shown
        ),
    )
