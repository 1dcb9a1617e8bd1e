"""One audit row for each hook call, however it ended: who asked what, and never about whom."""

from dataclasses import dataclass

from cds.stages import CallRecord
from clinical.clock import Clock
from record_store.audit import row_of
from record_store.ledger import Row


@dataclass(frozen=True, slots=True)
class AuditOfCalls:
    """The stage `cds.stages.CallAudit`."""

    now: Clock

    def row(self, call: CallRecord) -> Row:
        """Return the row `hook-called`, whose outcome is "cards", "no-cards", "shadow" or an error's category."""
        return row_of(
            at=self.now(),
            action="hook-called",
            outcome=call.outcome,
            actor=f"client:{call.caller}",
            subject=f"service:{call.service_id}",
            detail={
                "hook": call.hook,
                "hook_instance": call.hook_instance,
                "cards": call.cards,
                "took_ms": call.took_ms,
            },
        )
