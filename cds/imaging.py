"""What services say of stored images: whose they are, which reading is the latest, what nobody has read yet."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cds.card import Card, CardAbout
from cds.markdown import paragraphs, table
from cds.override_reasons import OF_AN_IMAGE
from cds.service import CdsContext
from clinical.codes import CHEST_IMAGING_STUDY
from clinical.errors import PreconditionMissing
from clinical.finding import LENGTH_DECIMALS, MILLIMETRE, PROBABILITY_DECIMALS, Finding, Measurement
from clinical.identity import PatientKey, from_fhir
from clinical.image import SpacingOrigin
from clinical.risk import Indicator
from fhir_adapters.features.elements import objects
from record_store.instances import HELD
from record_store.readings import FAILED, StoredReading
from record_store.unread import WAITING, UnreadStudy

MAX_READINGS = 200
MAX_UNREAD = 10
MAX_IDENTIFIERS = 50
NOTE = "Research demonstration, not a medical device. A person must look at the images."
_STATE_IN_WORDS = {WAITING: "not yet read", FAILED: "could not be read", HELD: "held for a person to look at"}


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


def still_standing(readings: Sequence[StoredReading]) -> tuple[list[StoredReading], list[UnreadStudy]]:
    """Return the readings that were not recalled, and the studies of the others, which nobody has read now."""
    recalled = {one.reading.image.study_uid: one for one in readings if one.recalled}
    unread = [
        UnreadStudy(
            study_uid=one.reading.image.study_uid,
            received_at=one.created_at,
            modalities=(one.reading.image.modality,),
            state=FAILED,
            reason=f"what {one.reading.model.label} said of it was recalled",
        )
        for one in recalled.values()
    ]
    return [one for one in readings if not one.recalled], unread


def size(measured: Measurement) -> str:
    """Return a length with exactly the digits of the Finding; pixels are called pixels."""
    unit = "mm" if measured.unit == MILLIMETRE else "pixels"
    return f"{measured.value:.{LENGTH_DECIMALS}f} {unit}"


def score(finding: Finding) -> str:
    """Return the probability with exactly the digits of the Finding."""
    return f"{finding.probability:.{PROBABILITY_DECIMALS}f}"


def about_size(images: Sequence[StoredReading]) -> str:
    """Say what a size means where it is not a distance in the patient."""
    spacings = [stored.reading.image.spacing for stored in images]
    said = []
    if None in spacings:
        said.append("Sizes in pixels: the image does not state how large a pixel is.")
    if any(spacing and spacing.origin is SpacingOrigin.IMAGER_PIXEL_SPACING for spacing in spacings):
        said.append("Sizes in mm are measured at the detector, where the image is magnified.")
    if any(spacing and spacing.origin is SpacingOrigin.UNCALIBRATED for spacing in spacings):
        said.append("Sizes in mm may be magnified: the image does not say that its pixel size was calibrated.")
    return " ".join(said)


def unread_card(unread: Sequence[UnreadStudy], context: CdsContext, who: str) -> Card:
    """Return the card of images that a model should have read and has not. who: the service, for the source."""
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
        about=CardAbout(could_not_look=True),
        summary=f"{len(unread)} imaging {'studies have' if many else 'study has'} not been read by the model",
        indicator=Indicator.INFO if passing else Indicator.WARNING,
        source=context.links.source(who, CHEST_IMAGING_STUDY),
        detail=paragraphs(
            table(("Received (UTC)", "Modality", "State", "Why"), rows),
            "Nothing is known of these images: that no finding is shown does not mean that there is none.",
            f"*{NOTE}*",
        ),
        override_reasons=OF_AN_IMAGE,
    )
