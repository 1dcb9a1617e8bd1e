"""HL7's own files: the shipped tables are made of them, and none of the resources in them is blamed wrongly."""

import json
import lzma
from pathlib import Path

import pytest

from fhir_adapters.definitions import compile_profiles, compile_search, compile_summary
from fhir_adapters.definitions.compile import OUTPUT, compile_definitions
from fhir_adapters.validation import problems_of

PACKAGE = Path(__file__).parents[3] / "build" / "definitions" / "package"
FILES = (
    "conceptmaps.json",
    "extension-definitions.json",
    "profiles-others.json",
    "profiles-types.json",
    "search-parameters.json",
)
# Says that it is of FHIR 4.3: the package carries one definition of the R5 backport.
OF_ANOTHER_RELEASE = "SubscriptionStatus"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PACKAGE.is_dir(), reason="HL7's definitions are not here: make definitions"),
]


def test_the_shipped_tables_are_those_of_the_published_definitions():
    # Compared unpacked: libraries pack differently.
    assert lzma.decompress(compile_definitions(PACKAGE)) == lzma.decompress(OUTPUT.read_bytes())


def test_the_shipped_profiles_are_what_the_published_definitions_give():
    made = compile_profiles.compile_profiles(PACKAGE)
    assert lzma.decompress(made) == lzma.decompress(compile_profiles.OUTPUT.read_bytes())


def test_the_shipped_search_parameters_are_those_of_the_published_definitions():
    made = compile_search.compile_search(PACKAGE)
    assert lzma.decompress(made) == lzma.decompress(compile_search.OUTPUT.read_bytes())


def test_the_table_of_summaries_is_what_the_published_definitions_give():
    made = compile_summary.compile_summary(PACKAGE)
    assert lzma.decompress(made) == lzma.decompress(compile_summary.OUTPUT.read_bytes())


@pytest.mark.parametrize("name", FILES)
def test_no_published_resource_is_blamed(name):
    entries = json.loads((PACKAGE / "dist" / "fhir" / "r4" / name).read_bytes())["entry"]
    assert entries
    for entry in entries[:400]:
        found = [one for one in problems_of(entry["resource"]) if one.severity == "error"]
        assert not found or entry["resource"]["id"] == OF_ANOTHER_RELEASE, (entry["resource"]["id"], found)
