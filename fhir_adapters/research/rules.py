"""What becomes of each kind of element: one table over R4's data types, and the few elements that differ from it.

What has no rule is dropped, and counted. `RULES` is by type, so that an element is covered wherever it stands;
`BY_PATH` names the elements whose type does not say what they hold.
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from clinical import ucum
from fhir_adapters.definitions.structure import Element
from fhir_adapters.research.dates import year_of
from fhir_adapters.research.places import region_of
from fhir_adapters.research.terms import kept_code, kept_system, kept_unit, own_displays
from fhir_adapters.search.index import target_of
from fhir_adapters.validation.terminology import code_is_bound

if TYPE_CHECKING:
    from fhir_adapters.research.walk import Work

VERSION = "1"

Json = dict[str, Any]
Rule = Callable[["Work", Element, Any], Any]
"""Returns what is left of a value, or DROPPED."""

Left = Any  # a value of JSON, or DROPPED
DROPPED: Left = object()
MASKED = {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}

# Types of resources that are about people's work or secrets and nothing that is researched.
LEFT_OUT = frozenset(
    {"AuditEvent", "Binary", "MessageHeader", "OperationOutcome", "Parameters", "Person", "Subscription"}
)

_UID = re.compile(r"[0-2](\.(0|[1-9][0-9]*)){1,32}")
_DICOM_UID = "urn:dicom:uid"
_MODEL = "urn:consilium:model"
_MODEL_NAME = re.compile(r"[a-z][a-z0-9-]{0,40}(@[0-9]{1,4}(\.[0-9]{1,4}){0,2})?")
_SAMPLES = re.compile(r"[0-9EUL.+\- ]+")
_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]{1,9})?")
_LARGEST = 99_999_999  # a count; nine digits may be somebody's number
_MOST_DIGITS = 15
_OLDEST_YEARS = 90
_PER_YEAR = {
    **dict.fromkeys(("a", "a_j", "a_g", "a_t"), Decimal(1)),
    "mo": Decimal(12),
    "wk": Decimal("52.18"),
    "d": Decimal("365.25"),
}

_ABSENT = frozenset(
    (
        *("unknown", "asked-unknown", "temp-unknown", "not-asked", "asked-declined", "masked", "not-applicable"),
        *("unsupported", "as-text", "error", "not-a-number", "negative-infinity", "positive-infinity"),
        *("not-performed", "not-permitted"),
    )
)
# Extensions by their URL: the codes that a valueCode may have. Their other values follow the rules of their types.
_EXTENSIONS: Mapping[str, frozenset[str]] = {
    "http://hl7.org/fhir/StructureDefinition/data-absent-reason": _ABSENT,
    "http://hl7.org/fhir/uv/aitransparency/StructureDefinition/AIconfidence": frozenset(),
    "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race": frozenset(),
    "http://hl7.org/fhir/us/core/StructureDefinition/us-core-ethnicity": frozenset(),
    "http://hl7.org/fhir/us/core/StructureDefinition/us-core-birthsex": frozenset({"F", "M", "UNK"}),
    "ombCategory": frozenset(),
    "detailed": frozenset(),
}


def _dropped(work: "Work", element: Element, _value: object) -> Left:
    return work.drop(element.kind)


def _boolean(work: "Work", element: Element, value: object) -> Left:
    return value if isinstance(value, bool) else work.drop(element.kind)


def _integer(work: "Work", element: Element, value: object) -> Left:
    fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST
    return value if fits else work.drop(element.kind)


def _decimal(work: "Work", element: Element, value: object) -> Left:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return work.drop(element.kind)
    return value if len(Decimal(value).as_tuple().digits) <= _MOST_DIGITS else work.drop("decimal of many digits")


def _time(work: "Work", element: Element, value: object) -> Left:
    return value if isinstance(value, str) and _TIME.fullmatch(value) else work.drop(element.kind)


def _code(work: "Work", element: Element, value: object) -> Left:
    # A bare code is one of a required value set, or it could be anything.
    bound = isinstance(value, str) and element.binding and code_is_bound(value, element.binding, element.value_set)
    return value if bound and len(str(value)) <= 64 else work.drop("code outside a required value set")


def _date(work: "Work", element: Element, value: object) -> Left:
    if not isinstance(value, str):
        return work.drop(element.kind)
    if work.shift is not None:
        moved = work.shift.moved(value)
        return work.drop("date that tells an age over 89, or is none") if moved is None else moved
    # Nobody's date, or that of several: a year is no date of a person, and an instant cannot be one.
    year = year_of(value) if element.kind != "instant" else None
    return work.drop("date of nobody known") if year is None else year


def _birth(work: "Work", _element: Element, value: object) -> Left:
    year = work.shift.birth_year(value) if isinstance(value, str) and work.shift is not None else None
    return work.drop("birth date") if year is None else year


def _uid(work: "Work", _element: Element, value: object) -> Left:
    # As the images of this destination have it (PS3.15 annex E: references stay whole).
    is_uid = isinstance(value, str) and _UID.fullmatch(value) and len(value) <= 64
    return work.aims.names.uid(str(value)) if is_uid else work.drop("id")


def _samples(work: "Work", element: Element, value: object) -> Left:
    return value if isinstance(value, str) and _SAMPLES.fullmatch(value) else work.drop(element.kind)


def _profile(work: "Work", element: Element, value: object) -> Left:
    known = isinstance(value, str) and re.fullmatch(r"http://hl7\.org/fhir/[A-Za-z0-9/._-]{1,100}", value)
    return value if known and value in work.aims.profiles else work.drop(element.kind)


def _walked(work: "Work", element: Element, value: object) -> Left:
    return work.part(element.kind, value)


def _identifier(work: "Work", element: Element, value: object) -> Left:
    held = value if isinstance(value, dict) else {}
    system, text = held.get("system"), held.get("value")
    if isinstance(text, str):
        bare = text.removeprefix("urn:oid:")
        if system == _DICOM_UID and _UID.fullmatch(bare) and len(bare) <= 64:
            return {"system": system, "value": f"urn:oid:{work.aims.names.uid(bare)}"}
        if system == _MODEL and _MODEL_NAME.fullmatch(text):
            return {"system": system, "value": text}
    return work.drop(element.kind)


def _address(work: "Work", element: Element, value: object) -> Left:
    left = region_of(value) if isinstance(value, dict) else {}
    return left or work.drop(element.kind)


def _coding(work: "Work", _element: Element, value: object) -> Left:
    held = value if isinstance(value, dict) else {}
    system = held.get("system")
    code = kept_code(system, held.get("code"), work.aims.systems)
    if code is None:
        known = isinstance(system, str) and kept_system(system, work.aims.systems)
        return work.drop("code that its system does not have" if known else "code of a system that is not known")
    # Words are whoever's wrote them; only ours, for the codes that we use, are put in their place.
    display = own_displays().get((str(system), code))
    return {"system": system, "code": code} | ({"display": display} if display else {})


def _quantity(work: "Work", element: Element, value: object) -> Left:
    held = value if isinstance(value, dict) else {}
    number = held.get("value")
    if (
        isinstance(number, bool)
        or not isinstance(number, int | Decimal)
        or _decimal(work, element, number) is DROPPED
    ):
        return work.drop("quantity without a value")
    unit = kept_unit(str(held.get("code"))) if held.get("system") == ucum.SYSTEM else None
    if unit is None and isinstance(held.get("unit"), str) and "system" not in held:
        unit = kept_unit(held["unit"])
    if unit is not None and unit in _PER_YEAR and abs(Decimal(number)) / _PER_YEAR[unit] >= _OLDEST_YEARS:
        return {"value": _OLDEST_YEARS, "unit": "a", "system": ucum.SYSTEM, "code": "a"}
    if element.kind == "Age" and unit is None:
        return work.drop("age without a unit of UCUM")
    left: Json = {"value": number}
    if held.get("comparator") in {"<", "<=", ">=", ">"}:
        left["comparator"] = held["comparator"]
    if unit is not None:
        left |= {"unit": unit, "system": ucum.SYSTEM, "code": unit}
    elif "unit" in held or "code" in held:
        work.drop("unit that is none of UCUM")
    return left


def _reference(work: "Work", element: Element, value: object) -> Left:
    text = value.get("reference") if isinstance(value, dict) else None
    if not isinstance(text, str):
        return work.drop("reference by an identifier or words")
    if text.startswith("#"):
        inner = work.contained.get(text[1:]) if len(text) > 1 else ""
        return work.drop("reference to what is left out") if inner is None else {"reference": f"#{inner}"}
    kind, name = target_of(text, work.aims.base_url)
    known = work.aims.known(kind, name) if kind else None
    if known is None or (element.targets and kind not in element.targets):
        return work.drop("reference to what is left out")
    return {"reference": f"{kind}/{known}"}


def _extension(work: "Work", element: Element, value: object) -> Left:
    held = value if isinstance(value, dict) else {}
    url = held.get("url")
    codes = _EXTENSIONS.get(url) if isinstance(url, str) else None
    if codes is None:
        return work.drop(element.kind)
    if "valueCode" in held:
        return {"url": url, "valueCode": held["valueCode"]} if held["valueCode"] in codes else work.drop("code")
    left = work.part("Extension", {name: one for name, one in held.items() if name != "url"})
    return work.drop(element.kind) if left is DROPPED else {"url": url} | left


def _resource(work: "Work", _element: Element, value: object) -> Left:
    return work.inner(value)


RULES: Mapping[str, Rule] = (
    {
        "boolean": _boolean,
        "integer": _integer,
        "positiveInt": _integer,
        "unsignedInt": _integer,
        "decimal": _decimal,
        "time": _time,
        "code": _code,
        "date": _date,
        "dateTime": _date,
        "instant": _date,
        "Identifier": _identifier,
        "Address": _address,
        "Coding": _coding,
        "Reference": _reference,
        "Extension": _extension,
        "Resource": _resource,
    }
    | dict.fromkeys(
        ("base64Binary", "canonical", "id", "markdown", "oid", "string", "uri", "url", "uuid", "xhtml"), _dropped
    )
    | dict.fromkeys(
        (
            *("Annotation", "Attachment", "ContactDetail", "ContactPoint", "Contributor", "DataRequirement"),
            *(
                "ElementDefinition",
                "Expression",
                "HumanName",
                "Narrative",
                "ParameterDefinition",
                "RelatedArtifact",
            ),
            *("Signature", "TriggerDefinition", "UsageContext"),
        ),
        _dropped,
    )
    | dict.fromkeys(("Quantity", "Age", "Count", "Distance", "Duration"), _quantity)
    | dict.fromkeys(
        ("CodeableConcept", "Dosage", "Meta", "Money", "Period", "Range", "Ratio", "SampledData", "Timing"),
        _walked,
    )
)

BY_PATH: Mapping[tuple[str, str], Rule] = {
    ("Patient", "birthDate"): _birth,
    ("RelatedPerson", "birthDate"): _birth,
    ("FamilyMemberHistory", "bornDate"): _birth,
    ("Practitioner", "birthDate"): _dropped,
    ("ImagingStudy.series", "uid"): _uid,
    ("ImagingStudy.series.instance", "uid"): _uid,
    ("SampledData", "data"): _samples,
    ("Meta", "profile"): _profile,
    ("Location", "position"): _dropped,  # where somebody was, to a few metres
}


def rule_of(place: str, element: Element) -> Rule | None:
    """Return the rule of an element of a type or backbone; None when there is none, and it is dropped."""
    found = BY_PATH.get((place, element.name)) or RULES.get(element.kind)
    return found or (_walked if "." in element.kind else None)
