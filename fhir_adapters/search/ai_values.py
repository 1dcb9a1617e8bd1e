"""What of an AI result the parameters `ai-model` and `ai-confidence` find.

Both are ours: R4 has no parameter for "results of this model" that holds for an Observation (device), a
RiskAssessment (performer) and a DiagnosticReport (which R4 lets no Device perform: an extension) alike.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from fhir_adapters.resources.labels import AI_CONFIDENCE, ALTERNATE_REFERENCE, MODEL_IDENTIFIER
from fhir_adapters.search.rows import items

_PERFORMERS = {"Observation": "device", "RiskAssessment": "performer", "DiagnosticReport": "performer"}
Number = int | float | Decimal


def ai_models_of(resource: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the tokens (system, code) of the models that made a result: `name@version`, and `name` alone."""
    found: dict[tuple[str, str], None] = {}
    for identifier in _identifiers(resource):
        if identifier.get("system") == MODEL_IDENTIFIER and isinstance(identifier.get("value"), str):
            value = identifier["value"]
            found |= dict.fromkeys(((MODEL_IDENTIFIER, value), (MODEL_IDENTIFIER, value.partition("@")[0])))
    return tuple(found)


def ai_confidences_of(resource: Mapping[str, Any]) -> tuple[Number, ...]:
    """Return how sure the model is, 0..1: of the result, of each outcome it predicts, of each conclusion."""
    places: list[Any] = [resource]
    places += [each.get("outcome") for each in items(resource.get("prediction"))]
    places += items(resource.get("conclusionCode"))
    extensions = [one for place in places if isinstance(place, dict) for one in items(place.get("extension"))]
    values = (one.get("valueDecimal") for one in extensions if one.get("url") == AI_CONFIDENCE)
    return tuple(one for one in values if isinstance(one, Number) and not isinstance(one, bool))


def _identifiers(resource: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    contained = {f"#{one.get('id')}": one for one in items(resource.get("contained"))}
    for reference in _references(resource):
        device = contained.get(str(reference.get("reference", "")))
        if device is not None:
            yield from items(device.get("identifier"))
        if isinstance(reference.get("identifier"), dict):
            yield reference["identifier"]


def _references(resource: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    said = resource.get(_PERFORMERS.get(str(resource.get("resourceType")), ""))
    for one in items(said if isinstance(said, list) else [said]):
        yield one
        for extension in items(one.get("extension")):
            if extension.get("url") == ALTERNATE_REFERENCE and isinstance(extension.get("valueReference"), dict):
                yield extension["valueReference"]
