"""Write `search.json.xz` from the published search parameters: python -m <this module> PACKAGE_FOLDER.

PACKAGE_FOLDER: as in `compile`, which has to run first: what an expression walks is known by `structure`. Run
time evaluates no FHIRPath: each expression of R4 (search-parameters.json) becomes the places it looks at, with the
type of what stands there. `expressions` reads the forms that R4 uses; what cannot be read is kept under "left_out"
with the reason, and a test lists it.

A parameter of a type is a row [kind, id of its definition (or its URL, if it is not of R4), places, rest]; a
place is [path, type, rest]. A path is names of members with dots; `telecom[system=phone]` and `entry[0]` choose
among the items of a list. `rest` of a place: "is", the type that a reference must name; "many", that several can
stand there; "system", what a bare code means there ("systems": code -> system, when several are bound). `rest` of
a parameter: "targets" of references; "on" and "parts" of a composite, the elements that it joins over ("" is the
resource) and its component parameters.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fhir_adapters.definitions.compile import resources_of
from fhir_adapters.definitions.expressions import NotCompiled, Place, places_of
from fhir_adapters.definitions.packed import packed
from fhir_adapters.definitions.structure import resource_types

OUTPUT = Path(__file__).with_name("search.json.xz")
# R4's own, and what US Core adds.
SOURCES = ("search-parameters.json", "search-parameters-uscore.json")
EVERYWHERE = ("Resource", "DomainResource")
_URL = "http://hl7.org/fhir/SearchParameter/"

Json = dict[str, Any]


def compile_search(folder: Path) -> bytes:
    """Return the tables of the package in `folder`, as an xz file."""
    published = folder / "dist" / "fhir" / "r4"
    definitions = [one for name in SOURCES for one in resources_of(published / name)]
    codes = {definition["url"]: definition["code"] for definition in definitions}
    types: dict[str, dict[str, list[Any]]] = {}
    left_out: dict[str, str] = {}
    for definition in definitions:
        for resource_type in definition["base"]:
            try:
                row = _row(definition, resource_type, codes)
            except NotCompiled as why:
                left_out[f"{resource_type}.{definition['code']}"] = str(why)
                continue
            types.setdefault(resource_type, {})[definition["code"]] = row
    tables = {
        "version": "4.0.1",
        "types": types,
        "left_out": left_out,
        "patient_compartment": dict(_compartment(published / "compartmentdefinition-patient.json")),
    }
    return packed(tables)


def _row(definition: Json, resource_type: str, codes: dict[str, str]) -> list[Any]:
    if "expression" not in definition:
        raise NotCompiled("it has no expression: what it compares is the server's to say")
    if definition.get("xpathUsage", "normal") != "normal":
        raise NotCompiled(f"its comparison ({definition['xpathUsage']}) is the server's to say")
    kind = definition["type"]
    rest: Json = {}
    if kind == "composite":
        rest = {
            "on": _joined(definition["expression"], resource_type),
            "parts": [_part(one, codes) for one in definition["component"]],
        }
        return [kind, _name_of(definition), [], rest]
    # What every type has is looked for in one that stands for all.
    stands_for = "Patient" if resource_type in EVERYWHERE else resource_type
    places = places_of(definition["expression"].replace(f"{resource_type}.", f"{stands_for}."), stands_for, kind)
    if not places:
        raise NotCompiled("nothing that it names can be compared by its kind")
    if kind == "reference":
        rest["targets"] = sorted(definition.get("target", ()))
        if set(rest["targets"]) >= resource_types():
            rest["targets"] = []
    return [kind, _name_of(definition), [_place(place) for place in places], rest]


def _name_of(definition: Json) -> str:
    """Return the id of one of R4's, the whole URL of any other."""
    url = str(definition["url"])
    return url.removeprefix(_URL)


def _place(place: Place) -> list[Any]:
    rest: Json = {}
    if place.target:
        rest["is"] = place.target
    if place.many:
        rest["many"] = 1
    if len(place.systems) == 1:
        rest["system"] = next(iter(place.systems))
    elif place.systems:
        rest["systems"] = {code: system for system, codes in place.systems.items() for code in codes}
    return [place.path, place.type, rest]


def _part(component: Json, codes: dict[str, str]) -> str:
    if component["expression"].startswith("%resource"):
        raise NotCompiled("it joins what stands in different elements")
    return codes[component["definition"]]


def _joined(expression: str, resource_type: str) -> list[str]:
    """Return the elements that a composite joins over: paths in the resource, "" for itself."""
    whole = [one.strip() for one in expression.split("|")]
    own = [one for one in whole if one.split(".")[0] == resource_type]
    return [one.removeprefix(resource_type).removeprefix(".") for one in own]


def _compartment(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield (type, the parameters that tie it to a Patient) of the compartment definition (R4 2.23)."""
    for one in json.loads(path.read_bytes())["resource"]:
        if one.get("param"):
            yield one["code"], one["param"]


def main() -> None:
    """Write the file beside this one and say how large it is."""
    OUTPUT.write_bytes(compile_search(Path(sys.argv[1])))
    sys.stdout.write(f"{OUTPUT.name}: {OUTPUT.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
