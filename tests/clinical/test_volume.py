"""Slices are a volume only when they lie on a regular grid; what is wrong with them is called by its name."""

import math
from dataclasses import replace

import pytest

from clinical.volume import NoVolume, Refused, Slice, Volume, volume_of

AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


def stack(heights=(0.0, 2.5, 5.0, 7.5), lean=0.0, orientation=AXIAL, **more) -> list[Slice]:
    """Return axial slices at these heights; lean: mm towards the back for each mm up."""
    return [
        Slice((-100.0, -80.0 + lean * z, z), orientation, (0.7, 0.8), 512, 512, "1.2", **more) for z in heights
    ]


def test_even_slices_in_any_order_are_a_volume_with_its_distances() -> None:
    slices = stack()
    made = volume_of([slices[2], slices[0], slices[3], slices[1]])
    assert isinstance(made, Volume)
    assert (made.order, made.origin, made.normal) == ((1, 3, 0, 2), (-100.0, -80.0, 0.0), (0.0, 0.0, 1.0))
    assert made.spacing_mm == (2.5, 0.7, 0.8)
    assert made.in_words == "a volume of 4 slices 2.5 mm apart, pixels of 0.7 x 0.8 mm"


def test_what_lies_between_two_slices_is_said_as_every_second_one_may_be_missing() -> None:
    made = volume_of(stack(thickness_mm=1.25))
    assert isinstance(made, Volume)
    assert made.gap_mm == 1.25
    assert made.in_words.endswith("; 1.25 mm between two slices are in neither")


@pytest.mark.parametrize("thickness", [2.5, 2.49, 5.0, None])
def test_slices_that_meet_overlap_or_state_no_thickness_have_no_gap(thickness) -> None:
    slices = [*stack((0.0, 2.5, 5.0), thickness_mm=1.0), *stack((7.5,), thickness_mm=thickness)]
    made = volume_of(slices)
    assert isinstance(made, Volume)
    assert (made.gap_mm, "between" in made.in_words) == (0.0, False)


def test_an_oblique_stack_is_a_volume_when_it_goes_along_its_own_normal() -> None:
    c, s = math.cos(math.radians(30)), math.sin(math.radians(30))
    oblique = ((1.0, 0.0, 0.0), (0.0, round(c, 6), round(s, 6)))
    slices = [Slice((0.0, -s * 3 * n, c * 3 * n), oblique, (1.0, 1.0), 64, 64) for n in range(5)]
    made = volume_of(slices)
    assert isinstance(made, Volume)
    assert made.spacing_mm[0] == pytest.approx(3.0, abs=1e-4)


def test_positions_that_are_rounded_do_not_hide_a_volume() -> None:
    heights = [round(n * 0.625, 2) for n in range(200)]
    assert isinstance(volume_of(stack(heights)), Volume)


@pytest.mark.parametrize(
    ("slices", "why", "detail"),
    [
        (stack((0.0,)), NoVolume.TOO_FEW, ""),
        ([*stack(), replace(stack()[0], position=None)], NoVolume.NO_PLANE, ""),
        ([*stack(), replace(stack()[0], orientation=None)], NoVolume.NO_PLANE, ""),
        ([*stack(), replace(stack()[0], spacing_mm=None)], NoVolume.NO_PLANE, ""),
        (stack(orientation=((1.0, 0.0, 0.0), (0.5, 0.5, 0.0))), NoVolume.NOT_SQUARE, ""),
        (stack(orientation=((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))), NoVolume.NOT_SQUARE, ""),
        ([*stack(), replace(stack((10.0,))[0], frame_of_reference="1.3")], NoVolume.SEVERAL_FRAMES, ""),
        (
            [*stack(), replace(stack((10.0,))[0], orientation=((0.0, 1.0, 0.0), (0.0, 0.0, -1.0)))],
            NoVolume.MIXED_ORIENTATION,
            "",
        ),
        ([*stack(), replace(stack((10.0,))[0], rows=256)], NoVolume.MIXED_GRID, ""),
        ([*stack(), replace(stack((10.0,))[0], spacing_mm=(0.7, 0.7))], NoVolume.MIXED_GRID, ""),
        ([*stack(), stack()[1]], NoVolume.DUPLICATE, "1 of 5"),
        (stack(lean=math.tan(math.radians(12))), NoVolume.TILTED, "by 12.0 degrees"),
        (stack((0.0, 2.5, 7.5, 10.0)), NoVolume.MISSING, "1 at least, by steps of 2.5 mm"),
        (stack((0.0, 2.5, 5.0, 12.5, 15.0)), NoVolume.MISSING, "2 at least, by steps of 2.5 mm"),
        (stack((0.0, 2.5, 5.0, 8.7)), NoVolume.UNEVEN, "2.5 to 3.7 mm"),
    ],
)
def test_what_is_no_volume_is_refused_by_name(slices, why, detail) -> None:
    assert volume_of(slices) == Refused(why, detail)


def test_slices_beside_one_another_are_not_called_a_tilt() -> None:
    slices = stack()
    x, y, z = slices[1].position
    assert volume_of([slices[0], replace(slices[1], position=(x + 5, y, z)), *slices[2:]]) == Refused(
        NoVolume.SHIFTED
    )


def test_a_scanner_that_leans_less_than_half_a_pixel_over_the_stack_is_upright() -> None:
    assert isinstance(volume_of(stack(lean=0.34 / 7.5)), Volume)
    assert isinstance(volume_of(stack(lean=0.36 / 7.5)), Refused)


def test_the_reason_is_said_with_what_was_measured() -> None:
    assert Refused(NoVolume.TILTED, "by 12.0 degrees").in_words == (
        "gantry tilt: the stack leans against its slices (by 12.0 degrees)"
    )
