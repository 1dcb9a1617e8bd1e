"""What each kind of search makes of each type of element (R4 3.1.1.4.4 to 3.1.1.4.14).

An element of another shape than its type's makes no row.
"""

from functools import partial

from fhir_adapters.search import links, numbers, ranges, texts, tokens
from fhir_adapters.search.parameters import Kind, Place
from fhir_adapters.search.rows import Emit


def emit_of(kind: Kind, place: Place) -> Emit | None:
    """Return what a kind of search makes of what stands at a place."""
    match kind:
        case Kind.TOKEN:
            return _TOKENS.get(place.type) or partial(tokens.word, place.system, place.systems)
        case Kind.STRING:
            return _STRINGS.get(place.type, texts.text)
        case Kind.DATE:
            return _DATES.get(place.type, ranges.date)
        case Kind.REFERENCE:
            return partial(links.reference, place.target) if place.type == "Reference" else links.link
        case Kind.QUANTITY | Kind.NUMBER:
            return _QUANTITIES.get(place.type, _quantity)
        case Kind.URI:
            return links.uri
        case Kind.COMPOSITE:
            return None


_quantity = ranges.bounded(numbers.of_quantity)
_TOKENS: dict[str, Emit] = {
    "Coding": tokens.coding,
    "CodeableConcept": tokens.concept,
    "Identifier": tokens.identifier,
    "ContactPoint": tokens.contact_point,
    "PresenceOfTrue": tokens.presence,
}
_STRINGS: dict[str, Emit] = {
    "HumanName": partial(texts.words, texts.NAME_PARTS),
    "Address": partial(texts.words, texts.ADDRESS_PARTS),
    "CodeableConcept": texts.concept_text,
}
_DATES: dict[str, Emit] = {"Period": ranges.period, "Timing": ranges.timing}
_QUANTITIES: dict[str, Emit] = {
    "decimal": ranges.number,
    "integer": ranges.number,
    "positiveInt": ranges.number,
    "unsignedInt": ranges.number,
    "Money": ranges.bounded(numbers.of_money),
    "Range": ranges.bounded(numbers.of_range),
    "SampledData": ranges.bounded(ranges.samples),
}
