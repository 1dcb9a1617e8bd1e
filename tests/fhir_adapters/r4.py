"""Whether a resource that we emit is R4: by fhir.resources, by our own validator, and by what neither holds."""

import importlib

import orjson

from fhir_adapters.strict_json import loads
from fhir_adapters.validation import problems_of


def check_r4(resource):
    """fhir.resources' R4B models, and the invariants that they do not hold."""
    name = resource["resourceType"]
    model = getattr(importlib.import_module(f"fhir.resources.R4B.{name.lower()}"), name)
    model.model_validate_json(orjson.dumps(resource))
    found = problems_of(loads(orjson.dumps(resource), decimals=True), expected=name)
    assert not [each for each in found if each.severity == "error"]
    _refuse_empty(resource)
    if name == "Observation":
        value = any(member.startswith("value") for member in resource)
        assert not ("dataAbsentReason" in resource and value), "obs-6"
        own = {(each["system"], each["code"]) for each in resource["code"]["coding"]}
        for component in resource.get("component", []):
            codes = {(each["system"], each["code"]) for each in component["code"]["coding"]}
            assert not (value and own & codes), "obs-7"
    for prediction in resource.get("prediction", []):
        assert 0 <= prediction.get("probabilityDecimal", 0) <= 100, "ras-2"


def _refuse_empty(value):
    if isinstance(value, dict | list):
        assert value, "ele-1: an element has a value or children"
        for inner in value.values() if isinstance(value, dict) else value:
            _refuse_empty(inner)
    else:
        assert value is not None
        assert not isinstance(value, str) or value.strip()
