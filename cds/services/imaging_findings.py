"""`imaging-findings` at patient-view: what models saw in this patient's images, with a link to look at it.

A study in which the model found nothing gives no card, like a patient without images: the report in the FHIR
API says that it was read. That is the one meaning of an empty list here. Images that a model should have read
and has not are a card of their own, with the reason. A store that cannot be asked is 503, a patient whose
identifiers cannot be matched is 412.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cds.card import Card, Link, Source
from cds.hooks import PATIENT_VIEW
from cds.markdown import escape, paragraphs, table
from cds.prefetch import PrefetchTemplate
from cds.service import CdsContext, HookCall, Service
from clinical.codes import (
    ACTION_COMPLETED,
    ACTION_NOT_PRIORITY,
    CHEST_IMAGING_STUDY,
    RECIPIENT_DOES_NOT_TRUST,
)
from clinical.errors import PreconditionMissing
from clinical.finding import LENGTH_DECIMALS, MILLIMETRE, PROBABILITY_DECIMALS, Finding, Measurement
from clinical.identity import PatientKey, from_fhir
from clinical.image import SpacingOrigin
from clinical.risk import Indicator
from fhir_adapters.features.elements import objects
from model_runtime.engine import Engine
from model_runtime.tasks.segmentation import Segmentation
from record_store.instances import HELD
from record_store.readings import FAILED, StoredReading, readings_of_patient
from record_store.unread import WAITING, UnreadStudy, unread_of_patient

MAX_CARDS = 3
MAX_READINGS = 200
MAX_UNREAD = 10
MAX_IDENTIFIERS = 50
MAX_ROWS = 10
NOTE = "Research demonstration, not a medical device. A person must look at the images."
_STATE_IN_WORDS = {WAITING: "not yet read", FAILED: "could not be read", HELD: "held for a person to look at"}
_OVERRIDE_REASONS = (ACTION_COMPLETED, ACTION_NOT_PRIORITY, RECIPIENT_DOES_NOT_TRUST)


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
    return (*cards, _unread_card(unread, context)) if unread else tuple(cards)


def patient_keys(resources: Iterable[Mapping[str, Any]]) -> tuple[PatientKey, ...]:
    """Return the (system, value) keys of a Patient. Raises PreconditionMissing when there is none.

    A bare value names nobody. An identifier marked `old` is left out: numbers are given again.
    """
    keys: list[PatientKey] = []
    for patient in resources:
        for identifier in objects(patient, "identifier") if patient.get("resourceType") == "Patient" else ():
            system, value = identifier.get("system"), identifier.get("value")
            if isinstance(system, str) and isinstance(value, str) and identifier.get("use") != "old":
                key = from_fhir(system, value)
                keys += [key] if key is not None else []
    if not keys:
        raise PreconditionMissing(
            "images cannot be matched: the Patient has no identifier with a system and a value",
            expression=["prefetch.patient.identifier"],
        )
    return tuple(dict.fromkeys(keys))[:MAX_IDENTIFIERS]


def latest_by_study(readings: Sequence[StoredReading]) -> list[list[StoredReading]]:
    """Group readings, newest first, into studies: of each image and model only the newest reading.

    An image that was read again is superseded by what the later reading says, also when that is nothing.
    """
    groups: dict[tuple[str, str], dict[str, StoredReading]] = {}
    for stored in readings:
        image = stored.reading.image
        group = groups.setdefault((image.study_uid, stored.reading.model.name), {})
        group.setdefault(image.sop_instance_uid, stored)
    return [list(group.values()) for group in groups.values()]


def size(measured: Measurement) -> str:
    """Return a length with exactly the digits of the Finding; pixels are called pixels."""
    unit = "mm" if measured.unit == MILLIMETRE else "pixels"
    return f"{measured.value:.{LENGTH_DECIMALS}f} {unit}"


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
            Link(_link_label(number, len(images)), context.links.sign(stored.reading_id))
            for number, stored in enumerate(images[:MAX_ROWS], start=1)
        ),
        override_reasons=_OVERRIDE_REASONS,
    )


def _readable(engine: Engine) -> frozenset[str] | None:
    """Return the modalities that some model reads; None (any) when none is here or one cannot say."""
    states = engine.ready()
    if any(state.version is None for state in states):
        return None
    parts = (engine.manifest(state.name).get(Segmentation) for state in states)
    return frozenset(modality for part in parts if part for modality in part.image.modalities) or None


def _unread_card(unread: Sequence[UnreadStudy], context: CdsContext) -> Card:
    many = len(unread) > 1
    rows = [
        (
            f"{one.received_at:%Y-%m-%d %H:%M}",
            ", ".join(one.modalities),
            _STATE_IN_WORDS[one.state],
            one.reason or "",
        )
        for one in unread
    ]
    passing = all(one.state == WAITING for one in unread)
    return Card(
        uuid=context.new_uuid(),
        summary=f"{len(unread)} imaging {'studies have' if many else 'study has'} not been read by the model",
        indicator=Indicator.INFO if passing else Indicator.WARNING,
        source=Source("Consilium, imaging findings", CHEST_IMAGING_STUDY),
        detail=paragraphs(
            table(("Received (UTC)", "Modality", "State", "Why"), rows),
            "Nothing is known of these images: that no finding is shown does not mean that there is none.",
            f"*{NOTE}*",
        ),
        override_reasons=_OVERRIDE_REASONS,
    )


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
        _about_size(images),
        next((stored.reading.caveat for stored in images if stored.reading.degraded), ""),
        f"Probability is the model's score; a finding is reported from {threshold}.",
        f"Read on {first.created_at:%Y-%m-%d %H:%M} UTC. Model: {escape(first.reading.model.label)} "
        f"(sha256 {first.reading.model.digest[:12]})",
        f"*{NOTE}*",
    )


def score(finding: Finding) -> str:
    """Return the probability with exactly the digits of the Finding."""
    return f"{finding.probability:.{PROBABILITY_DECIMALS}f}"


def _about_size(images: Sequence[StoredReading]) -> str:
    """Say what a size means where it is not a distance in the patient."""
    spacings = [stored.reading.image.spacing for stored in images]
    said = []
    if None in spacings:
        said.append("Sizes in pixels: the image does not state how large a pixel is.")
    if any(spacing and spacing.origin is SpacingOrigin.IMAGER_PIXEL_SPACING for spacing in spacings):
        said.append("Sizes in mm are measured at the detector, where the image is magnified.")
    return " ".join(said)


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
