"""Results that cards tell are kept, in the transaction that records the cards; a worker files them as resources.

Only with the right patient known: by the identifiers of the Patient that was sent, or by its id where the caller's
FHIR server is this one. Whether such a chart is here is looked up when the result is filed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from cds.call import HookCall
from cds.caller import Caller
from cds.guidance import Guidance
from cds.imaging import patient_keys
from clinical.clock import Clock
from clinical.errors import PreconditionMissing
from clinical.identity import PatientKey
from clinical.said import Said, SaidRisk
from record_store import ai_results
from record_store.ledger import Row


@dataclass(frozen=True, slots=True)
class ResultLog:
    """The stage `cds.stages.ResultRows`.

    fhir_base: of this server, as clients name it. speaks_for_us: tells whether a caller may say that its patients
    are this server's: else whoever may call a hook could have a result filed into any chart here by its id.
    """

    now: Clock
    fhir_base: str
    speaks_for_us: Callable[[Caller], bool] = lambda _caller: True

    def rows(self, call: HookCall, guidance: Guidance) -> Iterator[Row]:
        """Yield a row for each result of the cards."""
        said = [card.about.said for card in guidance.cards if card.about.said is not None]
        keys = _keys(call) if said else ()
        server: str | None = (call.request.fhir_server or "").rstrip("/")
        chart = None
        if server == self.fhir_base.rstrip("/"):
            trusted = self.speaks_for_us(call.caller)
            chart, server = (call.request.patient_id, "") if trusted else (None, None)
        if keys or chart:
            for one in said:
                yield ai_results.row_of(named(one, server if chart else server or None), keys, chart, self.now())


def named(said: Said, server: str | None) -> Said:
    """Return a result whose sources are named for this server.

    server: FHIR base of the server that they are of, "" for this one. None: nobody said which it is, and a
    reference without it would name another resource here.
    """

    def absolute(source: str | None) -> str | None:
        if source is None or server is None:
            return None
        return f"{server}/{source}" if server else source

    sources = tuple(one for each in said.sources if (one := absolute(each)))
    if not isinstance(said.what, SaidRisk):
        return replace(said, sources=sources)
    inputs = tuple(replace(one, source=absolute(one.source)) for one in said.what.risk.inputs)
    risk = replace(said.what.risk, inputs=inputs)
    return replace(said, sources=sources, what=replace(said.what, risk=risk))


def _keys(call: HookCall) -> tuple[PatientKey, ...]:
    patient = call.prefetch.get("patient")
    try:
        return () if patient is None else patient_keys(patient.resources())
    except PreconditionMissing:
        return ()
