"""Figures of the breast lesion model: by patient, from every set of inputs, honest about what was not found."""

import numpy as np
import pytest

from model_export.datasets import breast_usg, bus_bra
from model_export.datasets.ultrasound import LesionPicture
from model_export.recipes.breast_lesion import rules
from model_export.recipes.breast_lesion_measure import SETTINGS, Seen, answers, dice, figures, outlined, see
from model_runtime.lesion_view import reader_outline
from model_runtime.tasks.lesion import DIAGNOSIS, IMAGE, OUTLINE

PART = rules()
WIDTH = len(PART.tokens)


def picture(patient, malignant, site=bus_bra.NAME, category="4"):
    mask = np.zeros((60, 50), np.bool_)
    mask[20:40, 15:35] = True
    record = {"birads": frozenset({category})}
    if site == breast_usg.NAME:
        record |= {"shape": frozenset({"oval"}), "age": 61.0}
    return LesionPicture(
        site=site,
        name=f"{site}-{patient}",
        patient=str(patient),
        pixels=np.where(mask, 40, 120).astype(np.uint8),
        mask=mask,
        malignant=malignant,
        record=record,
        fold=1,
        reported={"device": "GE", "view": "left", "histology": "-"},
    )


class Graphs:
    """The three graphs: outlines are what is dark, tokens are ones, probability is 0.9 with an image, else 0.2."""

    def __init__(self):
        self.asked = []

    def __call__(self, graph, inputs):
        if graph == OUTLINE:
            return {"probability": 1 - inputs["image"]}
        if graph == IMAGE:
            return {"tokens": np.ones((1, WIDTH), np.float32), "probability": np.full((1, 1), 0.9)}
        assert graph == DIAGNOSIS
        self.asked.append(inputs)
        return {"probability": np.where(inputs["image_known"][:, :1] > 0, 0.9, 0.2)}


def seen(run, *pictures, found=True):
    return [see(run, PART, one, reader_outline(one.mask) if found else None) for one in pictures]


def test_the_outline_is_the_servers():
    outline = outlined(Graphs(), PART, picture(1, True))
    assert outline is not None
    assert dice(outline.mask, picture(1, True).mask) > 0.9


def test_a_lesion_that_is_not_outlined_has_dice_0_and_no_answer_from_the_image_counts_as_0():
    run, one = Graphs(), picture(1, True)
    (missed,) = seen(run, one, found=False)
    assert (missed.dice, missed.tokens) == (0.0, None)
    assert answers(run, PART, [one], [missed], SETTINGS["auto"]).probability.tolist() == [0.0]
    assert answers(run, PART, [one], [missed], SETTINGS["auto_birads"]).probability.tolist() == [0.2]


def test_the_category_is_asked_for_only_where_the_setting_says_so():
    run, one = Graphs(), picture(1, True, breast_usg.NAME)
    found = seen(run, one)
    for name, known in (("record", 2), ("record_image", 2), ("record_image_birads", 3), ("external", 0)):
        answers(run, PART, [one], found, SETTINGS[name])
        assert run.asked[-1]["record_known"].sum() == known, name


def test_an_experts_outline_is_marked():
    run, one = Graphs(), picture(1, True)
    answers(run, PART, [one], seen(run, one), SETTINGS["outline_birads"])
    assert run.asked[-1]["image_known"].tolist() == [[1, 1]]
    answers(run, PART, [one], seen(run, one), SETTINGS["auto_birads"])
    assert run.asked[-1]["image_known"].tolist() == [[1, 0]]


def test_views_of_a_patient_are_averaged():
    said = answers(Graphs(), PART, [], [], SETTINGS["auto"])
    assert not len(said.truth)
    run, pictures = Graphs(), [picture(1, True), picture(1, True), picture(2, False)]
    parts = [*seen(run, pictures[0]), *seen(run, pictures[1], found=False), *seen(run, pictures[2])]
    truth, probability = answers(run, PART, pictures, parts, SETTINGS["auto"]).by_patient()
    assert truth.tolist() == [True, False]
    assert probability.tolist() == pytest.approx([0.45, 0.9])


def test_a_set_that_is_not_there_gives_null_and_no_crash():
    run, pictures = Graphs(), [picture(n, n % 2 == 0) for n in range(6)]
    parts = seen(run, *pictures)
    said = {name: answers(run, PART, pictures, parts, setting) for name, setting in SETTINGS.items()}
    found = figures(pictures, parts, said, resamples=20)
    assert found["record_image"] is None
    assert found["external"] is None
    assert found["dice"]["mean"] == 1.0
    assert found["auto"]["majority"] == 0.5
    assert found["selective"]["of"] == "auto_birads"
    assert set(found["auto_birads"]["beside"]) == {"majority", "birads_auroc", "birads_accuracy"}


def test_one_class_alone_gives_null_figures():
    run, pictures = Graphs(), [picture(n, False) for n in range(3)]
    parts = [Seen(None, 0.0, None, np.ones(WIDTH, np.float32)) for _ in pictures]
    said = {name: answers(run, PART, pictures, parts, setting) for name, setting in SETTINGS.items()}
    assert figures(pictures, parts, said, resamples=20)["auto"]["auroc"] is None
