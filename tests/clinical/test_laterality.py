"""Which side an order names: codes and words together, and none when they disagree."""

import pytest

from clinical.laterality import side_of


@pytest.mark.parametrize(
    ("codes", "texts", "side"),
    [
        (["80248007"], [], "L"),
        (["24028007"], ["Right breast"], "R"),
        (["7771000"], ["Knee", "Left"], "L"),
        (["G-A100"], ["Röntgen Knie"], "R"),
        ([], ["XR knee LEFT 2 views"], "L"),
        ([], ["Röntgen Knie RIGHT 2 views"], "R"),
        ([], ["Both hands"], "B"),
        ([], ["Mammography both breasts"], "B"),
        (["7771000"], ["right"], ""),
        (["24028007"], ["Knee left"], ""),
        ([], ["Chest, upright"], ""),
        ([], ["Leftover forms; bright"], ""),
        ([], ["Copyright of the leftover"], ""),
        ([], [], ""),
    ],
)
def test_a_side_is_what_codes_and_words_agree_on(codes, texts, side):
    assert side_of(codes, texts) == side
