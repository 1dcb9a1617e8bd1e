"""What may be kept of a FHIR resource or a hook context: an allow-list, so that what is not known is dropped.

Kept: public codes, measured numbers, the words of FHIR's own small vocabularies. Ids and references become keyed
digests, the same everywhere in all recordings of one server; dates move by one number of days per patient, so that
the time between them stays. Names, texts, displays, addresses, notes, extensions and local codes go. The result is
pseudonymised, not anonymous: a rare course of illness still tells who it is of, so recordings stay protected data.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from cds.recording import vocabulary as words

BASE = "https://record.example/fhir"  # what every FHIR server is called in a recording
LONGEST_SHIFT_DAYS = 26 * 7


@dataclass(frozen=True, slots=True)
class Disguise:
    """What turns one patient's data into a recording. key: this server's, for recordings alone."""

    key: bytes = field(repr=False)
    shift: timedelta = field(repr=False)

    def name(self, ident: str) -> str:
        """Return the digest that stands for an id, itself a FHIR id."""
        return "r" + hmac.digest(self.key, ident.encode(), hashlib.sha256).hex()[:24]

    def resource(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is kept of a resource, a Bundle or a context."""
        kept: dict[str, Any] = {}
        if value.get("resourceType") in words.TYPES:
            kept["resourceType"] = value["resourceType"]
        for name, item in value.items():
            found = self._member(name, item)
            if found not in (None, [], {}):
                kept[name] = found
        return kept

    def _member(self, name: str, item: Any) -> Any:  # noqa: ANN401 - any JSON
        if isinstance(item, list):
            return [one for one in (self._member(name, each) for each in item) if one not in (None, [], {})]
        if isinstance(item, dict):
            return self._object(name, item)
        if isinstance(item, bool):
            return item if name in words.FLAGS else None
        if isinstance(item, int | float):
            return item if name in words.NUMBERED else None
        return self._text(name, item) if isinstance(item, str) else None

    def _object(self, name: str, item: Mapping[str, Any]) -> dict[str, Any] | None:
        if name == "identifier":
            return {part: self.name(item[part]) for part in ("system", "value") if isinstance(item.get(part), str)}
        if name not in words.STRUCTURE:
            return None
        kept = self.resource(item)
        system, code = item.get("system"), item.get("code")
        public = isinstance(system, str) and system.startswith(words.PUBLIC_SYSTEMS)
        if public and isinstance(code, str) and words.CODE.fullmatch(code):
            kept |= {"system": _public(str(system)), "code": code}
        return kept

    def _text(self, name: str, item: str) -> str | None:
        if name in words.REFERENCES:
            match = words.REFERENCE.fullmatch(item)
            return f"{match[1]}/{self.name(match[2])}" if match and match[1] in words.TYPES else None
        if name in words.IDS:
            return self.name(item)
        if name in words.WORDED:
            return item if item in words.WORDS else None
        if name == "data":
            return item if words.SAMPLES.fullmatch(item) else None
        return self.moved(item) if words.DATED.fullmatch(name) else None

    def moved(self, text: str) -> str | None:
        """Return a FHIR date or dateTime moved by the shift, as precise as it was; None for other text."""
        match = words.DATE.match(text)
        if match is None or len(match[0]) not in {len(text), 10}:
            return None
        try:
            day = date(int(match[1]), int(match[2] or 7), int(match[3] or 1)) + self.shift
            rest = text[len(match[0]) :]
            if rest:
                datetime.fromisoformat(text)  # raises for what is no time
        except (ValueError, OverflowError):
            return None
        return day.isoformat()[: len(match[0])] + rest


def _public(system: str) -> str:
    """Return the public system itself, without what may have been added to it."""
    known = next(one for one in words.PUBLIC_SYSTEMS if system.startswith(one))
    return system if known.endswith("/") and words.SYSTEM.fullmatch(system) else known


def disguise(key: bytes, patient_id: str) -> Disguise:
    """Return the disguise of one patient: the same shift in every recording of a server."""
    number = int.from_bytes(hmac.digest(key, b"shift:" + patient_id.encode(), hashlib.sha256)[:8], "big")
    weeks = number % (2 * LONGEST_SHIFT_DAYS // 7) - LONGEST_SHIFT_DAYS // 7
    return Disguise(key, timedelta(weeks=weeks if weeks < 0 else weeks + 1))
