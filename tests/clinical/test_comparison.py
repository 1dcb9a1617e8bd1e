"""Two readings side by side: counts, lengths only where both are true, no claim about which finding is which."""

from dataclasses import replace
from datetime import date

import pytest

from clinical.comparison import NOT_MATCHED, compare
from clinical.image import PixelSpacing, SpacingOrigin
from record_store.reading_json import from_json, to_json
from tests.fhir_adapters.conftest import reading_with

DAY, PRIOR_DAY = date(2026, 11, 20), date(2025, 11, 1)


def reading(*lengths, origin=SpacingOrigin.PIXEL_SPACING):
    one = reading_with(len(lengths), "patient" if origin else "none")
    spacing = PixelSpacing(0.2, 0.2, origin) if origin else None
    found = tuple(
        replace(finding, long_axis=replace(finding.long_axis, value=length))
        for finding, length in zip(one.findings, lengths, strict=True)
    )
    return replace(one, findings=found, image=replace(one.image, spacing=spacing))


@pytest.mark.parametrize(
    ("now", "then", "words"),
    [
        (
            reading(12.1),
            reading(8.0, 14.2),
            "2 lung nodules then, 1 now; longest axis 14.2 mm then, 12.1 mm now",
        ),
        (reading(12.1), reading(), "no lung nodules then, 1 now"),
        (reading(), reading(9.0), "1 lung nodule then, none now"),
        (reading(), reading(), "no lung nodules then, none now"),
    ],
)
def test_counts_and_lengths_stand_side_by_side(now, then, words) -> None:
    made = compare(now, then, day=DAY, prior_day=PRIOR_DAY)
    begin = "Compared with the image of 2025-11-01, 384 days before, by the same model version: "
    assert made.in_words == f"{begin}{words}. {NOT_MATCHED}"


@pytest.mark.parametrize("origin", [SpacingOrigin.IMAGER_PIXEL_SPACING, SpacingOrigin.UNCALIBRATED, None])
@pytest.mark.parametrize("which", ["now", "then", "both"])
def test_lengths_are_not_compared_unless_both_images_state_them_in_the_patient(origin, which) -> None:
    now = reading(12.1, origin=origin if which != "then" else SpacingOrigin.PIXEL_SPACING)
    then = reading(14.2, origin=origin if which != "now" else SpacingOrigin.PIXEL_SPACING)
    made = compare(now, then, day=DAY, prior_day=PRIOR_DAY)
    assert (made.now.longest_mm, made.then.longest_mm) == (None, None)
    assert "sizes are not compared" in made.in_words
    assert "mm" not in made.in_words


def test_a_comparison_comes_back_from_json_as_it_is() -> None:
    made = compare(reading(12.1), reading(14.2), day=DAY, prior_day=PRIOR_DAY)
    for one in (made, replace(made, reading_id="r1", report=("1.2", "1.3"))):
        whole = replace(reading(12.1), comparison=one)
        assert from_json(to_json(whole)) == whole
    assert from_json(to_json(reading(12.1))).comparison is None


def test_no_word_claims_what_nothing_shows() -> None:
    words = compare(reading(12.1), reading(14.2, 3.0), day=DAY, prior_day=PRIOR_DAY).in_words.lower()
    assert not {"new", "gone", "resolved", "grown", "smaller", "larger", "stable"} & set(words.split())
