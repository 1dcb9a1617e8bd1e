"""The networks of the breast lesion model: what is absent changes nothing, the files compute what was trained."""

import numpy as np
import pytest

from clinical.breast_codes import BREAST_RECORD
from clinical.image import GreyImage
from model_export.recipe import quiet
from model_runtime.lesion_shape import NAMES
from model_runtime.lesion_tensors import image_tensors, record_tensors
from model_runtime.lesion_view import CropRules, crop, reader_outline, window_around
from tests.model_export.lazily import NEEDS_TENSORFLOW, Lazily

pytestmark = [pytest.mark.export, NEEDS_TENSORFLOW]
diagnosis = Lazily("model_export.recipes.breast_diagnosis")
fit = Lazily("model_export.recipes.breast_lesion_fit")
views = Lazily("model_export.recipes.ultrasound_views")
keras_network = Lazily("model_export.onnx.keras_network")
variants = Lazily("model_export.onnx.variants")

WIDTH = 4 + len(NAMES)  # what the image network looks for, and the shape


def rows(*records, tokens=None, by_reader=False):
    found = record_tensors(BREAST_RECORD, list(records))
    return found | image_tensors(tokens, len(records), width=WIDTH, by_reader=by_reader)


@pytest.fixture(scope="module")
def committee():
    """Three members that have learnt, in a moment, that category 5 and a large first token mean malignancy."""
    rng = np.random.default_rng(0)
    truth = rng.random(200) < 0.5
    records = [{"birads": frozenset({"5" if one else "2"})} for one in truth]
    tokens = rng.normal(0, 1, (200, WIDTH)).astype(np.float32)
    tokens[:, 0] += 2 * truth
    small = diagnosis.Design(width=8, heads=2, layers=1, dropout=0.0)
    made = diagnosis.Committee(BREAST_RECORD, 3, small, tokens.mean(axis=0), tokens.std(axis=0))
    weight = np.ones((200, 3), np.float32)
    weight[:, 2] = 0  # a member that never learns: what it would say of all cases is its own start
    table = diagnosis.Rows(rows(*records, tokens=tokens), truth, np.ones(200), weight)
    diagnosis.learn(
        made,
        table,
        BREAST_RECORD,
        diagnosis.Course(steps=60, batch=32, learning_rate=0.02),
        seed=1,
        progress=quiet,
    )
    return made


def odds(committee, tensors, part="joint"):
    return diagnosis.scores(committee, tensors, part)


def test_it_learns_from_record_and_image(committee):
    malignant, benign = {"birads": frozenset({"5"})}, {"birads": frozenset({"2"})}
    assert (odds(committee, rows(malignant))[:2] > odds(committee, rows(benign))[:2]).all()
    high, low = np.zeros((1, WIDTH), np.float32), np.zeros((1, WIDTH), np.float32)
    high[0, 0], low[0, 0] = 3, -1
    assert (odds(committee, rows({}, tokens=high))[:2] > odds(committee, rows({}, tokens=low))[:2]).all()


def test_rows_of_weight_0_teach_a_member_nothing(committee):
    line = np.asarray(committee.record_line)
    assert np.abs(line[:2]).max() > 0.01
    assert np.abs(line[2]).max() == 0


def test_what_stands_in_an_absent_image_changes_nothing(committee):
    record = {"birads": frozenset({"4"})}
    clean, dirty = rows(record), rows(record)
    dirty["image"] = np.full((1, WIDTH), 7, np.float32)
    np.testing.assert_array_equal(odds(committee, clean), odds(committee, dirty))


def test_without_a_record_the_joint_answer_is_the_images(committee):
    tokens = np.random.default_rng(3).normal(0, 1, (4, WIDTH)).astype(np.float32)
    tensors = rows({}, {}, {}, {}, tokens=tokens)
    np.testing.assert_allclose(odds(committee, tensors), odds(committee, tensors, "image"), atol=1e-6)


def test_without_an_image_the_joint_answer_is_the_records(committee):
    tensors = rows({"shape": frozenset({"oval"})}, {"age": 40.0})
    np.testing.assert_allclose(odds(committee, tensors), odds(committee, tensors, "record"), atol=1e-6)


def test_every_number_of_the_image_belongs_to_one_token():
    assert diagnosis.image_groups().sum(axis=0).tolist() == [1.0] * WIDTH


def test_every_column_of_the_record_belongs_to_one_feature():
    assert (diagnosis.record_groups(BREAST_RECORD).sum(axis=0) == 1).all()


def test_the_exported_diagnosis_is_the_mean_of_its_members_calibrated(committee):
    pair = diagnosis.chosen_members(committee, BREAST_RECORD, slice(0, 2))
    calibration = diagnosis.Calibration(record=(0.5, 0.1), both=(2.0, -0.3))
    run = variants.runner(
        keras_network.keras_model(diagnosis.diagnosis_network(pair, calibration)).SerializeToString()
    )
    record = {"birads": frozenset({"4b"}), "age": 61.0}
    alone = rows(record)
    both = rows(record, tokens=np.ones((1, WIDTH), np.float32))
    for tensors, (factor, offset) in ((alone, (0.5, 0.1)), (both, (2.0, -0.3))):
        mean = odds(committee, tensors)[:2].mean()
        wanted = 1 / (1 + np.exp(-(factor * mean + offset)))
        assert run(tensors)["probability"].item() == pytest.approx(wanted, abs=1e-5)
    assert run(both)["record_probability"].item() == pytest.approx(run(alone)["probability"].item(), abs=1e-6)


def test_thinning_takes_away_and_never_adds():
    tensors = rows(
        {"birads": frozenset({"4"}), "shape": frozenset({"oval"})}, {}, tokens=np.ones((2, WIDTH), np.float32)
    )
    rng = np.random.default_rng(0)
    groups = diagnosis.record_groups(BREAST_RECORD)
    for _ in range(20):
        record, known, image, there = diagnosis._thinned(
            dict(tensors), groups, len(BREAST_RECORD) - 1, diagnosis.Course(), rng
        )
        assert (known <= tensors["record_known"]).all()
        assert (record <= tensors["record"]).all()
        assert not record[1].any()
        assert (image.any(axis=1) == (there[:, 0] > 0)).all()


def test_platt_finds_the_slope_and_offset_that_were_put_in():
    rng = np.random.default_rng(0)
    odds_ = rng.normal(0, 2, 20000)
    truth = rng.random(20000) < 1 / (1 + np.exp(-(0.5 * odds_ - 1)))
    factor, offset = fit.platt(odds_, truth)
    assert factor == pytest.approx(0.5, abs=0.05)
    assert offset == pytest.approx(-1, abs=0.1)
    assert fit.platt(odds_, np.ones(20000, np.bool_)) == (1.0, 0.0)


def test_a_training_view_without_changes_is_what_the_server_cuts_out():
    rows_, columns = np.indices((150, 120))
    mask = ((rows_ - 70) / 25) ** 2 + ((columns - 60) / 35) ** 2 <= 1
    grey = (60 + 50 * np.sin(rows_ / 9) + 40 * np.cos(columns / 13) - 30 * mask).clip(0, 255).astype(np.uint8)
    outline, rules = reader_outline(mask), CropRules(64, 2.0, 32, 1.0, 99.5)
    served = crop(GreyImage(grey.astype(np.float32)), outline, rules)[0]
    window = window_around(outline.box, rules.zoom, rules.min_side_px)
    middle = (window.row + window.side / 2 - 0.5, window.column + window.side / 2 - 0.5)
    looked, drawn, inside = views.look(views.layers_of(grey, mask), views.View(middle, window.side), rules.size)
    assert np.abs(views.normalise(looked, inside) - served[..., 0]).mean() < 0.02
    assert np.abs(drawn - served[..., 1]).mean() < 0.01
