"""Breast ultrasound: the lesion of each picture on the screen is outlined, described, and judged with the record.

The pictures are the calibrated regions of the screen, or all of it when it states none: what is around them (text,
scales, logos) is not what the networks were trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydicom.dataset import Dataset

from clinical.errors import Fault
from clinical.finding import PROBABILITY_DECIMALS, Finding, Reading, ReadingMask
from clinical.image import GreyImage
from clinical.lesion import LesionAssessment, Occlusion, Side, image_tokens
from clinical.measure import findings_from_probability
from consilium.readers.reader import Look, Reader
from dicom_node.series import UltrasoundRule
from fhir_adapters.features.breast_lesion import LesionRecord, lesion_record
from model_runtime.image_statistics import image_statistics
from model_runtime.lesion_diagnosis import diagnose
from model_runtime.lesion_explain import occlusion_map
from model_runtime.lesion_tensors import Tensors, crop_tensors
from model_runtime.lesion_view import Box, Outline, find_outline, window_around
from model_runtime.manifest import Manifest
from model_runtime.tasks.lesion import DIAGNOSIS, IMAGE, OUTLINE, Lesion
from model_runtime.transforms import Float, prepare


@dataclass(frozen=True, slots=True)
class _Seen:
    """The lesion of one picture. box: of the picture on the screen."""

    picture: GreyImage
    box: Box
    outline: Outline


def rule(manifest: Manifest) -> UltrasoundRule:
    """Return which images such a model reads."""
    part = manifest.require(Lesion)
    regions = frozenset(f"{region.scheme} {region.code}" for region in part.regions)
    return UltrasoundRule(part.image.modalities, part.body_parts, regions)


def read(look: Look) -> tuple[Reading, ReadingMask]:
    """Outline the lesion of each picture; say of each how probable malignancy is.

    The record is read once, and only when there is a lesion.
    """
    part = look.manifest.require(Lesion)
    seen = [one for box in _pictures(look) if (one := _outlined(look, part, box)) is not None]
    found, mask = _measured(seen, part, look.decoded.image)
    record = lesion_record(look.record(), part.record, look.now, side_of(look.decoded.header)) if found else None
    lesions = tuple(_assessed(look, part, finding.number, lesion, record) for finding, lesion in found if record)
    findings = tuple(finding for finding, _ in found)
    reading = Reading(look.decoded.ref, look.manifest.ref, part.terms, part.outline.report, findings, lesions)
    return reading, mask


def side_of(header: Dataset) -> Side | None:
    """Return which breast an image says it shows: Image Laterality (0020,0062), or Laterality of its series."""
    stated = str(header.get("ImageLaterality") or header.get("Laterality") or "")
    return Side(stated) if stated in set(Side) else None


def _pictures(look: Look) -> Sequence[Box]:
    rows, columns = look.decoded.image.pixels.shape
    return look.decoded.regions or ((0, 0, rows, columns),)


def _outlined(look: Look, part: Lesion, box: Box) -> _Seen | None:
    picture = _cut(look.decoded.image, box)
    tensor, _ = prepare(picture, part.image)
    look.drift.observe(look.manifest, image_statistics(tensor), None)

    def run(tensors: Float) -> Float:
        return np.asarray(look.run({"image": tensors}, OUTLINE)["probability"], np.float32)

    outline = find_outline(run, picture, part.image, part.outline)
    return None if outline is None else _Seen(picture, box, outline)


def _cut(image: GreyImage, box: Box) -> GreyImage:
    part = np.s_[box[0] : box[2], box[1] : box[3]]
    return GreyImage(
        image.pixels[part], image.spacing, image.window, None if image.padding is None else image.padding[part]
    )


def _measured(
    seen: Sequence[_Seen], part: Lesion, image: GreyImage
) -> tuple[list[tuple[Finding, _Seen]], ReadingMask]:
    """Return the lesions as findings, most probable first, and whose each pixel is."""
    labels = np.zeros(image.pixels.shape, np.int16)
    found: list[tuple[Finding, _Seen]] = []
    for one in sorted(seen, key=lambda one: -one.outline.peak):
        whole = np.zeros(image.pixels.shape, np.float32)
        row0, column0, row1, column1 = one.box
        whole[row0:row1, column0:column1] = np.where(one.outline.mask, one.outline.probability, 0)
        if labels[whole > 0].any():  # regions may overlap, and then show the same lesion
            continue
        measured, mask = findings_from_probability(
            whole,
            mask_threshold=part.outline.mask,
            report_threshold=part.outline.report,
            min_area_px=part.outline.min_area_px,
            spacing=image.spacing,
        )
        if len(measured) != 1:
            raise Fault("an outline is not one region")
        found.append((replace(measured[0], number=len(found) + 1), one))
        labels[mask.labels > 0] = len(found)
    return found, ReadingMask(labels)


def _assessed(look: Look, part: Lesion, number: int, one: _Seen, record: LesionRecord) -> LesionAssessment:
    tensors = crop_tensors(one.picture, one.outline, part.crop)
    made = look.run(tensors, IMAGE)
    tokens = np.asarray(made["tokens"], np.float32)[0]
    said = diagnose(lambda inputs: look.run(inputs, DIAGNOSIS), part, record.values, [tokens])
    if said is None:
        raise Fault("the lesion model says nothing of an image")
    return LesionAssessment(
        finding=number,
        outcome=part.outcome,
        basis=said.basis,
        probability=said.probability,
        image_probability=round(float(made["probability"][0, 0]), PROBABILITY_DECIMALS),
        answer=said.answer,
        inputs=record.used,
        missing=tuple(one.label for one in record.missing),
        tokens=image_tokens(tokens),
        occlusion=_occlusion(look, part, one, tensors),
        side=side_of(look.decoded.header),
    )


def _occlusion(look: Look, part: Lesion, one: _Seen, tensors: Tensors) -> Occlusion:
    changes = occlusion_map(lambda inputs: look.run(inputs, IMAGE), tensors)
    window = window_around(one.outline.box, part.crop.zoom, part.crop.min_side_px)
    row, column = one.box[0] + window.row, one.box[1] + window.column
    return Occlusion(
        (row, column, row + window.side, column + window.side),
        tuple(tuple(round(float(change), PROBABILITY_DECIMALS) for change in line) for line in changes),
    )


READER = Reader(Lesion, rule, read, leaves_out=True)
