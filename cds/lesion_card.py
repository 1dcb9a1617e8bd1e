"""The card of a breast lesion: what is said, from what, how sure that is, and what was missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cds.card import Card, Link, Source
from cds.imaging import NOTE, about_size, size
from cds.lesion_views import View, Views
from cds.markdown import escape, paragraphs, table
from cds.override_reasons import OF_AN_IMAGE
from cds.prefetch import Prefetched, State
from cds.service import CdsContext
from clinical.conformal import Answer
from clinical.finding import percent
from clinical.lesion import ANSWER_IN_WORDS, BASIS_IN_WORDS, SIDE_IN_WORDS, Basis
from clinical.risk import Contribution, Indicator
from fhir_adapters.features.breast_lesion import LesionRecord
from model_runtime.lesion_diagnosis import Diagnosis
from model_runtime.manifest import Manifest
from model_runtime.tasks.lesion import Lesion

TOP_FACTORS = 5
SMALLEST_FACTOR = 0.001  # 0.1 percentage points: less would be shown as 0.0
_PARTLY_SEEN = (State.ABSENT, State.FAILED, State.PAGED)
_SHOW = "Show the image with the outlined lesion"


@dataclass(frozen=True, slots=True)
class Said:
    """Everything that a card tells. view: the lesion that the diagnosis is of, None without an image."""

    view: View | None
    diagnosis: Diagnosis
    record: LesionRecord
    seen: Views
    prefetch: Mapping[str, Prefetched]


def lesion_card(said: Said, manifest: Manifest, context: CdsContext) -> Card:
    """Return the card of a diagnosis; it warns from the policy's threshold on, and when the model is not sure."""
    diagnosis = said.diagnosis
    unsure = diagnosis.answer is Answer.UNSURE
    warns = unsure or diagnosis.probability >= diagnosis.variant.policy.warn_from
    told = f"probability of malignancy {_percent(diagnosis.probability)} ({BASIS_IN_WORDS[diagnosis.basis]})"
    return Card(
        uuid=context.new_uuid(),
        summary=f"Breast lesion: {ANSWER_IN_WORDS[Answer.UNSURE]}; {told}" if unsure else f"Breast lesion: {told}",
        indicator=Indicator.WARNING if warns else Indicator.INFO,
        source=Source(f"Consilium, model {manifest.ref.label}", manifest.require(Lesion).outcome),
        detail=_detail(said, manifest),
        links=_links(said, context),
        override_reasons=OF_AN_IMAGE,
    )


def stale_card(views: Sequence[View], manifest: Manifest, context: CdsContext) -> Card:
    """Return what another version of the model said when it read the image: better than silence."""
    worst = max(views, key=lambda view: view.lesion.probability)
    reading, lesion = worst.stored.reading, worst.lesion
    told = f"probability of malignancy {_percent(lesion.probability)}"
    return Card(
        uuid=context.new_uuid(),
        summary=f"Breast lesion: {told}, as {reading.model.label} said when it read the image",
        indicator=Indicator.WARNING,
        source=Source(f"Consilium, model {reading.model.label}", lesion.outcome),
        detail=paragraphs(
            f"When the image was read on {worst.stored.created_at:%Y-%m-%d}: {lesion.in_words}.",
            f"The model is now {escape(manifest.ref.label)} and has not read this image, and the record describes "
            "no lesion that it could judge.",
            f"Model: {escape(reading.model.label)} (sha256 {reading.model.digest[:12]})",
            f"*{NOTE}*",
        ),
        links=(context.links.overlay(_SHOW, worst.stored.reading_id),),
        override_reasons=OF_AN_IMAGE,
    )


def _detail(said: Said, manifest: Manifest) -> str:
    diagnosis, view = said.diagnosis, said.view
    policy, variant = diagnosis.variant.policy, diagnosis.variant
    sure = round((1 - variant.conformal.alpha) * 100)
    return paragraphs(
        f"**Estimated probability of malignancy: {_percent(diagnosis.probability)}**, from "
        f"{BASIS_IN_WORDS[diagnosis.basis]} (warning from {_percent(policy.warn_from)})",
        f"**Answer at {sure} % confidence: {ANSWER_IN_WORDS[diagnosis.answer]}.**",
        "**Inputs used**",
        table(("Input", "Value", "Date"), [*_image_rows(view), *_record_rows(said.record)]),
        about_size([view.stored]) if view else "",
        _remarks(diagnosis.basis, said.seen),
        *_factors(diagnosis.contributions),
        *_missing(said.record, said.seen),
        *_not_seen(said.prefetch),
        view.stored.reading.caveat if view else "",
        f"How the warning's threshold was set: {escape(variant.rule)}",
        f"Model: {escape(manifest.ref.label)} (sha256 {manifest.digest[:12]})",
        escape(manifest.notice or ""),
        f"*{NOTE} The probability is a model's estimate, not a diagnosis.*",
    )


def _percent(probability: float) -> str:
    return f"{percent(probability):.1f} %"


def _image_rows(view: View | None) -> list[tuple[str, str, str]]:
    if view is None:
        return []
    outlined = f"lesion of {size(view.finding.long_axis)} x {size(view.finding.short_axis)} outlined"
    alone = f"image alone: {_percent(view.lesion.image_probability)}"
    side = SIDE_IN_WORDS[view.lesion.side] if view.lesion.side else "it does not say which breast"
    return [("Ultrasound image", f"{outlined}; {side}; {alone}", f"{view.stored.created_at:%Y-%m-%d} (read)")]


def _record_rows(record: LesionRecord) -> list[tuple[str, str, str]]:
    return [
        (used.label, used.shown, used.taken_at.date().isoformat() if used.taken_at else "") for used in record.used
    ]


def _remarks(basis: Basis, seen: Views) -> str:
    remarks = []
    if seen.outlined > 1:
        remarks.append(f"The model outlined {seen.outlined} lesions or views; this is the most suspicious one.")
    if basis is Basis.BOTH:
        remarks.append("Record and image are taken to describe the same lesion: please check that they do.")
    return " ".join(remarks)


def _factors(contributions: Sequence[Contribution]) -> tuple[str, ...]:
    top = [item for item in contributions[:TOP_FACTORS] if abs(item.change) >= SMALLEST_FACTOR]
    if not top:
        return ()
    rows = [(item.label, f"{item.change * 100:+.1f}") for item in top]
    return (
        "**What moved the estimate** (percentage points, against not knowing the input)",
        table(("Input", "Change"), rows),
    )


def _missing(record: LesionRecord, seen: Views) -> tuple[str, ...]:
    rows = [("Ultrasound image", seen.absent)] if seen.absent else []
    rows += [(one.label, one.reason) for one in record.missing]
    if not rows:
        return ()
    return ("**Inputs missing**: the estimate was made without them", table(("Input", "Why"), rows))


def _not_seen(prefetch: Mapping[str, Prefetched]) -> tuple[str, ...]:
    rows = [(key, found.reason) for key, found in prefetch.items() if found.reason and found.state in _PARTLY_SEEN]
    if not rows:
        return ()
    return ("**Parts of the record that were not seen, or not wholly**", table(("Part", "Why"), rows))


def _links(said: Said, context: CdsContext) -> tuple[Link, ...]:
    first = [said.view] if said.view else []
    ids = list(dict.fromkeys(view.stored.reading_id for view in (*first, *said.seen.views)))
    labels = [_SHOW, *(f"Show image {number} of the study" for number in range(2, len(ids) + 1))]
    return tuple(context.links.overlay(label, one) for label, one in zip(labels, ids, strict=False))
