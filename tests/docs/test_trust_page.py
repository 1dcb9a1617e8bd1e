"""docs/trust.md: its example is read, and its tables name every field, preset and reason that there is."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from cds.caller import Capabilities
from cds.trust.advice import ADVICE
from cds.trust.issuer import CertificateUse
from cds.trust.issuers import read
from cds.trust.issuers_file import Entry
from cds.trust.presets import PRESETS
from fhir_adapters.allow_list import Network
from fhir_adapters.trust.jwk import Algorithm

PAGE = (Path(__file__).parents[2] / "docs" / "trust.md").read_text(encoding="utf-8")


def rows(heading: str) -> dict[str, str]:
    table = PAGE.split(heading)[1].split("\n\n")[0]
    return dict(re.findall(r"^\| `([a-z0-9_-]+)` \| (.+) \|$", table, re.M))


@pytest.mark.parametrize("production", [True, False])
def test_the_example_is_a_good_issuers_file(tmp_path: Path, production: bool) -> None:
    example = re.search(r"```toml\n(.*?)```", PAGE, re.S)
    assert example is not None
    (tmp_path / "issuers.toml").write_text(example[1])
    trust = read(tmp_path / "issuers.toml", production=production)
    north, south, east, research = trust.issuers
    assert north.algorithms == {Algorithm.RS384}
    assert (north.max_life_s, north.network) == (900, Network.PRIVATE)
    assert trust.choose(south.iss, next(iter(east.tenants))) is east
    assert trust.choose("https://research.example", None) is research
    assert research.certificate_use is CertificateUse.WITH_TOKEN
    assert trust.certificate_header is not None


def test_every_field_is_documented_and_nothing_else() -> None:
    documented = rows("| field | default | what it is |")
    assert set(documented) == set(Entry.model_fields)
    named = set(re.findall(r"`([a-z_]+)`", documented["capabilities"]))
    assert named == {one.name for one in fields(Capabilities)}
    assert set(re.findall(r"`([A-Z0-9]{5})`", documented["algorithms"])) | {"ES384", "RS384"} == set(Algorithm)


def test_every_preset_is_documented() -> None:
    assert set(rows("| preset | what it sets | to check with the vendor |")) == set(PRESETS)


def test_every_reason_is_documented_with_the_words_of_the_doctor() -> None:
    documented = rows("| reason | what was wrong | what to do |")
    assert documented == {reason.value: f"{advice.what} | {advice.do}" for reason, advice in ADVICE.items()}
