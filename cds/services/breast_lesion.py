"""`breast-lesion` at patient-view: how probable it is that a breast lesion is malignant, and from what.

The heavy work was done when the images arrived: a worker outlined each lesion and kept its image tokens. Here they
are joined with the record of the prefetch. Without record and without image of a lesion there is no card: the one
meaning of an empty list. Images that were not read are a card of their own; a record that could not be seen, with
nothing else known, is 412; a model or a store that fails is 5xx.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from cds.card import Card
from cds.hooks import PATIENT_VIEW
from cds.imaging import MAX_READINGS, MAX_UNREAD, patient_keys, still_standing, unread_card
from cds.lesion_card import lesion_card, stale_card
from cds.lesion_detail import Said
from cds.lesion_views import Views, newest_views, unread_since
from cds.model_call import manifest_of, outputs_of
from cds.prefetch import Prefetched, PrefetchTemplate, State
from cds.service import CdsContext, HookCall, Service
from clinical.breast_codes import BREAST_LEXICON, BREAST_RECORD
from clinical.errors import PreconditionMissing
from fhir_adapters.features.breast_lesion import LesionRecord, lesion_record
from model_runtime.lesion_diagnosis import Diagnosis, diagnose
from model_runtime.manifest import Manifest
from model_runtime.tasks.lesion import DIAGNOSIS, Lesion
from record_store.readings import readings_of_patient
from record_store.unread import unread_of_patient

MODEL = "breast-lesion"


def _codes() -> str:
    codes = [(code.system, code.code) for feature in BREAST_RECORD for code in feature.codes]
    # With the Observation whose components are the descriptors.
    return ",".join(f"{system}|{code}" for system, code in (*codes, (BREAST_LEXICON, "lesion")))


PREFETCH = (
    PrefetchTemplate("patient", "Patient/{{context.patientId}}", required=True),
    PrefetchTemplate(
        "descriptors", f"Observation?patient={{{{context.patientId}}}}&code={_codes()}&_sort=-date&_count=100"
    ),
)


def answer(call: HookCall, context: CdsContext) -> Sequence[Card]:
    """Return one card of the lesion, and one for all studies that are not read; none when nothing is known.

    Raises PreconditionMissing (412) when the Patient cannot be matched, or nothing is known and the record was not
    seen; Busy or Fault of the store or the model.
    """
    manifest = manifest_of(context.engine, MODEL)
    part = manifest.require(Lesion)
    keys = patient_keys(call.prefetch["patient"].resources())
    with context.db.read() as conn:
        stored = readings_of_patient(conn, keys, MAX_READINGS)
        unread = unread_of_patient(conn, keys, manifest.modalities, MAX_UNREAD, model=MODEL)
    stored, recalled = still_standing(stored)
    seen = newest_views(stored, manifest, context.now())
    left = [
        *unread_since(unread, seen),
        *(one for one in recalled if set(one.modalities) & set(manifest.modalities)),
    ]
    unread_cards = (unread_card(left, context, "breast lesion"),) if left else ()
    resources = [resource for found in call.prefetch.values() for resource in found.resources()]
    found = _most_suspicious(resources, seen, part, call, context)
    if found is not None:
        said, diagnosis = found, found.diagnosis
        _observe(said.record, diagnosis, manifest, context)
        return (lesion_card(said, manifest, call.request.patient_id, context), *unread_cards)
    if seen.stale:
        return (stale_card(seen.stale, manifest, context), *unread_cards)
    _demand_seen(call.prefetch)
    return unread_cards


def _most_suspicious(
    resources: Sequence[Mapping[str, Any]], seen: Views, part: Lesion, call: HookCall, context: CdsContext
) -> Said | None:
    """Return the lesion that looks worst: several images may or may not show the same one.

    Each is judged with what the record says of its own breast.
    """

    def run(inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        return outputs_of(context.engine, MODEL, inputs, call.deadline, DIAGNOSIS)

    said: list[Said] = []
    for view in seen.views or (None,):
        record = lesion_record(resources, part.record, context.now(), view.lesion.side if view else None)
        diagnosis = diagnose(run, part, record.values, [view.lesion.tokens.array] if view else [])
        said += [Said(view, diagnosis, record, seen, call.prefetch)] if diagnosis else []
    return max(said, key=lambda one: one.diagnosis.probability, default=None)


def _demand_seen(prefetch: Mapping[str, Prefetched]) -> None:
    unseen = [key for key, found in prefetch.items() if found.state in (State.ABSENT, State.FAILED)]
    if unseen:
        raise PreconditionMissing(
            "nothing is known of a lesion, and the record was not seen: " + ", ".join(unseen),
            expression=[f"prefetch.{key}" for key in unseen],
            diagnostics="; ".join(f"{key}: {prefetch[key].reason}" for key in unseen),
        )


def _observe(record: LesionRecord, diagnosis: Diagnosis, manifest: Manifest, context: CdsContext) -> None:
    numbers = {name: value for name, value in record.values.items() if isinstance(value, float)}
    context.drift.observe(manifest, numbers, diagnosis.probability, diagnosis.answer.value)


SERVICE = Service(
    id="breast-lesion",
    hook=PATIENT_VIEW,
    title="Breast lesion",
    description="Estimates the probability that a breast lesion is malignant from the BI-RADS descriptors and "
    "category in the record, from a stored ultrasound image, or from both, and says which. Research "
    "demonstration, not a medical device.",
    prefetch=PREFETCH,
    answer=answer,
    usage_requirements="The Patient needs an identifier (system and value) of an issuer that the archive knows. "
    "Descriptors are Observations with the codes of docs/breast-record.md.",
)
