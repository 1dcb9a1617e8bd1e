"""Single Observations of a watch (valueQuantity) as readings of a series: many small resources become one a day.

The wearer is named by `subject.identifier` under the source's system, or is a Patient that is here by that id.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from clinical.codes import Coding
from clinical.errors import IncorrectInput
from fhir_adapters.features.elements import instant, objects, word
from fhir_adapters.importing.pieces import Piece, Unreadable
from fhir_adapters.search.index import ID
from fhir_adapters.strict_json import load_object
from fhir_adapters.verbatim import Verbatim
from fhir_adapters.wearables.layouts import NUMBER
from fhir_adapters.wearables.readings import Measure, Reading, Series, Unread


def readings_of(pieces: Iterable[Piece | Unreadable], source: str, every_s: int) -> Iterator[Reading | Unread]:
    """Yield the readings of NDJSON. every_s: how far two samples are apart."""
    known: dict[tuple[object, ...], Series] = {}
    for piece in pieces:
        if isinstance(piece, Unreadable):
            yield Unread(piece.number, piece.reason)
            continue
        try:
            read = _read(load_object(piece.text.encode(), decimals=True), piece.number, source, every_s, known)
        except IncorrectInput as error:
            read = Unread(piece.number, error.message)
        yield read


def _read(
    resource: dict[str, Any], line: int, source: str, every_s: int, known: dict[tuple[object, ...], Series]
) -> Reading | Unread:
    if resource.get("resourceType") != "Observation":
        return Unread(line, "it is no Observation")
    if resource.get("status") in ("entered-in-error", "cancelled"):
        return Unread(line, "it was taken back")
    value, at = resource.get("valueQuantity"), instant(resource.get("effectiveDateTime"))
    text = _number(value) if isinstance(value, dict) and "comparator" not in value else None
    if text is None or at is None or not isinstance(value, dict):
        return Unread(line, "it is not one number (valueQuantity) at one time (effectiveDateTime)")
    code = next((one for one in objects(resource.get("code") or {}, "coding") if word(one, "code")), None)
    person, unit = _person(resource.get("subject"), source), word(value, "code")
    if code is None or not unit or person is None:
        return Unread(line, "it lacks a code, a unit of UCUM, or a wearer that can be told")
    device = resource.get("device")
    display = word(device, "display") if isinstance(device, dict) else ""
    coding = Coding(word(code, "system"), word(code, "code"), word(code, "display"))
    key = (*person, display, coding.system, coding.code, unit)
    if key not in known:
        name, ours = person
        known[key] = Series(source, name, display, Measure(coding, unit), every_s, ours)
    return Reading(known[key], at, text, line)


def _person(subject: object, source: str) -> tuple[str, bool] | None:
    """Return the wearer's name, and whether it is an id of ours."""
    if not isinstance(subject, dict):
        return None
    identifier, reference = subject.get("identifier"), word(subject, "reference")
    if isinstance(identifier, dict) and identifier.get("system") == source and word(identifier, "value"):
        return word(identifier, "value"), False
    own = reference.removeprefix("Patient/")
    return (own, True) if own != reference and ID.fullmatch(own) else None


def _number(value: dict[str, Any]) -> str | None:
    given = value.get("value")
    text = given.text if isinstance(given, Verbatim) else str(given) if type(given) is int else ""
    return text if NUMBER.fullmatch(text) else None
