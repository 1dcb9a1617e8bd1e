"""Image tokens keep their numbers, and say when they do not fit."""

import numpy as np
import pytest

from clinical.errors import IncorrectInput
from clinical.lesion import ImageTokens, image_tokens


@pytest.mark.parametrize("shape", [(0,), (3,), (2, 3)])
def test_tokens_come_back_as_the_numbers_they_were(shape):
    numbers = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    assert np.array_equal(image_tokens(numbers).array, numbers)
    assert image_tokens(numbers) == image_tokens(numbers.copy())


def test_tokens_that_do_not_fill_their_shape_are_refused():
    with pytest.raises(IncorrectInput):
        ImageTokens((2,), b"\0" * 7)
