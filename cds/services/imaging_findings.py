"""`imaging-findings` at patient-view: what models saw in this patient's images, with a link to look at it.

A study in which the model found nothing gives no card, like a patient without images: the report in the FHIR
API says that it was read. That is the one meaning of an empty list here. Images that a model should have read
and has not are a card of their own, with the reason. A store that cannot be asked is 503, a patient whose
identifiers cannot be matched is 412.
"""

from collections.abc import Sequence

from cds.card import Card, Source
from cds.hooks import PATIENT_VIEW
from cds.imaging import (
    MAX_READINGS,
    MAX_UNREAD,
    NOTE,
    about_size,
    latest_by_study,
    patient_keys,
    score,
    size,
    unread_card,
)
from cds.markdown import escape, paragraphs, table
from cds.override_reasons import OF_AN_IMAGE
from cds.prefetch import PrefetchTemplate
from cds.service import CdsContext, HookCall, Service
from clinical.finding import PROBABILITY_DECIMALS, Finding
from clinical.risk import Indicator
from model_runtime.engine import Engine
from record_store.readings import StoredReading, readings_of_patient
from record_store.unread import unread_of_patient

MAX_CARDS = 3
MAX_ROWS = 10


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
    studies = [study for study in latest_by_study(readings) if any(item.reading.findings for item in study)]
    cards = [_card(study, context) for study in studies[:MAX_CARDS]]
    return (*cards, unread_card(unread, context, "imaging findings")) if unread else tuple(cards)


def _card(study: Sequence[StoredReading], context: CdsContext) -> Card:
    images = [stored for stored in study if stored.reading.findings]
    first = images[0]
    return Card(
        uuid=context.new_uuid(),
        summary=_summary(images),
        indicator=Indicator.WARNING,
        source=Source(f"Consilium, model {first.reading.model.label}", first.reading.terms.observation),
        detail=_detail(images),
        links=tuple(
            context.links.overlay(_link_label(number, len(images)), stored.reading_id)
            for number, stored in enumerate(images[:MAX_ROWS], start=1)
        ),
        override_reasons=OF_AN_IMAGE,
    )


def _readable(engine: Engine) -> frozenset[str] | None:
    """Return the modalities that some model reads; None (any) when none is here or one cannot say."""
    states = engine.ready()
    if any(state.version is None for state in states):
        return None
    read = (engine.manifest(state.name).modalities for state in states)
    return frozenset(modality for modalities in read for modality in modalities) or None


def _link_label(number: int, of: int) -> str:
    return "Show the image with the findings" if of == 1 else f"Show image {number} with the findings"


def _summary(images: Sequence[StoredReading]) -> str:
    findings = [finding for stored in images for finding in stored.reading.findings]
    label = images[0].reading.terms.label
    count = f"{len(findings)} possible {label}" + ("s" if len(findings) > 1 else "")
    largest = max(findings, key=_by_size).long_axis
    read_on = images[0].created_at.date().isoformat()
    extent = f"largest {size(largest)}" if len(findings) > 1 else size(largest)
    return f"{count} ({extent}) in a {images[0].reading.image.modality} image read on {read_on}"


def _by_size(finding: Finding) -> tuple[bool, float]:
    # Millimetres before pixels: the two cannot be compared.
    return (finding.has_length, finding.long_axis.value)


def _detail(images: Sequence[StoredReading]) -> str:
    first = images[0]
    rows = [
        (str(number), str(finding.number), size(finding.long_axis), size(finding.short_axis), score(finding))
        for number, stored in enumerate(images, start=1)
        for finding in stored.reading.findings
    ]
    more = f"{len(rows) - MAX_ROWS} more on the linked pages." if len(rows) > MAX_ROWS else ""
    threshold = f"{first.reading.threshold:.{PROBABILITY_DECIMALS}f}"
    return paragraphs(
        table(("Image", "Finding", "Long axis", "Short axis", "Probability"), rows[:MAX_ROWS]),
        more,
        about_size(images),
        _assessed(images),
        next((stored.reading.caveat for stored in images if stored.reading.degraded), ""),
        f"Probability is the model's score; a finding is reported from {threshold}.",
        f"Read on {first.created_at:%Y-%m-%d %H:%M} UTC. Model: {escape(first.reading.model.label)} "
        f"(sha256 {first.reading.model.digest[:12]})",
        f"*{NOTE}*",
    )


def _assessed(images: Sequence[StoredReading]) -> str:
    """Say what was made of each finding when it was read, by models that assess them."""
    said = [
        f"image {number}, finding {lesion.finding}: {lesion.in_words}"
        for number, stored in enumerate(images, start=1)
        for lesion in stored.reading.lesions
    ]
    return f"Assessed when read: {'; '.join(said[:MAX_ROWS])}." if said else ""


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
