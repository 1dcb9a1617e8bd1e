"""docs/access.md: its example is read, and its tables name every field and reason that there is."""

import json
import re
from pathlib import Path

import pytest

from fhir_adapters.access.advice import ADVICE
from fhir_adapters.access.clients import Entry, read
from fhir_adapters.trust.testing import Signer

PAGE = (Path(__file__).parents[2] / "docs" / "access.md").read_text(encoding="utf-8")


def rows(heading: str) -> dict[str, str]:
    table = PAGE.split(heading)[1].split("\n\n")[0]
    return dict(re.findall(r"^\| `([a-z0-9_-]+)` \| (.+) \|$", table, re.M))


@pytest.mark.parametrize("production", [True, False])
def test_the_example_is_a_good_clients_file(tmp_path: Path, production: bool) -> None:
    example = re.search(r"```toml\n(.*?)```", PAGE, re.S)
    assert example is not None
    (tmp_path / "clients.toml").write_text(example[1])
    (tmp_path / "portal.jwks.json").write_text(json.dumps({"keys": [Signer("portal-1").jwk]}))
    warehouse, laboratory, portal = read(tmp_path / "clients.toml", production=production).every
    assert warehouse.jku
    assert laboratory.actor == "Organization/lab"
    assert portal.patient == ""


def test_every_field_is_documented_and_nothing_else() -> None:
    assert set(rows("| field | default | what it is |")) == set(Entry.model_fields)


def test_every_reason_is_documented_with_the_words_of_the_doctor() -> None:
    documented = rows("| reason | what was wrong | what to do |")
    assert documented == {reason.value: f"{advice.what} | {advice.do}" for reason, advice in ADVICE.items()}
