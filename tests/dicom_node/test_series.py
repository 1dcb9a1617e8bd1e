"""Which images of a study a model reads, and the reason for each that it does not."""

import pytest
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    EnhancedSRStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from dicom_node.header import Header
from dicom_node.series import RadiographRule, eligible

RULE = RadiographRule(modalities=("CR", "DX"))


def header(sop_class=DigitalXRayImageStorageForPresentation, modality="DX", view="PA", part="CHEST"):
    return Header(sop_class_uid=sop_class, modality=modality, view_position=view, body_part=part)


@pytest.mark.parametrize("view", ["PA", "AP", "ap", ""])
@pytest.mark.parametrize("part", ["CHEST", "chest", "THORAX", ""])
def test_frontal_chest_radiographs_are_read_also_when_view_or_part_is_not_stated(view, part):
    assert RULE.why_not(header(view=view, part=part)) is None
    assert RULE.why_not(header(ComputedRadiographyImageStorage, "CR", view, part)) is None


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (header(view="LL"), "frontal"),
        (header(part="HAND"), "part of the body"),
        (header(modality="MG"), "modality"),
        (header(DigitalXRayImageStorageForProcessing), "raw"),
        (header(CTImageStorage, "CT"), "no radiograph"),
        (header(SecondaryCaptureImageStorage, "DX"), "no radiograph"),
        (header(SegmentationStorage, "SEG"), "no radiograph"),
        (header(EnhancedSRStorage, "SR"), "no radiograph"),
    ],
)
def test_everything_else_is_left_out_with_a_reason(image, reason):
    selection = eligible([image, header()], RULE)
    assert selection.read == (header(),)
    ((left_out, why),) = selection.left_out
    assert left_out == image
    assert reason in why


def test_a_model_for_any_part_and_view_says_so_in_its_rule():
    rule = RadiographRule(modalities=("DX",), body_parts=(), frontal_only=False)
    assert rule.why_not(header(view="LL", part="HAND")) is None
