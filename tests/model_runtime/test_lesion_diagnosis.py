"""A lesion's diagnosis comes from record, image or both, says which, and what each input changed."""

import math

import numpy as np
import pytest

from clinical.conformal import Answer
from clinical.errors import Fault
from clinical.lesion import Basis
from model_export.testing import write_tiny_lesion
from model_runtime.engine import LocalEngine
from model_runtime.lesion_diagnosis import diagnose
from model_runtime.library import Library
from model_runtime.tasks.lesion import DIAGNOSIS, Lesion

FIVE, TWO = {"birads": frozenset({"5"})}, {"birads": frozenset({"2"})}
BRIGHT, DARK = np.array([0.75, 0, 0], np.float32), np.array([0.25, 0, 0], np.float32)


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """said(values, *views): what the tiny model says, sigmoid(-2 + 4 * token 0 + 3 for 5 - 2 for 2)."""
    models = tmp_path_factory.mktemp("models")
    engine = LocalEngine(Library(write_tiny_lesion(models).parent))
    part = engine.manifest("breast-lesion").require(Lesion)

    def ask(values, *views):
        return diagnose(lambda inputs: engine.run("breast-lesion", inputs, graph=DIAGNOSIS), part, values, views)

    return ask


def sigmoid(score):
    return 1 / (1 + math.exp(-score))


@pytest.mark.parametrize(
    ("values", "views", "score", "basis", "variant"),
    [
        (FIVE, [], 1, Basis.RECORD, "category"),
        ({}, [BRIGHT], 1, Basis.IMAGE, "image"),
        (FIVE, [BRIGHT], 4, Basis.BOTH, "category and image"),
        (TWO, [DARK], -3, Basis.BOTH, "category and image"),
    ],
)
def test_every_combination_has_its_answer(said, values, views, score, basis, variant):
    diagnosis = said(values, *views)
    assert diagnosis.probability == round(sigmoid(score), 3)
    assert (diagnosis.basis, diagnosis.variant.name) == (basis, variant)


def test_without_anything_said_of_the_lesion_there_is_no_diagnosis(said):
    assert said({}) is None
    assert said({"age": 50.0, "signs": frozenset({"palpable"})}) is None


def test_views_of_one_lesion_are_averaged(said):
    assert said({}, BRIGHT, DARK).probability == round((sigmoid(1) + sigmoid(-1)) / 2, 3)


def test_each_input_tells_what_knowing_it_changed_the_largest_first(said):
    first, second, third = said(FIVE | {"age": 60.0}, BRIGHT).contributions
    assert (first.name, second.name, third.name) == ("birads", "image", "age")
    assert first.change == pytest.approx(sigmoid(4) - sigmoid(1), abs=1e-6)
    assert second.change == pytest.approx(sigmoid(4) - sigmoid(1), abs=1e-6)
    assert third.change == 0


@pytest.mark.parametrize(("values", "answer"), [(FIVE, Answer.POSITIVE), (TWO, Answer.NEGATIVE)])
def test_one_class_is_named_only_when_the_conformal_set_holds_it_alone(said, values, answer):
    assert said(values).answer is answer
    assert said({}, np.array([0.5, 0, 0], np.float32)).answer is Answer.UNSURE  # 0.5: neither within 0.4


def test_tokens_of_another_size_are_a_fault(said):
    with pytest.raises(Fault):
        said({}, np.zeros(4, np.float32))
