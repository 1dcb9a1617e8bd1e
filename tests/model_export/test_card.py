import pytest

from model_export.card import card_text
from model_export.transparency import answers
from model_runtime.source_attributes import ATTRIBUTES, NOT_ASSESSED, SECTIONS
from model_runtime.testing import risk_document


def test_the_rule_has_31_attributes_in_nine_sections_in_order():
    assert len(ATTRIBUTES) == 31
    assert len({attribute.key for attribute in ATTRIBUTES}) == 31
    chapters = [attribute.clause.partition(".")[0] for attribute in ATTRIBUTES]
    assert chapters == sorted(chapters)
    assert [chapters.count(section) for section in SECTIONS] == [4, 4, 2, 4, 2, 4, 5, 4, 2]


def test_the_card_answers_all_31_in_the_rules_order():
    card = card_text(risk_document(), [])
    places = [card.index(f"{n}. **{attribute.title}**") for n, attribute in enumerate(ATTRIBUTES, start=1)]
    assert places == sorted(places)


def test_what_nobody_looked_at_says_so_and_nothing_is_blank():
    said = answers(validity_local="AUROC 0.8")
    assert said["validity_local"] == "AUROC 0.8"
    assert said["fairness_local"] == NOT_ASSESSED
    assert all(text.strip() for text in said.values())


def test_an_answer_to_a_question_that_the_rule_does_not_ask_is_refused():
    with pytest.raises(ValueError, match="favourite_colour"):
        answers(favourite_colour="blue")


def test_a_notice_stands_before_everything_but_the_title():
    card = card_text(risk_document(notice="Research only."), [("Figures", "many")])
    assert card.index("Research only.") < card.index("Intended use") < card.index("## Figures")


def test_the_card_of_a_graph_names_its_axes_and_digest():
    card = card_text(risk_document(), [])
    assert "in `features` float64 [person batch, feature 7]" in card
    assert "`0000000000000000…`" in card
