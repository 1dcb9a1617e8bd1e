"""The card of a breast lesion, with its links, and the card of what another version of the model has said."""

import hashlib
from collections.abc import Sequence

import clinical.said
from cds.about import input_hash
from cds.card import Card, CardAbout, Link, SelectionBehavior
from cds.explanation_block import not_seen
from cds.imaging import NOTE
from cds.lesion_detail import Said, detail, in_percent
from cds.lesion_proposal import REFERRAL, suggestions
from cds.lesion_views import View
from cds.markdown import bold, bullets, escape, paragraphs
from cds.override_reasons import OF_AN_IMAGE
from cds.service import CdsContext
from cds.viewer_handle import viewer_link
from clinical.conformal import Answer
from clinical.inputs import InputUsed
from clinical.lesion import ANSWER_IN_WORDS, BASIS_IN_WORDS
from clinical.risk import Indicator, RiskScore
from clinical.said import TOKENS, ModelInputs, SaidRisk
from fhir_adapters.resources.reading import result_ids
from model_runtime.manifest import Manifest
from model_runtime.tasks.lesion import DIAGNOSIS, IMAGE, Lesion

_SHOW = "Show the image with the outlined lesion"


def lesion_card(said: Said, manifest: Manifest, patient_id: str, context: CdsContext) -> Card:
    """Return the card of a diagnosis; it warns from the policy's threshold on, and when the model is not sure."""
    diagnosis, risk = said.diagnosis, risk_of(said, manifest)
    unsure = diagnosis.answer is Answer.UNSURE
    warns = unsure or diagnosis.probability >= diagnosis.variant.policy.warn_from
    told = f"probability of malignancy {in_percent(diagnosis.probability)} ({BASIS_IN_WORDS[diagnosis.basis]})"
    return Card(
        uuid=context.new_uuid(),
        summary=f"Breast lesion: {ANSWER_IN_WORDS[Answer.UNSURE]}; {told}" if unsure else f"Breast lesion: {told}",
        indicator=Indicator.WARNING if warns else Indicator.INFO,
        source=context.links.source(
            f"model {manifest.ref.label}", manifest.require(Lesion).outcome, manifest.name
        ),
        detail=detail(said, manifest, context.links.model_card(manifest.name)),
        links=_links(said, context),
        suggestions=suggestions(risk, diagnosis, patient_id, context),
        selection_behavior=SelectionBehavior.ANY,
        override_reasons=OF_AN_IMAGE,
        about=_about(said, manifest, risk, context),
    )


def stale_card(views: Sequence[View], manifest: Manifest, context: CdsContext) -> Card:
    """Return what another version of the model said when it read the image: better than silence."""
    worst = max(views, key=lambda view: view.lesion.probability)
    reading, lesion = worst.stored.reading, worst.lesion
    told = f"probability of malignancy {in_percent(lesion.probability)}"
    return Card(
        uuid=context.new_uuid(),
        summary=f"Breast lesion: {told}, as {reading.model.label} said when it read the image",
        indicator=Indicator.WARNING,
        source=context.links.source(f"model {reading.model.label}", lesion.outcome),
        detail=paragraphs(
            f"When the image was read on {worst.stored.created_at:%Y-%m-%d}: {lesion.in_words}.",
            f"The model is now {escape(manifest.ref.label)} and has not read this image, and the record describes "
            "no lesion that it could judge.",
            bold("About the model"),
            bullets([f"Model: {reading.model.label} (manifest sha256 {reading.model.digest[:12]})"]),
            f"*{NOTE}*",
        ),
        links=(context.links.overlay(_SHOW, worst.stored.reading_id),),
        override_reasons=OF_AN_IMAGE,
        about=CardAbout(
            model=reading.model,
            probability=lesion.probability,
            outcome=lesion.outcome,
            finding_key=_key(worst),
            could_not_look=True,
        ),
    )


def risk_of(said: Said, manifest: Manifest) -> RiskScore:
    """Return the diagnosis as a risk, with what the model was and was not told."""
    view, record = said.view, said.record
    at = view.stored.created_at if view else None
    image = (InputUsed(IMAGE, "Ultrasound image", 1.0, "one lesion", "", at, None),) if view else ()
    return RiskScore(
        outcome=manifest.require(Lesion).outcome,
        probability=said.diagnosis.probability,
        model=manifest.ref,
        inputs=image + record.used,
        missing=tuple(one.label for one in record.missing),
    )


def _about(said: Said, manifest: Manifest, risk: RiskScore, context: CdsContext) -> CardAbout:
    diagnosis, view = said.diagnosis, said.view
    tokens = hashlib.sha256(view.lesion.tokens.data).hexdigest() if view else None
    digest = input_hash(manifest.ref, {**said.record.values, "image": tokens})
    return CardAbout(
        model=manifest.ref,
        threshold=diagnosis.variant.policy.warn_from,
        probability=diagnosis.probability,
        outcome=manifest.require(Lesion).outcome,
        finding_key=_key(view) if view else "lesion of the record",
        input_hash=digest,
        could_not_look=bool(not_seen(said.prefetch)),
        said=None if context.result_rows is None else _kept(said, manifest, risk, digest, context),
    )


def _kept(said: Said, manifest: Manifest, risk: RiskScore, digest: str, context: CdsContext) -> clinical.said.Said:
    """Return what is kept: the record's values and the image's tokens, from which it can be computed again."""
    diagnosis, view = said.diagnosis, said.view
    refer = REFERRAL if diagnosis.answer is not Answer.NEGATIVE else ""
    return clinical.said.Said(
        model=manifest.ref,
        input_sha256=digest,
        inputs=ModelInputs(DIAGNOSIS, {TOKENS: view.lesion.tokens.array} if view else {}, said.record.values),
        at=context.now(),
        what=SaidRisk(
            risk, diagnosis.answer, ANSWER_IN_WORDS[diagnosis.answer], refer, manifest.require(Lesion).terms
        ),
        sources=tuple(dict.fromkeys(used.source for used in said.record.used if used.source)),
        own_sources=(_observation_of(view),) if view else (),
    )


def _observation_of(view: View) -> str:
    """Return the reference of the Observation of a lesion in an image that this server has read."""
    stored = view.stored
    ids = result_ids(stored.reading, reading_id=stored.reading_id).observations
    numbers = [finding.number for finding in stored.reading.findings]
    return f"Observation/{ids[numbers.index(view.lesion.finding)]}"


def _key(view: View) -> str:
    return f"lesion {view.lesion.finding} of {view.stored.reading_id}"


def _links(said: Said, context: CdsContext) -> tuple[Link, ...]:
    first = [said.view] if said.view else []
    shown = list({view.stored.reading_id: view.stored for view in (*first, *said.seen.views)}.values())
    labels = [_SHOW, *(f"Show image {number} of the study" for number in range(2, len(shown) + 1))]
    links = [context.links.overlay(label, one.reading_id) for label, one in zip(labels, shown, strict=False)]
    viewer = viewer_link(context.links, "Open the images in the viewer", shown, context.new_uuid)
    study = (
        context.links.study("Open the study with its results", shown[0].reading.image.study_uid) if shown else None
    )
    return (*links, *(one for one in (study, viewer) if one))
