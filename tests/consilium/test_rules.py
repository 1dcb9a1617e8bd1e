"""A site's rules: what they decide, which clause decided, and what a mistake in the file is told as."""

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilium.explain.dry_run import DryRun, in_text
from consilium.rules import NO_RULES, ReadRule, Rules, RulesWrong, read_decision, read_rules, send_decision
from consilium.rules.clauses import FIELDS, Clauses, ImageFacts, matches
from consilium.rules.entries import KINDS
from consilium.selection import Selecting
from consilium.settings import SettingsError, load_settings
from dicom_node.testing import CANARY_ID, CANARY_NAME
from model_runtime.testing import CannedEngine, manifest_of, segmentation_document
from record_store.audit import digest
from record_store.study_history import history_of
from tests.consilium.nodule import one_nodule, radiograph

MODELS, DESTINATIONS = ("lung-nodule", "breast-lesion"), ("pacs", "teaching")
CHEST = ImageFacts("DX", "CHEST", "PA", "XRAY1", "Thorax p.a.")


def rules_of(tmp_path, text) -> Rules:
    path = tmp_path / "rules.toml"
    path.write_text(text, encoding="utf-8")
    return read_rules(path, models=MODELS, destinations=DESTINATIONS)


FILE = """version = 1

[[read]]
name = "no test room"
models = []
when.calling_ae = ["TEST*"]

[[read]]
name = "chest"
models = ["lung-nodule"]
when = { modality = ["CR", "DX"], body_part = ["CHEST"] }
unless.description = ["*follow?up*"]

[[send]]
name = "teaching gets outlines"
kinds = ["SEG"]
models = ["lung-nodule"]
to = ["teaching"]
"""


@pytest.mark.parametrize(
    ("facts", "reads", "why", "tried"),
    [
        (CHEST, True, "rule 'chest' sends it", ["rule 'no test room': calling_ae is none of TEST*"]),
        (ImageFacts("DX", "CHEST", "PA", "TEST-9"), False, "rule 'no test room' does not send it", []),
        (
            ImageFacts("DX", "KNEE", "", "XRAY1"),
            True,
            "no rule fits",
            ["rule 'no test room': calling_ae is none of TEST*", "rule 'chest': body_part is none of CHEST"],
        ),
        (
            ImageFacts("DX", "CHEST", "", "XRAY1", "Chest Follow-Up"),
            True,
            "no rule fits",
            [
                "rule 'no test room': calling_ae is none of TEST*",
                "rule 'chest': unless description is *follow?up*",
            ],
        ),
    ],
)
def test_the_first_rule_that_fits_decides_and_every_one_before_it_says_which_clause_did_not_fit(
    tmp_path, facts, reads, why, tried
) -> None:
    decided = read_decision(rules_of(tmp_path, FILE), facts, "lung-nodule")
    assert decided.reads is reads
    assert decided.why.startswith(why)
    assert list(decided.tried) == tried


def test_a_rule_that_names_one_model_keeps_its_images_from_the_others(tmp_path) -> None:
    assert not read_decision(rules_of(tmp_path, FILE), CHEST, "breast-lesion").reads


def test_a_site_may_say_that_images_without_a_rule_go_to_no_model(tmp_path) -> None:
    rules = rules_of(tmp_path, 'version = 1\nunmatched = "no model"\n')
    assert not read_decision(rules, CHEST, "lung-nodule").reads


@pytest.mark.parametrize(
    ("kind", "model", "to"),
    [
        ("SEG", "lung-nodule", ("teaching",)),
        ("SR", "lung-nodule", DESTINATIONS),
        ("SEG", "breast-lesion", DESTINATIONS),
    ],
)
def test_a_kind_of_result_goes_where_the_first_rule_for_it_says(tmp_path, kind, model, to) -> None:
    assert send_decision(rules_of(tmp_path, FILE), kind, model, DESTINATIONS).to == to


TEXT = st.text(st.characters(codec="ascii", exclude_characters="[]"), max_size=12)
FACTS = st.builds(ImageFacts, *[TEXT] * len(FIELDS))
CLAUSES = st.builds(
    Clauses, st.dictionaries(st.sampled_from(FIELDS), st.lists(TEXT, min_size=1, max_size=3).map(tuple))
)
RULES = st.builds(
    Rules,
    st.lists(
        st.builds(ReadRule, TEXT, st.lists(st.sampled_from([*MODELS, "*"])).map(tuple), CLAUSES), max_size=4
    ).map(tuple),
    st.just(()),
    st.booleans(),
)


@given(FACTS, st.sampled_from(MODELS))
def test_without_rules_every_image_may_go_to_every_model(facts, model) -> None:
    assert read_decision(NO_RULES, facts, model).reads


@given(RULES, FACTS, st.sampled_from(MODELS))
def test_a_decision_is_that_of_the_first_rule_whose_clauses_all_fit(rules, facts, model) -> None:
    decided = read_decision(rules, facts, model)
    fitting = [rule for rule in rules.read if rule.when.failing(facts) is None]
    expected = bool({"*", model} & set(fitting[0].models)) if fitting else rules.unmatched_reads
    assert decided.reads == expected
    assert len(decided.tried) == (rules.read.index(fitting[0]) if fitting else len(rules.read))


@given(CLAUSES, FACTS)
def test_a_clause_that_fits_fits_whatever_the_case(clauses, facts) -> None:
    loud = ImageFacts(*(getattr(facts, field).upper() for field in FIELDS))
    assert (clauses.failing(facts) is None) == (clauses.failing(loud) is None)


@given(st.text("ab?*", max_size=8), st.text("ab", max_size=10))
def test_patterns_mean_what_those_of_a_shell_mean(pattern, value) -> None:
    assert matches(pattern, value) == fnmatch.fnmatchcase(value, pattern)


def test_brackets_in_a_pattern_mean_themselves() -> None:
    assert matches("[ab]", "[ab]")
    assert not matches("[ab]", "a")


def test_a_pattern_of_stars_against_a_long_text_does_not_backtrack() -> None:
    assert not matches("*a" * 30 + "b", "a" * 256)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "line 1, version: expected here"),
        ("version = 2\n", "line 1, version: expected 1"),
        ("version = 1\nreed = 1\n", "line 2, reed: not known here"),
        (
            'version = 1\n\n[[read]]\nname = "a"\nmodels = []\n[[read]]\nname = "b"\nmodels=[]\nwhen.part = []',
            "line 9, read.2.when.part: not known here",
        ),
        (
            'version = 1\n[[read]]\nname = "a"\nmodels = []\n[read.when]\nmodality = "CT"\n',
            "line 6, read.1.when.modality: expected a list in brackets",
        ),
        (
            'version = 1\n[[read]]\nname = "a"\nmodels = ["lung-nodul"]\n',
            "line 4, read.1.models: expected names of models in the models folder, or * for all",
        ),
        (
            'version = 1\nshadow = ["lung-nodule@2.0.0"]\n',
            "line 2, shadow: expected NAME@VERSION of models in CONSILIUM_SHADOW_MODELS",
        ),
        (
            'version = 1\n[[send]]\nname = "a"\nkinds = ["SVG"]\nto = []\n',
            "line 4, send.1.kinds.1: expected a kind of result: " + ", ".join(KINDS) + ", or * for all",
        ),
        (
            'version = 1\n[[send]]\nname = "a"\nto = ["pax"]\n',
            "line 4, send.1.to: expected names of destinations in CONSILIUM_PACS, or * for all",
        ),
        (
            'version = 1\n[[send]]\nname = "a"\nto = []\n[[send]]\nname = "a"\nto = []\n',
            "line 6, send.2.name: expected a name that no other [[send]] has",
        ),
    ],
)
def test_a_mistake_is_told_with_its_line_and_key_and_without_its_value(tmp_path, text, line) -> None:
    with pytest.raises(RulesWrong) as wrong:
        rules_of(tmp_path, text)
    assert wrong.value.lines == (line,)


def test_what_is_no_toml_is_told_with_its_line(tmp_path) -> None:
    with pytest.raises(RulesWrong, match=r"expected TOML: .*line 2"):
        rules_of(tmp_path, "version = 1\n[[read]\n")


def test_a_bad_rules_file_stops_start_up(tmp_path, no_settings) -> None:
    path = tmp_path / "rules.toml"
    path.write_text('version = 1\n[[read]]\nname = "a"\nmodels = ["unheard-of"]\n')
    with pytest.raises(SettingsError) as wrong:
        load_settings(data_dir=tmp_path, rules_file=path)
    assert wrong.value.lines == [
        "CONSILIUM_RULES_FILE: line 4, read.1.models: expected names of models in the models folder, or * for all"
    ]


@pytest.mark.slow
def test_what_the_dry_run_says_is_what_the_worker_does(make_study, tmp_path) -> None:
    manifest = manifest_of(segmentation_document())
    rules = rules_of(
        tmp_path,
        'version = 1\n[[read]]\nname = "teaching files"\nmodels = []\nwhen.description = ["teach*"]\n'
        '[[send]]\nname = "no outlines"\nkinds = ["SEG"]\nto = []\n',
    )
    engine = CannedEngine({"lung-nodule": one_nodule}, {"lung-nodule": manifest})
    study = make_study("lung-nodule", engine, radiograph, rules=rules)
    study.arrives("one")
    study.arrives("two", StudyDescription="Teaching file")
    selecting = Selecting(study.blobs, study.steps.issuers, rules=rules)
    told = DryRun(study.db, selecting, [manifest], ("pacs",), ("SEG", "SR")).run(digest(study.uid))
    assert sorted(image["models"][0]["reads"] for image in told["images"]) == [False, True]
    assert [(one["kind"], one["to"]) for one in told["results"]] == [("SEG", []), ("SR", ["pacs"])]
    key = study.closes()
    chosen = study.steps.read(key, {})
    assert (len(chosen["images"]), chosen["left_out"]) == (
        1,
        ["by the site's rules: rule 'teaching files' does not send it to this model (description is teach*)"],
    )
    study.run(key)
    with study.db.read() as conn:
        sent = {one.kind for one in history_of(conn, study.uid).sent}
    assert "SR" in sent
    assert "SEG" not in sent
    shown = in_text(told)
    assert "rule 'teaching files': description is none of teach*" in shown
    for private in (CANARY_NAME, CANARY_ID, study.uid):
        assert private not in shown


@pytest.mark.slow
def test_a_study_that_the_rules_keep_from_a_model_is_not_called_unread(make_study, tmp_path) -> None:
    rules = rules_of(tmp_path, 'version = 1\nunmatched = "no model"\n')
    engine = CannedEngine({"lung-nodule": one_nodule}, {"lung-nodule": manifest_of(segmentation_document())})
    study = make_study("lung-nodule", engine, radiograph, rules=rules)
    study.arrives("one")
    key = study.is_read()
    assert study.job(key).reason.startswith("no image was meant for this model: by the site's rules")
    assert study.counts()["delivery"] == 0


@pytest.mark.slow
def test_every_kind_of_result_can_be_named_in_a_rule() -> None:
    from dicom_node.results import ENCODERS  # noqa: PLC0415 - highdicom takes time that the other tests save

    assert {encoder.kind for encoder in ENCODERS} <= set(KINDS)
