"""The card of one study in which a model saw something: what, how large, how sure, and a link to look at it."""

import hashlib
from collections.abc import Sequence

from cds import calibration
from cds.about import input_hash
from cds.card import Card, CardAbout, Link, SelectionBehavior
from cds.explanation_block import AboutModel, Explanation, Used, block
from cds.findings_proposal import MAX_ROWS, suggestions
from cds.imaging import NOTE, about_size, score, size
from cds.markdown import bold, escape, paragraphs, table
from cds.override_reasons import OF_AN_IMAGE
from cds.service import CdsContext
from cds.viewer_handle import viewer_link
from clinical.errors import ClinicalError
from clinical.finding import PROBABILITY_DECIMALS, Finding, ModelRef
from clinical.risk import Indicator
from model_runtime.manifest import Manifest
from record_store.readings import StoredReading

OTHER_VERSION = "not known here: another version of the model is in use now"


def findings_card(study: Sequence[StoredReading], patient_id: str, context: CdsContext) -> Card:
    """Return the card of a study; some reading of it has a finding. study: its latest readings by one model."""
    images = [stored for stored in study if stored.reading.findings]
    first = images[0].reading
    return Card(
        uuid=context.new_uuid(),
        summary=_summary(images),
        indicator=Indicator.WARNING,
        source=context.links.source(f"model {first.model.label}", first.terms.observation, first.model.name),
        detail=_detail(images, study, context),
        links=_links(images, context),
        suggestions=suggestions(images, patient_id, context),
        selection_behavior=SelectionBehavior.ANY,
        override_reasons=OF_AN_IMAGE,
        about=_about(images, study),
    )


def _about(images: Sequence[StoredReading], study: Sequence[StoredReading]) -> CardAbout:
    first = images[0].reading
    uid = hashlib.sha256(first.image.study_uid.encode()).hexdigest()[:32]
    # With their number: a second nodule in a study is news, also when the first one was the more probable.
    count = sum(len(one.reading.findings) for one in images)
    return CardAbout(
        model=first.model,
        threshold=first.threshold,
        probability=max(finding.probability for one in images for finding in one.reading.findings),
        outcome=first.terms.observation,
        finding_key=f"study {uid} findings {count}",
        input_hash=input_hash(
            first.model, {"images": frozenset(one.reading.image.sop_instance_uid for one in study)}
        ),
    )


def _links(images: Sequence[StoredReading], context: CdsContext) -> tuple[Link, ...]:
    shown = images[:MAX_ROWS]
    links = [
        context.links.overlay(_link_label(number, len(images)), one.reading_id)
        for number, one in enumerate(shown, start=1)
    ]
    viewer = viewer_link(context.links, "Open the images in the viewer", shown, context.new_uuid)
    study = (
        context.links.study("Open the study with its results", shown[0].reading.image.study_uid) if shown else None
    )
    return (*links, *(one for one in (study, viewer) if one))


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


def _detail(images: Sequence[StoredReading], study: Sequence[StoredReading], context: CdsContext) -> str:
    rows = [
        (str(number), str(finding.number), size(finding.long_axis), size(finding.short_axis), score(finding))
        for number, stored in enumerate(images, start=1)
        for finding in stored.reading.findings
    ]
    more = f"{len(rows) - MAX_ROWS} more on the linked pages." if len(rows) > MAX_ROWS else ""
    manifest = _manifest(images[0].reading.model, context)
    return paragraphs(
        escape(manifest.notice or "") if manifest else "",
        bold("Findings"),
        table(("Image", "Finding", "Long axis", "Short axis", "Probability"), rows[:MAX_ROWS]),
        more,
        about_size(images),
        _assessed(images),
        _compared(images),
        block(_explanation(images, study, manifest, context)),
        next((stored.reading.caveat for stored in images if stored.reading.degraded), ""),
        f"*{NOTE}*",
    )


def _explanation(
    images: Sequence[StoredReading],
    study: Sequence[StoredReading],
    manifest: Manifest | None,
    context: CdsContext,
) -> Explanation:
    first = images[0]
    threshold = f"{first.reading.threshold:.{PROBABILITY_DECIMALS}f}"
    read_at = f"{first.created_at:%Y-%m-%d %H:%M} UTC (read)"
    counted = f"{len(study)} read, findings in {len(images)}"
    return Explanation(
        used=[Used(f"{first.reading.image.modality} images", counted, date=read_at)],
        missing=(),
        prefetch={},
        about=AboutModel(
            model=first.reading.model,
            threshold=f"a finding is reported from a probability of {threshold}",
            calibration=calibration.RANKS_ONLY if manifest else OTHER_VERSION,
            card=context.links.model_card(first.reading.model.name),
        ),
    )


def _manifest(model: ModelRef, context: CdsContext) -> Manifest | None:
    """Return the manifest of exactly the model that read the images, None when it is not here any more."""
    try:
        manifest = context.engine.manifest(model.name)
    except ClinicalError:
        return None
    return manifest if manifest.digest == model.digest else None


def _compared(images: Sequence[StoredReading]) -> str:
    """Say what earlier images showed, of those that were compared with one."""
    said = [
        f"Image {number}: {escape(stored.reading.comparison.in_words)}"
        for number, stored in enumerate(images, start=1)
        if stored.reading.comparison is not None
    ]
    return " ".join(said[:MAX_ROWS])


def _assessed(images: Sequence[StoredReading]) -> str:
    """Say what was made of each finding when it was read, by models that assess them."""
    said = [
        f"image {number}, finding {lesion.finding}: {lesion.in_words}"
        for number, stored in enumerate(images, start=1)
        for lesion in stored.reading.lesions
    ]
    return f"Assessed when read: {'; '.join(said[:MAX_ROWS])}." if said else ""
