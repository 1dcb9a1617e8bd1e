"""The search parameters of R4 as `compile_search` made them: rows, by type and name."""

from functools import cache
from typing import Any

from fhir_adapters.definitions.packed import unpacked

EVERYWHERE = "Resource"


def rows_of(resource_type: str) -> dict[str, list[Any]]:
    """Return the parameters of a type, `Resource` for those that every type has: name -> row as compiled."""
    rows: dict[str, list[Any]] = _tables()["types"].get(resource_type, {})
    return rows


def patient_compartment() -> dict[str, list[str]]:
    """Return the types that can be in a patient's compartment (R4 2.23), with the parameters that say so."""
    parameters: dict[str, list[str]] = _tables()["patient_compartment"]
    return parameters


def left_out() -> dict[str, str]:
    """Return `Type.parameter` -> why it was not compiled."""
    reasons: dict[str, str] = _tables()["left_out"]
    return reasons


@cache
def _tables() -> dict[str, Any]:
    tables: dict[str, Any] = unpacked("search.json.xz")
    return tables
