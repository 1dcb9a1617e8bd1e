"""What the compiled places find is what FHIRPath finds: every parameter of every type, against another's engine.

The resources are made by chance from HL7's own definitions of the types; the expressions are HL7's, as published.
"""

import json
import random
import re
from pathlib import Path

import pytest

from fhir_adapters.definitions.structure import UnknownTypeError, structure_of
from fhir_adapters.search.index import index_of
from fhir_adapters.search.parameters import TYPES, Kind
from fhir_adapters.search.texts import normal_text

fhirpathpy = pytest.importorskip("fhirpathpy")
MODEL = pytest.importorskip("fhirpathpy.models").models["r4"]

PACKAGE = Path(__file__).parents[2] / "build" / "definitions" / "package"
ROUNDS = 2
# Looks at one place more than R4 says.
BEYOND = {"ImagingStudy": ("modality",)}

pytestmark = [
    pytest.mark.skipif(not PACKAGE.is_dir(), reason="HL7's definitions are not here: make definitions"),
]


# ---------------------------------------------------------------- resources by chance


def primitive(rng, kind):
    number = rng.randrange(10**6)
    match kind:
        case "boolean":
            return rng.random() < 0.5
        case "integer" | "positiveInt" | "unsignedInt":
            return number
        case "decimal":
            return number / 100
        case "date":
            return f"20{number % 90 + 10}-0{number % 9 + 1}-1{number % 10}"
        case "dateTime" | "instant":
            return f"20{number % 90 + 10}-0{number % 9 + 1}-1{number % 10}T10:00:00Z"
        case "uri" | "url" | "canonical" | "oid" | "uuid":
            return f"http://example.org/{number}"
        case _:
            return f"w{number}"


def made(rng, kind, depth):
    """Return a value of a type, nothing of most elements that lie deep."""
    if kind == "Reference":
        target = rng.choice(["Patient", "Practitioner", "Location", "Device"])
        return {"reference": f"{target}/{rng.randrange(10**6)}"}
    try:
        structure = structure_of(kind)
    except UnknownTypeError:
        return primitive(rng, kind)
    chosen = {name for _, forms in structure.choices for name in rng.sample(forms, 1)}
    among = {name for _, forms in structure.choices for name in forms}
    value = {}
    for name, element in structure.elements.items():
        left_out = name in {"extension", "modifierExtension", "contained", "id", "meta", "text", "language"}
        if (left_out and depth == 0) or name in {"extension", "modifierExtension"} or element.kind == "Resource":
            continue
        if (name in among and name not in chosen) or rng.random() > (0.9 if depth < 2 else 0.5) or depth > 5:
            continue
        items = [made(rng, element.kind, depth + 1) for _ in range(rng.choice([1, 2]) if element.many else 1)]
        items = [item for item in items if item not in ({}, None)]
        if items:
            value[name] = items if element.many else items[0]
    return value


# ---------------------------------------------------------------- what FHIRPath finds, by the shape of it


def evaluated(resource, expression):
    # The engine resolves nothing: the reference itself says the type.
    for target in ("Patient", "Practitioner", "RelatedPerson", "Location"):
        expression = expression.replace(
            f"where(resolve() is {target})", f"where(reference.startsWith('{target}/'))"
        )
    # R4 writes `as` where several may stand, which FHIRPath has come to call ofType().
    expression = re.sub(r"\(([\w.]+) as (\w+)\)", r"\1.ofType(\2)", expression).replace(".as(", ".ofType(")
    return fhirpathpy.evaluate(resource, expression, {}, MODEL)


def words_of(kind, value):
    """Return what a search by this kind compares of an element: strings, as the rows are told below."""
    match kind, value:
        case Kind.TOKEN, bool():
            return {"true" if value else "false"}
        case Kind.TOKEN, {"coding": codings}:
            return {one["code"] for one in codings if "code" in one}
        case Kind.TOKEN, dict():
            return {value[name] for name in ("code", "value") if isinstance(value.get(name), str)}
        case Kind.REFERENCE, dict():
            return {value["reference"]} if "reference" in value else set()
        case Kind.STRING, dict():
            names = ("family", "given", "prefix", "suffix", "text", "line", "city", "district", "state")
            held = [value[name] for name in (*names, "postalCode", "country") if name in value]
            return {normal_text(one) for each in held for one in (each if isinstance(each, list) else [each])}
        case Kind.STRING, _:
            return {normal_text(value)}
        case Kind.DATE, dict():
            return (
                {value["start"][:10] if "start" in value else "0001-01-01"}
                if {*value} & {"start", "end"}
                else set()
            )
        case Kind.DATE, _:
            return set() if value.startswith("w") else {value[:10]}  # scheduledString is none
        case ((Kind.QUANTITY | Kind.NUMBER), dict()):
            return {str(float(value["value"]))} if "value" in value else set()
        case Kind.NUMBER, _:
            return {str(float(value))}
        case _:
            return {str(value)}


def rows_of(parameter, rows):
    names = parameter.rows
    match parameter.kind:
        case Kind.TOKEN:
            return {row.code for row in rows.tokens if row.param in names and row.code}
        case Kind.REFERENCE:
            own = [row for row in rows.references if row.param in names]
            only = {*parameter.only, ""} if parameter.only else None
            own = [row for row in own if only is None or row.target_type in only]
            return {f"{row.target_type}/{row.target_id}" if row.target_type else row.target_id for row in own}
        case Kind.STRING:
            return {row.value for row in rows.strings if row.param in names}
        case Kind.DATE:
            return {row.lo[:10] for row in rows.dates if row.param in names}
        case Kind.URI:
            return {row.value for row in rows.uris if row.param in names}
        case _:  # what is exact: a Range and a series are from one to another
            return {str(row.lo) for row in rows.quantities if row.param in names and row.lo == row.hi}


@pytest.fixture(scope="module")
def expressions():
    found = {}
    folder = PACKAGE / "dist" / "fhir" / "r4"
    for name in ("search-parameters.json", "search-parameters-uscore.json"):
        for entry in json.loads((folder / name).read_bytes())["entry"]:
            definition = entry["resource"]
            for base in definition["base"]:
                found[base, definition["code"]] = definition.get("expression", "")
    return found


def own_branches(expression, resource_type):
    parts = [part.strip() for part in expression.split("|")]
    return " | ".join(part for part in parts if part.lstrip("(").split(".")[0].split(" ")[0] == resource_type)


@pytest.mark.parametrize("resource_type", TYPES)
def test_the_rows_are_of_the_elements_that_fhirpath_finds(expressions, resource_type):
    rng = random.Random(resource_type)
    compared = 0
    for _ in range(ROUNDS):
        resource = {"resourceType": resource_type, **made(rng, resource_type, 0)}
        rows = index_of(resource, "").rows
        for parameter in TYPES[resource_type].parameters.values():
            expression = own_branches(expressions.get((resource_type, parameter.name), ""), resource_type)
            if (
                not expression
                or parameter.kind is Kind.COMPOSITE
                or parameter.name in BEYOND.get(resource_type, ())
            ):
                continue
            elements = evaluated(resource, expression)
            if any(isinstance(each, dict) and {*each} & {"event", "repeat"} for each in elements):
                continue  # of a Timing only the outer limits count: test_search_index
            expected = set().union(*(words_of(parameter.kind, each) for each in elements))
            assert rows_of(parameter, rows) == expected, (parameter.name, expression)
            compared += bool(expected)
    assert compared or resource_type in {"Basic"}
