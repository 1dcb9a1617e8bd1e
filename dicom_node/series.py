"""Which images of a study a model reads, and why not the others. Pure: headers in, choice out."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
)

from dicom_node.header import Header

_FRONTAL = frozenset(("AP", "PA"))  # PS3.3 C.8.1.3, C.8.11.6: View Position
_RADIOGRAPHS = frozenset((ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation))
# PS3.3 C.8.5.6.1.1, Image Type value 4, a sum of hexadecimal flags: what else than a plain 2D image may be in it.
_PLAIN_2D = 0x0001
_SPATIALLY_RELATED = 0x0400
ANOTHER_PART = "it shows another part of the body"
NO_PART = "it does not say which part of the body it shows"
NO_ULTRASOUND = "it is no ultrasound image by its SOP class"
OTHER_MODALITY = "the model is not made for this modality"
# A study whose every image is left out for one of these was not meant for the model.
NOT_MEANT = frozenset((ANOTHER_PART, NO_PART, NO_ULTRASOUND, OTHER_MODALITY))


class Rule(Protocol):
    """What a model was made for."""

    def why_not(self, header: Header) -> str | None:
        """Return why the model does not read this object, or None when it does."""
        ...


@dataclass(frozen=True, slots=True)
class Selection:
    """read: what the model reads. left_out: the others, each with its reason in words."""

    read: tuple[Header, ...]
    left_out: tuple[tuple[Header, str], ...]


def eligible(headers: Iterable[Header], rule: Rule) -> Selection:
    """Choose the images of a study that a model reads."""
    read: list[Header] = []
    left_out: list[tuple[Header, str]] = []
    for header in headers:
        reason = rule.why_not(header)
        if reason is None:
            read.append(header)
        else:
            left_out.append((header, reason))
    return Selection(tuple(read), tuple(left_out))


@dataclass(frozen=True, slots=True)
class RadiographRule:
    """A model of radiographs. body_parts: Body Part Examined values; an image that states none passes.

    An absent view or body part does not exclude: much equipment leaves them empty. A stated one that contradicts
    the rule does.
    """

    modalities: tuple[str, ...]
    body_parts: tuple[str, ...] = ("CHEST", "THORAX", "LUNG")
    frontal_only: bool = True

    def why_not(self, header: Header) -> str | None:
        """See Rule."""
        if header.sop_class_uid == DigitalXRayImageStorageForProcessing:
            return "it is raw detector data (For Processing), not an image to be read"
        if header.sop_class_uid not in _RADIOGRAPHS:
            return "it is no radiograph by its SOP class"
        if header.modality not in self.modalities:
            return OTHER_MODALITY
        view = header.view_position.upper()
        if self.frontal_only and view and view not in _FRONTAL:
            return "it is not a frontal view"
        part = header.body_part.upper()
        if self.body_parts and part and part not in self.body_parts:
            return ANOTHER_PART
        return None


@dataclass(frozen=True, slots=True)
class UltrasoundRule:
    """A model of still B-mode images of one part of the body, which must be stated: ultrasound shows all of them.

    body_parts: Body Part Examined values (PS3.16 annex L). regions: "scheme code" of anatomic regions.
    """

    modalities: tuple[str, ...]
    body_parts: tuple[str, ...]
    regions: frozenset[str]

    def why_not(self, header: Header) -> str | None:
        """See Rule. What only the pixels show (colour) is found when they are decoded."""
        # Not the retired classes of the nineties: no result could refer to such an image (highdicom knows none).
        if header.sop_class_uid not in {UltrasoundImageStorage, UltrasoundMultiFrameImageStorage}:
            return NO_ULTRASOUND
        if header.modality not in self.modalities:
            return OTHER_MODALITY
        part = self._part_is_another(header)
        if part is not None:
            return part
        # Also of one frame: highdicom cannot refer to a multi-frame image without functional groups.
        if header.sop_class_uid == UltrasoundMultiFrameImageStorage:
            return "it is a cine loop (multi-frame); single images are read"
        if _modes(header) & ~(_PLAIN_2D | _SPATIALLY_RELATED):
            return "it shows more than a plain 2D image (Doppler, M-mode, elastography or 3D, by its Image Type)"
        return None

    def _part_is_another(self, header: Header) -> str | None:
        """Believe a code before a word: Body Part Examined is often the machine's default."""
        if header.anatomic_regions:
            return None if self.regions & set(header.anatomic_regions.split("\\")) else ANOTHER_PART
        part = header.body_part.upper()
        if not part:
            return NO_PART
        return None if part in self.body_parts else ANOTHER_PART


def _modes(header: Header) -> int:
    """Return the flags of Image Type value 4, 0 when it states none that can be read."""
    values = header.image_type.split("\\")
    try:
        return int(values[3], 16) if len(values) > 3 and len(values[3].strip()) == 4 else 0
    except ValueError:
        return 0
