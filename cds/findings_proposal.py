"""What a card of imaging findings offers: that a person reads the images, and to record what was found."""

from collections.abc import Sequence

from cds.card import Action, Suggestion
from cds.imaging import size
from cds.service import CdsContext
from clinical.codes import CHEST_IMAGING_STUDY
from clinical.finding import Finding
from clinical.uids import tracking_uid
from fhir_adapters.resources.proposals import recorded_finding, service_request
from record_store.readings import StoredReading

MAX_ROWS = 10
READ_BY_A_PERSON = "Reading of the images by a radiologist"


def suggestions(images: Sequence[StoredReading], patient_id: str, context: CdsContext) -> tuple[Suggestion, ...]:
    """Return the suggestions; that a person looks is the recommended one. images: with findings."""
    first = images[0].reading
    why = f"{first.terms.label} possible, by {first.model.label}"
    read = service_request(
        CHEST_IMAGING_STUDY,
        patient_id=patient_id,
        authored=context.now(),
        why=f"{why[:1].upper()}{why[1:]}.",
        text=READ_BY_A_PERSON,
    )
    found = [(stored, finding) for stored in images for finding in stored.reading.findings][:MAX_ROWS]
    many = len(found) > 1
    return (
        Suggestion(
            label="Ask a radiologist to read the images",
            uuid=context.new_uuid(),
            actions=(Action("create", f"Draft the order: {READ_BY_A_PERSON}", read),),
            is_recommended=True,
        ),
        Suggestion(
            label=f"Record the {f'{len(found)} findings' if many else 'finding'} in the chart",
            uuid=context.new_uuid(),
            actions=tuple(_record(stored, finding, patient_id, context) for stored, finding in found),
        ),
    )


def _record(stored: StoredReading, finding: Finding, patient_id: str, context: CdsContext) -> Action:
    reading = stored.reading
    return Action(
        "create",
        f"Record finding {finding.number}, {reading.terms.label} of {size(finding.long_axis)}, as an Observation",
        recorded_finding(
            reading,
            finding,
            tracking_uid=tracking_uid(stored.reading_id, finding.number),
            patient_id=patient_id,
            issued=context.now(),
        ),
    )
