"""docs/rules.md: its examples are files that are read, and do what the page says of them."""

import re
from pathlib import Path

import pytest

from consilium.closing import NO_PATIENT
from consilium.interlocks import (
    MERGED,
    NO_SIDE,
    OTHER_PERSON,
    OTHER_SIDE,
    OTHERS_ORDER,
    TEST_IMAGES,
    TWO_IDENTITIES,
    TWO_SIDES,
    Interlocks,
)
from consilium.rules import Rules, read_decision, read_rules, send_decision
from consilium.rules.clauses import FIELDS, ImageFacts
from consilium.rules.completion import Arrived, Waits, completeness
from consilium.rules.entries import KINDS
from record_store.instances import TWO_PATIENTS

TEXT = (Path(__file__).parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```toml\n(.+?)^```", TEXT, re.M | re.S)


@pytest.fixture
def rules(tmp_path):
    def of(example: int) -> Rules:
        path = tmp_path / "rules.toml"
        path.write_text(EXAMPLES[example], encoding="utf-8")
        shadows = ["lung-nodule@2.0.0"]
        return read_rules(path, models=["lung-nodule"], destinations=["pacs", "teaching"], shadows=shadows)

    return of


@pytest.mark.parametrize(
    ("facts", "reads"),
    [
        (ImageFacts("DX", "chest", "PA", "XRAY", "Thorax"), True),
        (ImageFacts("DX", "CHEST", "PA", "XRAY", "Chest after tube change"), False),
        (ImageFacts("DX", "CHEST", "LL", "XRAY", "Thorax"), False),
        (ImageFacts("DX", "CHEST", "PA", "TESTROOM", "Thorax"), False),
    ],
)
def test_the_reading_example_does_what_it_says(rules, facts, reads) -> None:
    assert read_decision(rules(0), facts, "lung-nodule").reads is reads


@pytest.mark.parametrize(("kind", "to"), [("SEG", ("teaching",)), ("SR", ("pacs",)), ("KO", ("pacs", "teaching"))])
def test_the_sending_example_does_what_it_says(rules, kind, to) -> None:
    assert send_decision(rules(2), kind, "lung-nodule", ("pacs", "teaching")).to == to


def test_the_shadow_example_names_a_version(rules) -> None:
    assert rules(1).shadow == ("lung-nodule@2.0.0",)


def test_every_clause_and_kind_has_its_place_on_the_page() -> None:
    assert [name for name in (*FIELDS, *KINDS) if f"`{name}`" not in TEXT] == []


def test_the_holding_example_asks_the_sides_of_the_parts_that_it_names(rules) -> None:
    assert rules(4).hold == Interlocks(laterality=("BREAST", "KNEE"))


def test_the_reasons_on_the_page_are_those_that_the_code_gives() -> None:
    for reason in (
        OTHER_SIDE,
        OTHERS_ORDER,
        TWO_PATIENTS,
        NO_PATIENT,
        TEST_IMAGES,
        TWO_IDENTITIES,
        NO_SIDE,
        TWO_SIDES,
        MERGED,
        OTHER_PERSON,
    ):
        assert f"| {reason} |" in TEXT


def test_the_completing_example_does_what_it_says(rules) -> None:
    complete, waits = rules(3).complete, Waits(5.0)
    pair = Arrived(2, 1, 0.0, frozenset({"DX"}), frozenset({"XRAY2"}))
    assert "two views" in completeness(pair, complete, waits).why
    slow = Arrived(2, 1, 30.0, frozenset({"US"}), frozenset({"US1"}))
    assert completeness(slow, complete, waits) is None
    assert completeness(slow, (), waits) is not None


def test_the_prior_example_does_what_it_says(rules) -> None:
    (prior,) = next(filter(None, (rules(number).prior for number in range(len(EXAMPLES)))))
    assert (prior.archive, prior.body_part, prior.most, prior.years) == ("pacs", ("CHEST",), 2, 5)
