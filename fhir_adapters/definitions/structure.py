"""What an R4 type is made of, as the validator asks for it: one table a type, made when first needed.

The names of a choice element are written out (`valueQuantity`, `valueString`); a backbone element is a type named
by its path (`Observation.component`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from fhir_adapters.definitions.packed import unpacked

PRIMITIVES = frozenset(
    (
        *(
            "base64Binary",
            "boolean",
            "canonical",
            "code",
            "date",
            "dateTime",
            "decimal",
            "id",
            "instant",
            "integer",
        ),
        *("markdown", "oid", "positiveInt", "string", "time", "unsignedInt", "uri", "url", "uuid", "xhtml"),
    )
)
# Quantities with rules of their own (R4 2.24.0.9): the elements are those of Quantity.
QUANTITIES = frozenset({"Quantity", "Age", "Count", "Distance", "Duration"})

Codes = Mapping[str, frozenset[str] | None]


@dataclass(frozen=True, slots=True)
class Element:
    """One element under one of its names.

    kind: a primitive's name, a complex type's, a backbone's path, or "Resource". many: it is a list. limit: how
    many it may hold, None for any number. binding: system -> codes of the required value set (codes None: any of
    the system); None where nothing is required. targets: types a Reference may point to, empty for any.
    """

    name: str
    kind: str
    many: bool
    limit: int | None = None
    binding: Codes | None = None
    value_set: str = ""
    targets: frozenset[str] = frozenset()
    simple: bool = False

    @property
    def is_primitive(self) -> bool:
        """True when its value is no object."""
        return self.kind in PRIMITIVES


@dataclass(frozen=True, slots=True)
class Structure:
    """One type. required: what must be there, each as (name in the standard, names under which it may stand).

    choices: likewise, the elements of which one form may stand at most.
    """

    name: str
    elements: Mapping[str, Element]
    required: tuple[tuple[str, tuple[str, ...]], ...] = ()
    choices: tuple[tuple[str, tuple[str, ...]], ...] = ()
    is_resource: bool = field(default=False)


class UnknownTypeError(LookupError):
    """R4 has no such type."""


@cache
def structure_of(name: str) -> Structure:
    """Return the structure of a resource, a complex type or a backbone path. Raises UnknownTypeError."""
    tables = _tables()
    rows = tables["types"].get("Quantity" if name in QUANTITIES else name)
    if rows is None:
        raise UnknownTypeError
    elements: dict[str, Element] = {}
    required, choices = [], []
    for said, row in rows.items():
        forms = {one.name: one for one in _forms(name, said, row)}
        elements |= forms
        if row[1]:
            required.append((said, tuple(forms)))
        if said.endswith("[x]"):
            choices.append((said, tuple(forms)))
    return Structure(name, elements, tuple(required), tuple(choices), name in resource_types())


def resource_types() -> frozenset[str]:
    """Return the names of all R4 resources."""
    return frozenset(_tables()["resources"])


@cache
def code_system(url: str) -> frozenset[str] | None:
    """Return the codes of a code system that HL7 defines completely in R4; None for every other."""
    codes = _tables()["code_systems"].get(url)
    return None if codes is None else frozenset(codes)


@cache
def value_set(url: str) -> Codes | None:
    """Return a value set of a required binding, by system; None when the definitions do not list it."""
    listed = _tables()["value_sets"].get(url)
    if listed is None:
        return None
    return codes_of(listed)


def codes_of(listed: Mapping[str, list[str] | None]) -> Codes:
    """Return an expanded value set as it is asked: by system, None for any code of it."""
    return {system: None if codes is None else frozenset(codes) for system, codes in listed.items()}


def _forms(place: str, said: str, row: list[Any]) -> list[Element]:
    codes, _, limit, rest = row
    many = limit == "*" or limit > 1
    most = limit if many and limit != "*" else None
    if "same" in rest:
        return [Element(said, rest["same"], many, most)]
    choice = said.endswith("[x]")
    return [
        Element(
            name=said.removesuffix("[x]") + code[0].upper() + code[1:] if choice else said,
            kind=f"{place}.{said}" if code in ("BackboneElement", "Element") else code,
            many=many,
            limit=most,
            binding=value_set(rest["binding"]) if "binding" in rest else None,
            value_set=rest.get("binding", ""),
            targets=frozenset(rest.get("targets", ())) if code == "Reference" else frozenset(),
            simple=bool(rest.get("simple")) and code == "Quantity",
        )
        for code in codes
    ]


@cache
def _tables() -> dict[str, Any]:
    tables: dict[str, Any] = unpacked("r4.json.xz")
    return tables
