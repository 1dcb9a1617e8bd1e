"""Two tellings of one result, element by element: where they differ, in FHIRPath, and what each says there."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

# Not the model's to say: when it was written, and where it is filed.
ASIDE = frozenset(
    ("id", "meta", "issued", "recorded", "subject", "identifier", "basedOn", "extension", "imagingStudy")
)
ABSENT = "(absent)"
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """place: FHIRPath of the element. stored, computed: JSON, or ABSENT."""

    place: str
    stored: str
    computed: str


def differences(stored: Json, computed: Json) -> list[Difference]:
    """Return where two resources of one type differ in what the model says; of root extensions, how sure it is."""
    kind = str(stored["resourceType"])
    names = [name for name in dict.fromkeys((*stored, *computed)) if name not in ASIDE]
    found = [each for name in names for each in _compared(f"{kind}.{name}", stored.get(name), computed.get(name))]
    confidence = (_confidence(stored), _confidence(computed))
    return [*found, *_compared(f"{kind}.extension(AIconfidence)", *confidence)]


def _compared(place: str, stored: object, computed: object) -> Iterator[Difference]:
    if isinstance(stored, dict) and isinstance(computed, dict):
        for name in dict.fromkeys((*stored, *computed)):
            yield from _compared(f"{place}.{name}", stored.get(name), computed.get(name))
    elif isinstance(stored, list) and isinstance(computed, list):
        for number in range(max(len(stored), len(computed))):
            pair = (each[number] if number < len(each) else None for each in (stored, computed))
            yield from _compared(f"{place}[{number}]", *pair)
    elif stored != computed:
        yield Difference(place, _shown(stored), _shown(computed))


def _shown(value: object) -> str:
    return ABSENT if value is None else orjson.dumps(value).decode()


def _confidence(resource: Json) -> object:
    own = [one for one in resource.get("extension", ()) if str(one.get("url", "")).endswith("/AIconfidence")]
    return own or None
