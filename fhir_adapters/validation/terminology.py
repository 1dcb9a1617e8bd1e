"""Codes: required bindings (R4 4.1) and the codes of HL7's own code systems."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from clinical import ucum
from fhir_adapters.definitions.structure import Codes, code_system

# RFC 6838 4.2, with parameters; and the short forms of R4 2.21.0.5, which HL7's own statements use.
_NAME = "[A-Za-z0-9!#$&^_.+-]{1,127}"
_MIME = re.compile(rf'xml|json|ttl|{_NAME}/{_NAME}(\s*;\s*[^\s;=]+=("[^"]*"|[^\s;"]+))*')
_CURRENCY = re.compile(r"[A-Z]{3}")
_BY_RULE = {
    "http://hl7.org/fhir/ValueSet/mimetypes": _MIME,
    "http://hl7.org/fhir/ValueSet/currencies": _CURRENCY,
}
# These grow with every release of HL7 Terminology, so a code that R4's copy lacks may be a newer one.
_GROWING = ("http://terminology.hl7.org/CodeSystem/v2-", "http://terminology.hl7.org/CodeSystem/v3-")


def code_is_bound(value: str, binding: Codes, url: str) -> bool:
    """Tell whether a bare code is in the value set."""
    if url in _BY_RULE:
        return bool(_BY_RULE[url].fullmatch(value))
    return any(codes is None or value in codes for codes in binding.values())


def coding_is_bound(coding: Mapping[str, Any], binding: Codes) -> bool:
    """Tell whether a Coding (or a Quantity's unit) is in the value set: its code, under its system."""
    system = coding.get("system")
    if not isinstance(system, str) or system not in binding:
        return False
    codes = binding[system]
    return codes is None or coding.get("code") in codes


def codings_of(value: Mapping[str, Any], kind: str) -> Iterator[Mapping[str, Any]]:
    """Yield what has system and code in a Coding, a CodeableConcept or a Quantity."""
    if kind == "CodeableConcept":
        codings = value.get("coding")
        for coding in codings if isinstance(codings, list) else ():
            if isinstance(coding, dict):
                yield coding
    else:
        yield value


def is_unknown(system: object, code: object) -> bool:
    """Tell whether a code system of HL7, complete in R4, lacks the code."""
    known = code_system(system) if isinstance(system, str) else None
    return known is not None and isinstance(code, str) and code not in known


def unit_is_unknown(quantity: Mapping[str, Any]) -> bool:
    """Tell whether a Quantity says that its unit is one of UCUM and it is none."""
    code = quantity.get("code")
    return quantity.get("system") == ucum.SYSTEM and isinstance(code, str) and not ucum.is_unit(code)


def may_be_newer(system: str) -> bool:
    """Tell whether a code that R4's copy of the code system lacks may have come since."""
    return system.startswith(_GROWING)
