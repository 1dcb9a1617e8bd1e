"""The occlusion map tells where the image network's answer comes from."""

import numpy as np
import pytest

from clinical.errors import Fault
from model_runtime.lesion_explain import occlusion_map


def brightest_corner(inputs):
    """A network that looks at the upper left quarter only: its mean grey value."""
    size = inputs["crop"].shape[1]
    seen = inputs["crop"][:, : size // 2, : size // 2, 0].mean(axis=(1, 2))
    return {"probability": seen[:, None]}


@pytest.fixture
def tensors():
    crop = np.zeros((1, 32, 32, 2), np.float32)
    crop[0, 4:8, 4:8, 0] = 1.0  # in the upper left quarter
    crop[0, 20:28, 20:28, 0] = 1.0  # where the network does not look
    crop[..., 1] = 1.0
    return {"crop": crop, "shape": np.zeros((1, 23), np.float32)}


def test_what_the_network_looks_at_stands_out_and_what_it_does_not_see_is_nothing(tensors):
    changes = occlusion_map(brightest_corner, tensors)
    assert changes.shape == (8, 8)
    assert np.unravel_index(changes.argmax(), changes.shape) == (0, 0)
    assert np.all(changes[5:, 5:] == 0)
    # The cover of cell (0, 0) hides 64 pixels, 16 of them bright: they become the mean, 80 / 1024.
    assert changes[0, 0] == pytest.approx((16 - 64 * 80 / 1024) / 256, abs=1e-6)


def test_the_lesion_s_own_tensors_are_left_as_they_were(tensors):
    before = tensors["crop"].copy()
    occlusion_map(brightest_corner, tensors)
    assert np.array_equal(tensors["crop"], before)


def test_an_answer_that_is_no_probability_is_a_fault(tensors):
    with pytest.raises(Fault):
        occlusion_map(lambda inputs: {"probability": np.full((len(inputs["crop"]), 1), 2.0)}, tensors)
