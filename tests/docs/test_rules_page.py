"""docs/rules.md: its examples are files that are read, and do what the page says of them."""

import re
from pathlib import Path

import pytest

from consilium.rules import Rules, read_decision, read_rules, send_decision
from consilium.rules.clauses import FIELDS, ImageFacts
from consilium.rules.entries import KINDS

TEXT = (Path(__file__).parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```toml\n(.+?)^```", TEXT, re.M | re.S)


@pytest.fixture
def rules(tmp_path):
    def of(example: int) -> Rules:
        path = tmp_path / "rules.toml"
        path.write_text(EXAMPLES[example], encoding="utf-8")
        return read_rules(path, models=["lung-nodule"], destinations=["pacs", "teaching"])

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
    assert send_decision(rules(1), kind, "lung-nodule", ("pacs", "teaching")).to == to


def test_every_clause_and_kind_has_its_place_on_the_page() -> None:
    assert [name for name in (*FIELDS, *KINDS) if f"`{name}`" not in TEXT] == []
