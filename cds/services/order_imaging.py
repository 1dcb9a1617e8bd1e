"""`order-imaging` at order-select and order-sign: a chest radiograph is ordered, and a recent one shows something.

The card says what was found, leads to the image, and offers to take the draft order back: the example of a service
that reads draft orders. It interrupts only then: no card when no chest radiograph is ordered, when there is no
recent one, or when that one shows nothing. A recent one that no model has read yet is a card of its own, for then
we could not look. A patient whose identifiers cannot be matched is 412, a store that is away 503.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from cds.card import Action, Card, CardAbout, SelectionBehavior, Source, Suggestion
from cds.hooks import ORDER_SELECT, ORDER_SIGN, Hook, is_id
from cds.hooks.contexts import OrderSelect, OrderSign, Resource
from cds.imaging import (
    MAX_READINGS,
    MAX_UNREAD,
    NOTE,
    about_size,
    latest_by_study,
    patient_keys,
    score,
    size,
    still_standing,
    unread_card,
)
from cds.markdown import escape, paragraphs, table
from cds.override_reasons import OF_AN_IMAGE
from cds.prefetch import PrefetchTemplate
from cds.service import CdsContext, HookCall, Service
from clinical.codes import LUNG, Coding
from clinical.finding import PROBABILITY_DECIMALS, Finding
from clinical.imaging_codes import RADIOGRAPHY, chest_radiograph
from clinical.risk import Indicator
from fhir_adapters.features.elements import objects, word
from record_store.readings import StoredReading, readings_of_patient
from record_store.unread import UnreadStudy, unread_of_patient

# After six weeks a chest radiograph is often rightly repeated, to see an infiltrate gone; within a month seldom.
RECENT = timedelta(days=30)
MAX_ROWS = 10
MAX_SUGGESTIONS = 5
_PAST = frozenset({"revoked", "completed", "entered-in-error"})


@dataclass(frozen=True, slots=True)
class Order:
    """One ordered chest radiograph. reference: of a draft that may be taken back, else None."""

    what: Coding
    reference: str | None


def answer(call: HookCall, context: CdsContext) -> Sequence[Card]:
    """Return a card for the newest recent study with findings, and one for what is not read.

    Raises PreconditionMissing (412) when the Patient has no identifier with a system, Busy (503) when the store
    is away; neither when no chest radiograph is ordered.
    """
    orders = list(_orders(call))
    if not orders:
        return ()
    keys = patient_keys(call.prefetch["patient"].resources())
    since = context.now() - RECENT
    with context.db.read() as conn:
        readings = readings_of_patient(conn, keys, MAX_READINGS)
        unread = unread_of_patient(conn, keys, RADIOGRAPHY, MAX_UNREAD)
    readings, recalled = still_standing(readings)
    studies = latest_by_study([one for one in readings if one.created_at >= since and _of_the_chest(one)])
    found = next((study for study in studies if any(one.reading.findings for one in study)), None)
    waiting = [
        one for one in (*unread, *recalled) if one.received_at >= since and RADIOGRAPHY & set(one.modalities)
    ]
    return (*_cards(found, orders, context), *_unread_cards(waiting, context))


def _orders(call: HookCall) -> Iterator[Order]:
    """Yield the orders of chest radiographs: at order-select those that were just chosen."""
    context = call.request.typed
    if not isinstance(context, OrderSelect | OrderSign):
        return
    chosen = {str(one) for one in context.selections} if isinstance(context, OrderSelect) else None
    for order in context.draft_orders:
        reference = f"{word(order, 'resourceType')}/{word(order, 'id')}"
        what = _what(order)
        if what is None or word(order, "status") in _PAST or (chosen is not None and reference not in chosen):
            continue
        is_draft = word(order, "status") == "draft" and is_id(order.get("id"))
        yield Order(what, reference if is_draft else None)


def _what(order: Resource) -> Coding | None:
    code = order.get("code")
    if order.get("resourceType") != "ServiceRequest" or not isinstance(code, dict):
        return None
    found = (chest_radiograph(one.get("system"), one.get("code")) for one in objects(code, "coding"))
    return next((one for one in found if one is not None), None)


def _of_the_chest(stored: StoredReading) -> bool:
    return stored.reading.image.modality in RADIOGRAPHY and stored.reading.terms.body_site == LUNG


def _cards(found: Sequence[StoredReading] | None, orders: Sequence[Order], context: CdsContext) -> Iterator[Card]:
    if found is None:
        return
    images = [one for one in found if one.reading.findings]
    first = images[0].reading
    key = hashlib.sha256(first.image.study_uid.encode()).hexdigest()[:32]
    yield Card(
        uuid=context.new_uuid(),
        summary=_summary(images),
        indicator=Indicator.WARNING,
        source=Source(f"Consilium, model {first.model.label}", first.terms.observation),
        detail=_detail(images, orders),
        links=tuple(
            context.links.overlay(f"Show image {number} with the findings", one.reading_id)
            for number, one in enumerate(images[:MAX_ROWS], start=1)
        ),
        suggestions=tuple(_take_back(orders, context)),
        selection_behavior=SelectionBehavior.AT_MOST_ONE,
        override_reasons=OF_AN_IMAGE,
        about=CardAbout(
            model=first.model,
            threshold=first.threshold,
            outcome=first.terms.observation,
            finding_key=f"order-imaging {key}",
        ),
    )


def _take_back(orders: Sequence[Order], context: CdsContext) -> Iterator[Suggestion]:
    drafts = {order.reference: order.what for order in orders if order.reference is not None}
    for reference, what in list(drafts.items())[:MAX_SUGGESTIONS]:
        delete = Action("delete", f"Delete the draft order of {what.display}", resource_id=reference)
        yield Suggestion(f"Do not order {what.display}", context.new_uuid(), (delete,))


def _unread_cards(unread: Sequence[UnreadStudy], context: CdsContext) -> Iterator[Card]:
    if unread:
        yield unread_card(unread, context, "imaging orders")


def _summary(images: Sequence[StoredReading]) -> str:
    findings = [finding for one in images for finding in one.reading.findings]
    count = f"{len(findings)} possible {images[0].reading.terms.label}" + ("s" if len(findings) > 1 else "")
    largest = max(findings, key=_by_size).long_axis
    day = images[0].created_at.date().isoformat()
    return f"Chest radiograph ordered again: one read on {day} shows {count}, largest {size(largest)}"


def _by_size(finding: Finding) -> tuple[bool, float]:
    # Millimetres before pixels: the two cannot be compared.
    return (finding.has_length, finding.long_axis.value)


def _detail(images: Sequence[StoredReading], orders: Sequence[Order]) -> str:
    first = images[0]
    rows = [
        (str(number), str(finding.number), size(finding.long_axis), score(finding))
        for number, one in enumerate(images, start=1)
        for finding in one.reading.findings
    ]
    threshold = f"{first.reading.threshold:.{PROBABILITY_DECIMALS}f}"
    ordered = ", ".join(dict.fromkeys(escape(order.what.display) for order in orders))
    return paragraphs(
        f"Ordered: {ordered}. Look at the recent image first; the radiation may not be needed.",
        table(("Image", "Finding", "Long axis", "Probability"), rows[:MAX_ROWS]),
        f"{len(rows) - MAX_ROWS} more on the linked pages." if len(rows) > MAX_ROWS else "",
        about_size(images),
        f"Probability is the model's score; a finding is reported from {threshold}.",
        f"Read on {first.created_at:%Y-%m-%d %H:%M} UTC, which may be later than it was taken. "
        f"Model: {escape(first.reading.model.label)} (sha256 {first.reading.model.digest[:12]})",
        f"*{NOTE}*",
    )


def _service(hook: Hook) -> Service:
    return Service(
        id="order-imaging",
        hook=hook,
        title="Imaging orders",
        description="Warns when a chest radiograph is ordered although one of the last 30 days shows a finding: "
        "number, size, probability, a link to the image, and the offer to delete the draft order. Research "
        "demonstration, not a medical device.",
        prefetch=(PrefetchTemplate("patient", "Patient/{{context.patientId}}", required=True),),
        answer=answer,
        usage_requirements="The Patient needs an identifier (system and value) of an issuer that the archive "
        "knows. Orders are ServiceRequests coded in LOINC, RadLex, CPT or SNOMED CT; an order in words only is "
        "not seen.",
    )


SERVICES = (_service(ORDER_SELECT), _service(ORDER_SIGN))
