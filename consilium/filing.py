"""Results of hook calls become FHIR resources, in the chart of the patient whom they are of, and in no other."""

from dataclasses import dataclass, replace

import structlog
from sqlalchemy import Connection

from clinical.clock import Clock
from clinical.errors import ClinicalError
from clinical.identity import PatientKey
from clinical.said import Said
from fhir_adapters.charts import surviving
from fhir_adapters.publish import is_recalled, publish, status_of, versions_of
from fhir_adapters.resources.model_card import AiModel, ai_model_of
from fhir_adapters.resources.said import said_ids, said_provenance, said_results
from model_runtime.engine import Engine
from record_store import ai_results
from record_store.ai_results import WaitingResult
from record_store.audit import append as append_audit
from record_store.audit import digest
from record_store.database import Database
from record_store.resource_history import latest
from record_store.resources import lock_writers

POLL_S = 0.5
AT_ONCE = 50
FILED, KNOWN, NO_CHART, RECALLED, NO_MODEL = "filed", "known", "no-chart", "recalled", "no-model"
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Filing:
    """Files what waits. engine: whose models' cards stand beside the results."""

    db: Database
    engine: Engine
    now: Clock

    def once(self) -> int:
        """File what waits and return how many rows were settled."""
        with self.db.read() as conn:
            waiting = ai_results.waiting(conn, AT_ONCE)
        for one in waiting:
            about = self._about(one.said)
            with self.db.write() as conn:
                outcome = NO_MODEL if about is None else self._file(conn, one, about)
                if outcome != FILED:
                    ai_results.remove(conn, one.row)
                self._audit(conn, one.said, outcome)
        return len(waiting)

    def _file(self, conn: Connection, one: WaitingResult, about: AiModel) -> str:
        """Write the resources, unless they are here or must not be; return what became of the result."""
        lock_writers(conn)
        chart = chart_of(conn, one)
        if chart is None:
            return NO_CHART
        ids = said_ids(one.said, chart)
        if latest(conn, "Provenance", ids.provenance) is not None:
            return KNOWN
        if is_recalled(conn, one.said.model):
            return RECALLED
        publish(conn, said_results(one.said, ids=ids, patient_id=chart, about=about), self.now())
        versions = versions_of(conn, [*ids.results, ("DocumentReference", about.card_id)])
        publish(conn, [said_provenance(one.said, ids=ids, versions=versions, about=about)], self.now())
        ai_results.filed(conn, one.row, ids.provenance)
        return FILED

    def _audit(self, conn: Connection, said: Said, outcome: str) -> None:
        append_audit(
            conn,
            at=self.now(),
            action="result-filed",
            outcome=outcome,
            actor=f"model:{said.model.name}/{said.model.version}",
            subject=digest(said.input_sha256),
        )
        log.info("result filed", model=said.model.name, outcome=outcome)

    def _about(self, said: Said) -> AiModel | None:
        """Return what is said of the model, also when another version has come since; None when none is here."""
        try:
            about = ai_model_of(self.engine, said.model.name, said.model.version)
        except ClinicalError:
            return None
        return replace(about, ref=said.model)


def chart_of(conn: Connection, one: WaitingResult) -> str | None:
    """Return the id of the one chart that all identifiers, and an id of ours, lead to.

    None when there is none, or more than one: a result in another's chart is worse than none.
    """
    found = _charts(conn, one.keys)
    if one.chart is not None and status_of(conn, "Patient", one.chart) is not None:
        found |= {one.chart}
    elif one.chart is not None:
        return None
    return next(iter(found)) if len(found) == 1 else None


def _charts(conn: Connection, keys: tuple[PatientKey, ...]) -> set[str]:
    return {chart for key in keys for chart in surviving(conn, key)}
