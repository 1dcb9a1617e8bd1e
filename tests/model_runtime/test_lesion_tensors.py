"""Records and image tokens as tensors: what is not known is zero, and marked."""

import numpy as np
import pytest

from clinical.breast_codes import BREAST_RECORD
from clinical.errors import IncorrectInput
from clinical.image import GreyImage
from model_runtime.lesion_shape import NAMES
from model_runtime.lesion_tensors import columns_of, crop_tensors, image_tensors, record_tensors
from model_runtime.lesion_view import CropRules, reader_outline

PLACE = {feature.name: n for n, feature in enumerate(BREAST_RECORD)}


def test_an_empty_record_is_zeros_and_nothing_is_known():
    tensors = record_tensors(BREAST_RECORD, [{}])
    assert not tensors["record"].any()
    assert not tensors["record_known"].any()


def test_ages_are_scaled_to_their_range():
    tensors = record_tensors(BREAST_RECORD, [{"age": 18.0}, {"age": 69.0}, {"age": 120.0}])
    assert tensors["record"][:, columns_of(BREAST_RECORD)["age"]][:, 0].tolist() == [-1, 0, 1]
    assert tensors["record_known"][:, PLACE["age"]].tolist() == [1, 1, 1]


def test_each_value_that_holds_has_its_own_column():
    tensors = record_tensors(BREAST_RECORD, [{"margin": frozenset({"indistinct", "spiculated"})}])
    columns = columns_of(BREAST_RECORD)["margin"]
    names = [value.name for value in BREAST_RECORD[PLACE["margin"]].values]
    assert [name for name, on in zip(names, tensors["record"][0, columns], strict=True) if on] == [
        "indistinct",
        "spiculated",
    ]
    assert tensors["record"].sum() == 2


@pytest.mark.parametrize(
    "record",
    [
        {"age": 130.0},
        {"age": frozenset({"old"})},
        {"shape": frozenset({"square"})},
        {"shape": frozenset({"oval", "round"})},
        {"shape": frozenset()},
        {"histology": frozenset({"carcinoma"})},
    ],
)
def test_what_the_model_does_not_know_is_refused(record):
    with pytest.raises(IncorrectInput):
        record_tensors(BREAST_RECORD, [record])


def test_an_absent_image_is_zeros_and_marked():
    tensors = image_tensors(None, 3, width=5)
    assert tensors["image"].shape == (3, 5)
    assert not tensors["image_known"].any()


def test_an_image_says_who_drew_its_outline():
    tokens = np.ones((2, 5), np.float32)
    assert image_tensors(tokens, 2, width=5)["image_known"].tolist() == [[1, 0], [1, 0]]
    assert image_tensors(tokens, 2, width=5, by_reader=True)["image_known"].tolist() == [[1, 1], [1, 1]]
    with pytest.raises(IncorrectInput):
        image_tensors(tokens, 2, width=6)


def test_a_lesion_becomes_a_square_and_its_numbers():
    grey, mask = np.full((40, 40), 90, np.float32), np.zeros((40, 40), np.bool_)
    mask[10:20, 10:25] = True
    tensors = crop_tensors(GreyImage(grey), reader_outline(mask), CropRules(32, 2.0, 8, 0.0, 100.0))
    assert tensors["crop"].shape == (1, 32, 32, 2)
    assert tensors["shape"].shape == (1, len(NAMES))
