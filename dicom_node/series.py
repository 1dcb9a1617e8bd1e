"""Which images of a study a model reads, and why not the others. Pure: headers in, choice out."""

from collections.abc import Iterable
from dataclasses import dataclass

from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
)

from dicom_node.header import Header

_FRONTAL = frozenset(("AP", "PA"))  # PS3.3 C.8.1.3, C.8.11.6: View Position
_RADIOGRAPHS = frozenset((ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation))


@dataclass(frozen=True, slots=True)
class ModelRule:
    """What a model was made for. body_parts: Body Part Examined values; an image that states none passes."""

    modalities: tuple[str, ...]
    body_parts: tuple[str, ...] = ("CHEST", "THORAX", "LUNG")
    frontal_only: bool = True


@dataclass(frozen=True, slots=True)
class Selection:
    """read: what the model reads. left_out: the others, each with its reason in words."""

    read: tuple[Header, ...]
    left_out: tuple[tuple[Header, str], ...]


def eligible(headers: Iterable[Header], rule: ModelRule) -> Selection:
    """Choose the images of a study that a model reads.

    An absent view or body part does not exclude: much equipment leaves them empty. A stated one that
    contradicts the rule does.
    """
    read: list[Header] = []
    left_out: list[tuple[Header, str]] = []
    for header in headers:
        reason = why_not(header, rule)
        if reason is None:
            read.append(header)
        else:
            left_out.append((header, reason))
    return Selection(tuple(read), tuple(left_out))


def why_not(header: Header, rule: ModelRule) -> str | None:
    """Return why a model does not read this object, or None when it does."""
    if header.sop_class_uid == DigitalXRayImageStorageForProcessing:
        return "it is raw detector data (For Processing), not an image to be read"
    if header.sop_class_uid not in _RADIOGRAPHS:
        return "it is no radiograph by its SOP class"
    if header.modality not in rule.modalities:
        return "the model is not made for this modality"
    view = header.view_position.upper()
    if rule.frontal_only and view and view not in _FRONTAL:
        return "it is not a frontal view"
    part = header.body_part.upper()
    if rule.body_parts and part and part not in rule.body_parts:
        return "it shows another part of the body"
    return None
