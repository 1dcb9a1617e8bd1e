"""Which codes say nothing of a person: those of code systems that many use, when they look like its codes.

A code field can hold anything, and a local system's codes are whatever the site made them. So a system is known
or its codes are dropped, and a code is in the system (where HL7 defines all of it) or has the form of its codes.
"""

import re
from collections.abc import Mapping
from functools import cache
from types import ModuleType

from clinical import breast_codes, codes, imaging_codes, override_codes, ucum
from clinical.codes import SNOMED_CT, Coding
from clinical.snomed_ct import is_sctid
from fhir_adapters.definitions.structure import code_system

Form = re.Pattern[str]

_NUMBER = re.compile("[0-9]{1,8}")
# Form of the codes; the check digit of SNOMED CT is looked at besides.
_FORMS: Mapping[str, Form] = {
    "http://loinc.org": re.compile("[0-9]{1,7}-[0-9]|L[AGP][0-9]{1,7}-[0-9]"),
    SNOMED_CT: re.compile("[1-9][0-9]{5,17}"),
    "http://hl7.org/fhir/sid/icd-10": re.compile(r"[A-Z][0-9][0-9A-Z](\.[0-9]{1,2})?"),
    "http://hl7.org/fhir/sid/icd-10-cm": re.compile(r"[A-Z][0-9][0-9A-Z](\.[0-9A-Z]{1,4})?"),
    "http://www.cms.gov/Medicare/Coding/ICD10": re.compile("[0-9A-HJ-NP-Z]{7}"),
    "http://hl7.org/fhir/sid/icd-9-cm": re.compile(r"[0-9EV][0-9]{2,3}(\.[0-9]{1,2})?"),
    "http://www.nlm.nih.gov/research/umls/rxnorm": _NUMBER,
    "http://hl7.org/fhir/sid/cvx": re.compile("[0-9]{1,3}"),
    "http://hl7.org/fhir/sid/ndc": re.compile("[0-9]{4,5}-[0-9]{3,4}(-[0-9]{1,2})?|[0-9]{11}"),
    "http://www.ama-assn.org/go/cpt": re.compile("[0-9]{4}[0-9A-Z]"),
    "http://www.whocc.no/atc": re.compile("[A-Z]([0-9]{2}([A-Z]([A-Z]([0-9]{2})?)?)?)?"),
    "https://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets": re.compile("[A-Z][0-9]{4}"),
    "http://nucc.org/provider-taxonomy": re.compile("[0-9]{3}[0-9A-Z]{6}X"),
    "http://ncicb.nci.nih.gov/xml/owl/EVS/Thesaurus.owl": re.compile("C[0-9]{3,7}"),
    "http://www.radlex.org": re.compile("RID[0-9]{1,6}"),
    "http://dicom.nema.org/resources/ontology/DCM": re.compile("[0-9]{6}"),
    "urn:oid:2.16.840.1.113883.6.238": re.compile("[0-9]{4}-[0-9]"),  # race and ethnicity (CDC)
    "urn:ietf:rfc:3986": re.compile(r"urn:oid:1\.2\.840\.10008(\.[0-9]{1,6}){1,8}"),  # SOP classes
    "urn:iso:std:iso:3166": re.compile("[A-Z]{2,3}"),
}
_OF_HL7 = ("http://terminology.hl7.org/", "http://hl7.org/fhir/")
_ANNOTATION = re.compile(r"\{[^{}]*\}")
_OTHER_FORM = re.compile("(?=[^0-9]*[0-9])[A-Za-z0-9._/-]{1,16}")


def kept_code(system: object, code: object, more: frozenset[str]) -> str | None:
    """Return a code that may be shown, or None. more: other systems that whoever exports vouches for."""
    if not isinstance(system, str) or not isinstance(code, str):
        return None
    if system == ucum.SYSTEM:
        return kept_unit(code)
    if (system, code) in own_displays():
        return code
    form = _FORMS.get(system) or (_OTHER_FORM if system in more else None)
    if form is not None and form.fullmatch(code) and (system != SNOMED_CT or is_sctid(code)):
        return code
    defined = code_system(system)
    return code if defined is not None and code in defined else None


def kept_system(system: str, more: frozenset[str]) -> bool:
    """Tell whether a system's name may be shown without a code."""
    return system in _FORMS or system in more or system == ucum.SYSTEM or system.startswith(_OF_HL7)


def kept_unit(code: str) -> str | None:
    """Return a unit of UCUM without annotations, which are free text; None when it is none."""
    bare = _ANNOTATION.sub("", code) or "1"
    return bare if "{" not in bare and ucum.is_unit(bare) else None


@cache
def own_displays() -> Mapping[tuple[str, str], str]:
    """Return the words for the codes that we use ourselves: ours, not those of whoever wrote a resource."""
    found: dict[tuple[str, str], str] = {}
    for module in (codes, breast_codes, imaging_codes, override_codes):
        found |= {(one.system, one.code): one.display for one in _codings(module)}
    return found


def _codings(module: ModuleType) -> list[Coding]:
    return [one for one in vars(module).values() if isinstance(one, Coding)]
