"""docs/research.md tells of every type that has a rule, and of every type of resource that is left out."""

import re
from pathlib import Path

from fhir_adapters.research.rules import LEFT_OUT, RULES

PAGE = (Path(__file__).parents[2] / "docs" / "research.md").read_text(encoding="utf-8")


def test_every_type_with_a_rule_is_in_the_table_and_no_other():
    table = PAGE[PAGE.index("| type | what is left |") : PAGE.index("`Location.position`")]
    rows = [row.split("|")[1] for row in table.splitlines()[2:] if row.startswith("|")]
    told = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    # Rare ones are not named: of definitions, and what a contained resource is.
    rare = {"ContactDetail", "Contributor", "DataRequirement", "ElementDefinition", "Expression", "Resource"}
    rare |= {"ParameterDefinition", "RelatedArtifact", "TriggerDefinition", "UsageContext"}
    assert told == set(RULES) - rare


def test_every_type_that_never_leaves_is_named():
    (sentence,) = re.findall(r"(`AuditEvent`.*?) never leave", PAGE, re.S)
    assert set(re.findall(r"`(\w+)`", sentence)) == LEFT_OUT
