"""$translate: GET or POST [base]/ConceptMap/$translate (R4 4.10.17.1): what a code is in another system.

Asked of the ConceptMaps that are stored here, of one of them with `url`.
"""

from typing import Any

import orjson
from flask import Response, request

from clinical.errors import IncorrectInput, NotFound
from fhir_adapters.outcome import body_response
from fhir_adapters.parameters import parameters_in
from fhir_adapters.rest.fhir import Fhir, Interaction, allowed, require_type
from fhir_adapters.rest.negotiate import read_json_body
from fhir_adapters.search.escapes import escaped
from fhir_adapters.search.parse import parse
from fhir_adapters.standardise import Match, from_concept_maps
from fhir_adapters.strict_json import load_object
from record_store.resource_search import SearchQuery, search

Json = dict[str, Any]

MOST_MAPS = 200
_NO_MATCH = frozenset(("unmatched", "disjoint"))
_ASKED = ("url", "system", "code", "targetsystem")


def answer(fhir: Fhir) -> Response:
    """Return Parameters: `result`, and a `match` for each code that the maps name."""
    require_type("ConceptMap")
    asked = _of_body() if request.method == "POST" else {name: request.args.get(name, "") for name in _ASKED}
    if not asked.get("code") or not asked.get("system"):
        raise IncorrectInput("a translation needs code and system, or a coding", expression=["code"])
    maps = _maps(fhir, asked.get("url", ""), asked["code"])
    found = from_concept_maps(maps).translate(asked["system"], asked["code"], asked.get("targetsystem") or None)
    good = any(one.equivalence not in _NO_MATCH for one in found)
    parameters = [{"name": "result", "valueBoolean": good}, *map(_match, found)]
    if not found:
        parameters.append({"name": "message", "valueString": "no map names this code"})
    return body_response({"resourceType": "Parameters", "parameter": parameters}, 200)


def _of_body() -> dict[str, str]:
    said: dict[str, str] = {}
    for one in parameters_in(load_object(read_json_body(request))):
        coding = one.values.get("valueCoding")
        if one.name == "coding" and isinstance(coding, dict):
            said |= {name: str(coding.get(name, "")) for name in ("system", "code")}
        value = next((text for text in one.values.values() if isinstance(text, str)), "")
        if one.name in _ASKED and value:
            said[one.name] = value
    return said


def _maps(fhir: Fhir, url: str, code: str) -> list[Json]:
    """Return the maps of a url, without one those that have something to say of a code."""
    restriction = allowed("ConceptMap", "s")
    pair = ("url", escaped(url)) if url else ("source-code", escaped(code))
    criteria = parse("ConceptMap", [pair], base_url=fhir.base_url).criteria
    criteria += () if restriction is None else (restriction,)
    with fhir.db.read() as conn:
        found = search(conn, SearchQuery("ConceptMap", criteria, limit=MOST_MAPS + 1))
    if len(found) > MOST_MAPS:
        raise IncorrectInput("too many ConceptMaps have this code: name one of them", expression=["url"])
    if url and not found:
        raise NotFound("no ConceptMap has this url")
    return [orjson.loads(one.resource.body) for one in found]


def _match(one: Match) -> Json:
    coding: Json = {"system": one.coding.system, "code": one.coding.code}
    parts: list[Json] = [
        {"name": "equivalence", "valueCode": one.equivalence},
        {
            "name": "concept",
            "valueCoding": coding | ({"display": one.coding.display} if one.coding.display else {}),
        },
    ]
    if one.source:
        parts.append({"name": "source", "valueUri": one.source})
    return {"name": "match", "part": parts}


INTERACTION = Interaction("$translate", "GET", "/ConceptMap/$translate", answer)
BY_BODY = Interaction("$translate", "POST", "/ConceptMap/$translate", answer)
