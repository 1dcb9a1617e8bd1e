"""The text of the card of a breast lesion: what is said, from what, how sure that is, and what was missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cds import calibration
from cds.explanation_block import AboutModel, Explanation, Factors, Used, block, rule_in_words, used_of
from cds.imaging import NOTE, about_size, size
from cds.lesion_views import View, Views
from cds.markdown import escape, paragraphs
from cds.origins import PublicUrl
from cds.prefetch import Prefetched
from clinical.finding import percent
from clinical.lesion import ANSWER_IN_WORDS, BASIS_IN_WORDS, SIDE_IN_WORDS, Basis
from clinical.risk import Contribution
from fhir_adapters.features.breast_lesion import LesionRecord
from model_runtime.lesion_diagnosis import Diagnosis
from model_runtime.manifest import Manifest
from model_runtime.tasks.lesion import CATEGORY, DESCRIPTORS, IMAGE

SMALLEST_FACTOR = 0.001  # 0.1 percentage points: less would be shown as 0.0
# What a variant needs to know -> under which name its figures stand in the manifest; "auto" is outlined by itself.
_FIGURES = {
    frozenset((CATEGORY, DESCRIPTORS, IMAGE)): "record_image_birads",
    frozenset((CATEGORY, DESCRIPTORS)): "record_birads",
    frozenset((DESCRIPTORS, IMAGE)): "record_image",
    frozenset((CATEGORY, IMAGE)): "auto_birads",
    frozenset((DESCRIPTORS,)): "record",
    frozenset((CATEGORY,)): "birads",
    frozenset((IMAGE,)): "auto",
}


@dataclass(frozen=True, slots=True)
class Said:
    """Everything that a card tells. view: the lesion that the diagnosis is of, None without an image."""

    view: View | None
    diagnosis: Diagnosis
    record: LesionRecord
    seen: Views
    prefetch: Mapping[str, Prefetched]


def detail(said: Said, manifest: Manifest, card: PublicUrl | None) -> str:
    """Return the card's text (Markdown). card: where the model's card is published."""
    diagnosis, view = said.diagnosis, said.view
    policy, variant = diagnosis.variant.policy, diagnosis.variant
    sure = round((1 - variant.conformal.alpha) * 100)
    return paragraphs(
        escape(manifest.notice or ""),
        f"**Estimated probability of malignancy: {in_percent(diagnosis.probability)}**, from "
        f"{BASIS_IN_WORDS[diagnosis.basis]} (warning from {in_percent(policy.warn_from)})",
        f"**Answer at {sure} % confidence: {ANSWER_IN_WORDS[diagnosis.answer]}.**",
        _remarks(diagnosis.basis, said.seen),
        about_size([view.stored]) if view else "",
        block(_explanation(said, manifest, card)),
        view.stored.reading.caveat if view else "",
        f"*{NOTE} The probability is a model's estimate, not a diagnosis.*",
    )


def _explanation(said: Said, manifest: Manifest, card: PublicUrl | None) -> Explanation:
    variant = said.diagnosis.variant
    figures = _FIGURES.get(frozenset(variant.requires), "")
    absent = [("Ultrasound image", said.seen.absent)] if said.seen.absent else []
    return Explanation(
        used=[*_image_used(said.view), *used_of(said.record.used)],
        missing=[*absent, *((one.label, one.reason) for one in said.record.missing)],
        prefetch=said.prefetch,
        about=AboutModel(
            model=manifest.ref,
            threshold=f"a warning from {in_percent(variant.policy.warn_from)}; {rule_in_words(variant.rule)}",
            calibration=calibration.of_probabilities(manifest.metrics, figures),
            card=card,
        ),
        factors=_factors(said.diagnosis.contributions),
    )


def in_percent(probability: float) -> str:
    """Return a probability with one decimal, as the Finding has it."""
    return f"{percent(probability):.1f} %"


def _image_used(view: View | None) -> list[Used]:
    if view is None:
        return []
    outlined = f"lesion of {size(view.finding.long_axis)} x {size(view.finding.short_axis)} outlined"
    alone = f"image alone: {in_percent(view.lesion.image_probability)}"
    side = SIDE_IN_WORDS[view.lesion.side] if view.lesion.side else "it does not say which breast"
    read_on = f"{view.stored.created_at:%Y-%m-%d} (read)"
    return [Used("Ultrasound image", f"{outlined}; {side}; {alone}", date=read_on)]


def _remarks(basis: Basis, seen: Views) -> str:
    remarks = []
    if seen.outlined > 1:
        remarks.append(f"The model outlined {seen.outlined} lesions or views; this is the most suspicious one.")
    if basis is Basis.BOTH:
        remarks.append("Record and image are taken to describe the same lesion: please check that they do.")
    return " ".join(remarks)


def _factors(contributions: Sequence[Contribution]) -> Factors:
    rows = [
        (item.label, f"{item.change * 100:+.1f}") for item in contributions if abs(item.change) >= SMALLEST_FACTOR
    ]
    how = "percentage points, against not knowing the input"
    return Factors("What moved the estimate", how, ("Input", "Change"), rows)
