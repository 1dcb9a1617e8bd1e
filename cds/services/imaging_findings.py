"""`imaging-findings` at patient-view: what models saw in this patient's images, with a link to look at it.

A study in which the model found nothing gives no card, like a patient without images: the report in the FHIR
API says that it was read. That is the one meaning of an empty list here. Images that a model should have read
and has not are a card of their own, with the reason. A store that cannot be asked is 503, a patient whose
identifiers cannot be matched is 412.
"""

from collections.abc import Sequence

from cds.card import Card
from cds.findings_card import findings_card
from cds.hooks import PATIENT_VIEW
from cds.imaging import (
    MAX_READINGS,
    MAX_UNREAD,
    latest_by_study,
    patient_keys,
    still_standing,
    unread_card,
)
from cds.prefetch import PrefetchTemplate
from cds.service import CdsContext, HookCall, Service
from model_runtime.engine import Engine
from record_store.readings import readings_of_patient
from record_store.unread import unread_of_patient

MAX_CARDS = 3


def answer(call: HookCall, context: CdsContext) -> Sequence[Card]:
    """Return one card for each of the newest studies whose latest readings found something, and one for
    all that are not read.

    Raises PreconditionMissing (412) when the Patient has no identifier with a system, Busy (503) when the
    store is away.
    """
    keys = patient_keys(call.prefetch["patient"].resources())
    with context.db.read() as conn:
        readings = readings_of_patient(conn, keys, MAX_READINGS)
        unread = unread_of_patient(conn, keys, _readable(context.engine), MAX_UNREAD)
    readings, recalled = still_standing(readings)
    unread = [*unread, *recalled]
    studies = [study for study in latest_by_study(readings) if any(item.reading.findings for item in study)]
    patient_id = call.request.patient_id
    cards = [findings_card(study, patient_id, context) for study in studies[:MAX_CARDS]]
    return (*cards, unread_card(unread, context, "imaging findings")) if unread else tuple(cards)


def _readable(engine: Engine) -> frozenset[str] | None:
    """Return the modalities that some model reads; None (any) when none is here or one cannot say."""
    states = engine.ready()
    if any(state.version is None for state in states):
        return None
    read = (engine.manifest(state.name).modalities for state in states)
    return frozenset(modality for modalities in read for modality in modalities) or None


SERVICE = Service(
    id="imaging-findings",
    hook=PATIENT_VIEW,
    title="Imaging findings",
    description="Shows what models found in this patient's images: number, size, probability, and a link to the "
    "image with each finding outlined. Research demonstration, not a medical device.",
    prefetch=(PrefetchTemplate("patient", "Patient/{{context.patientId}}", required=True),),
    answer=answer,
    usage_requirements="The Patient needs an identifier (system and value) of an issuer that the archive knows.",
)
