"""The CapabilityStatement (R4 5.1), made from what is registered, so that it cannot promise anything else."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from importlib import metadata
from typing import Any

from fhir_adapters.resources.labels import instant
from fhir_adapters.search.includes import references_of
from fhir_adapters.search.parameters import FHIR, RESULTS, TYPES, TypeSearch
from fhir_adapters.strict_json import MAX_BYTES
from fhir_adapters.subscriptions import backport, topic
from fhir_adapters.validation.profiles import Profiles

Json = dict[str, Any]

_BULK = "http://hl7.org/fhir/uv/bulkdata/"
# `$export` is three operations: of the system, of Patient, of Group.
_EXPORTS = {"": "export", "Patient": "patient-export", "Group": "group-export"}

_OF_SUBSCRIPTIONS = {"$status": backport.STATUS_OPERATION, "$events": backport.EVENTS_OPERATION}
# How a client finds the topics of an R4 server (backport 1.1.0, capabilitystatement-subscriptiontopic-canonical).
_TOPICS: Json = {
    "extension": [{"url": backport.TOPIC_ADVERTISED, "valueCanonical": topic.CANONICAL}],
}

SOFTWARE = "consilium-cds"
_OF_THE_SYSTEM = ("transaction", "batch", "search-system")
# Operations of R4 that one type has.
_OF_ONE_TYPE = {
    "$everything": "Patient",
    "$lastn": "Observation",
    "$stats": "Observation",
    "$translate": "ConceptMap",
}

_COMPARTMENT = "search-compartment"  # R4 has no code for it: a list of compartments says it

# Operations of ours: where they are offered, and on which types.
_OURS = {"$ai-recall": ("",), "$ai-replay": RESULTS, "$ai-replay-status": (), "$ai-confirm": RESULTS}
_WRITES = frozenset({"create", "update", "patch", "delete"})


def capability_statement(
    interactions: Sequence[str],
    *,
    base_url: str,
    now: datetime,
    profiles: Profiles,
    security: Json | None = None,
) -> Json:
    """Return what this server does.

    interactions: R4 restful-interaction codes, as registered; operations begin with "$". profiles: what writes are
    judged by. security: how callers are let in, where they need a token.
    """
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": instant(now),
        "kind": "instance",
        "software": {"name": SOFTWARE, "version": _version()},
        "implementation": {"description": "Consilium clinical decision support", "url": base_url},
        "instantiates": [
            canonical
            for code, canonical in (
                ("$export", f"{_BULK}CapabilityStatement/bulk-data"),
                ("$status", backport.SERVER),
            )
            if code in interactions
        ],
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "rest": [
            {
                "mode": "server",
                **({"security": security} if security else {}),
                "documentation": (
                    "What is stored is served byte for byte. An unknown search parameter is refused with 400"
                    " unless Prefer: handling=lenient. Next links hold no server state. A body may have"
                    f" {MAX_BYTES} bytes."
                ),
                **(
                    {"compartment": [f"{FHIR}CompartmentDefinition/patient"]}
                    if _COMPARTMENT in interactions
                    else {}
                ),
                "interaction": [{"code": code} for code in _OF_THE_SYSTEM if "transaction" in interactions],
                **({"operation": offered} if (offered := _operations("", interactions)) else {}),
                "resource": [_resource(name, search, interactions, profiles) for name, search in TYPES.items()],
            }
        ],
    }


def _resource(name: str, search: TypeSearch, interactions: Sequence[str], profiles: Profiles) -> Json:
    supported = profiles.supported(name) + ([backport.SUBSCRIPTION_PROFILE] if name == "Subscription" else [])
    closed = _WRITES if search.read_only else frozenset()
    every = {"_id": "token", "_lastUpdated": "date"}
    common = [
        {"name": each, "definition": f"{FHIR}SearchParameter/Resource-{each[1:]}", "type": kind}
        for each, kind in every.items()
    ]
    own = [
        {"name": each.name, "definition": each.canonical, "type": each.kind.value}
        for each in search.parameters.values()
    ]
    return {
        "type": name,
        "profile": f"{FHIR}StructureDefinition/{name}",
        **({"supportedProfile": supported} if supported else {}),
        "interaction": [{"code": code} for code in interactions if _of_a_type(code) and code not in closed],
        "versioning": "versioned",
        "readHistory": "vread" in interactions,
        "updateCreate": not search.read_only,
        "conditionalCreate": not search.read_only,
        "conditionalUpdate": not search.read_only,
        "conditionalDelete": "not-supported" if search.read_only else "single",
        "conditionalRead": "full-support",
        "searchInclude": ["*", *(f"{name}:{each.name}" for each in references_of(name))],
        "searchRevInclude": sorted(_ways_to()[name]),
        "searchParam": [*common, *own],
        "operation": [
            {"name": code[1:], "definition": f"{FHIR}OperationDefinition/Resource-{code[1:]}"}
            for code in interactions
            if code.startswith("$")
            and not code.startswith("$export")
            and code not in _OF_SUBSCRIPTIONS
            and code not in _OF_ONE_TYPE
            and code not in _OURS
        ]
        + [
            {"name": code[1:], "definition": f"{FHIR}OperationDefinition/{name}-{code[1:]}"}
            for code, owner in _OF_ONE_TYPE.items()
            if owner == name and code in interactions
        ]
        + _operations(name, interactions)
        + _of_subscriptions(name, interactions),
        **(_TOPICS if name == "Subscription" else {}),
    }


def _operations(place: str, interactions: Sequence[str]) -> list[Json]:
    """Return what is offered at a type, or at the system ("")."""
    ours = [code[1:] for code in interactions if place in _OURS.get(code, ())]
    told = [{"name": one, "definition": f"urn:consilium:OperationDefinition/{one}"} for one in ours]
    return _exports(place, interactions) + told


def _exports(place: str, interactions: Sequence[str]) -> list[Json]:
    if "$export" not in interactions or place not in _EXPORTS:
        return []
    return [{"name": "export", "definition": f"{_BULK}OperationDefinition/{_EXPORTS[place]}"}]


@cache
def _ways_to() -> dict[str, list[str]]:
    """Return the references that point to each type, as `_revinclude` takes them."""
    ways: dict[str, list[str]] = {name: [] for name in TYPES}
    for source in TYPES:
        for each in references_of(source):
            for target in each.only or each.targets or TYPES:
                if target in ways:
                    ways[target].append(f"{source}:{each.name}")
    return ways


def _of_subscriptions(name: str, interactions: Sequence[str]) -> list[Json]:
    return [
        {"name": code[1:], "definition": definition}
        for code, definition in _OF_SUBSCRIPTIONS.items()
        if name == "Subscription" and code in interactions
    ]


def _of_a_type(code: str) -> bool:
    return not code.startswith("$") and code not in (*_OF_THE_SYSTEM, _COMPARTMENT)


def _version() -> str:
    try:
        return metadata.version(SOFTWARE)
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"
