from model_export.compare import compare
from model_runtime.testing import manifest_of, risk_document, segmentation_document

OLD = {"no_lab": {"auroc": 0.81, "auroc_ci95": [0.80, 0.82], "rows": 100}, "gone": 1.0}
NEW = {"no_lab": {"auroc": 0.85, "auroc_ci95": [0.84, 0.86], "rows": 100}, "added": {"brier": 0.1}}


def versions(old=OLD, new=NEW, **changes):
    return manifest_of(risk_document(metrics=old)), manifest_of(risk_document(metrics=new, **changes))


def test_figures_stand_side_by_side_and_say_when_their_intervals_are_apart():
    found = {change.name: change for change in compare(*versions()).figures}
    assert (found["no_lab.auroc"].old, found["no_lab.auroc"].new, found["no_lab.auroc"].apart) == (
        0.81,
        0.85,
        True,
    )
    assert found["no_lab.rows"].apart is None


def test_intervals_that_overlap_are_not_apart():
    near = {"no_lab": {"auroc": 0.815, "auroc_ci95": [0.805, 0.825]}}
    (change,) = compare(*versions(new=near)).figures
    assert change.apart is False


def test_an_interval_that_could_not_be_measured_says_nothing():
    unknown = {"no_lab": {"auroc": 0.815, "auroc_ci95": [None, None]}}
    (change,) = compare(*versions(new=unknown)).figures
    assert change.apart is None


def test_what_only_one_version_has_is_told():
    notes = compare(*versions()).notes
    assert any("gone" in note for note in notes)
    assert any("added.brier" in note for note in notes)


def test_changed_thresholds_and_inputs_are_told_in_words():
    document = risk_document()
    variant = {**document["variants"][0], "policy": {"report_from": 0.1, "warn_from": 0.4, "rule": "lower"}}
    features = [{**one, "name": "waist"} if one["name"] == "waist_cm" else one for one in document["features"]]
    variant["features"] = [one["name"] for one in features]
    notes = compare(*versions(variants=[variant], features=features)).notes
    assert "model: a card from 0.2 then, 0.1 now; a warning from 0.4 then, 0.4 now" in notes
    assert {"input waist is new", "input waist_cm is gone"} <= set(notes)


def test_other_training_data_is_told():
    document = risk_document()
    other = {**document["training"], "data": [{**document["training"]["data"][0], "sha256": "1" * 64}]}
    assert compare(*versions()).same_data
    assert not compare(*versions(training=other)).same_data


def test_two_different_models_are_not_compared_in_silence():
    notes = compare(manifest_of(risk_document()), manifest_of(segmentation_document())).notes
    assert notes[0] == "another model: diabetes-risk (risk) and lung-nodule (segmentation)"
