"""Parts of the body are told apart by the terms of PS3.16 annex L and the words of orders."""

import pytest

from clinical.body_part import Agreement, agreement, parts_of


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("CHEST", {"CHEST"}),
        ("XR Thorax in two planes", {"CHEST"}),
        ("Left ribs, 2 views", {"RIB"}),
        ("X-ray of both feet", {"FOOT"}),
        ("T-spine", {"TSPINE"}),
        ("TSPINE", {"TSPINE"}),
        ("Thoracic spine AP", {"TSPINE"}),
        ("CHESTABDPELVIS", {"CHEST", "ABDOMEN", "PELVIS"}),
        ("CT chest/abdomen", {"CHEST", "ABDOMEN"}),
        ("Pelvis", {"PELVIS"}),
        ("Radial head, left", {"FOREARM"}),  # and not HEAD
        ("Femoral neck", {"FEMUR"}),
        ("Head and neck", {"HEAD", "NECK"}),
        ("US gall bladder", {"GALLBLADDER"}),
        ("LEG", set()),  # may be a knee, an ankle or a foot
        ("OSG rechts", set()),
        ("Handling charge", set()),
        ("", set()),
    ],
)
def test_words_name_parts_of_the_body(text, parts) -> None:
    assert parts_of([text]) == parts


@pytest.mark.parametrize(
    ("shown", "ordered", "is_"),
    [
        ({"KNEE"}, {"KNEE"}, Agreement.SAME),
        ({"KNEE"}, {"KNEE", "HIP"}, Agreement.SAME),
        ({"KNEE"}, {"HIP"}, Agreement.OTHER),
        ({"KNEE", "HIP"}, {"HIP"}, Agreement.UNSAID),
        (set(), {"HIP"}, Agreement.UNSAID),
        ({"KNEE"}, set(), Agreement.UNSAID),
        (set(), set(), Agreement.UNSAID),
    ],
)
def test_silence_agrees_with_nothing_and_contradicts_nothing(shown, ordered, is_) -> None:
    assert agreement(shown, ordered) is is_
