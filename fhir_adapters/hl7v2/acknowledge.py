"""Acknowledgements: original and enhanced mode (HL7 v2.9 2.9.2, 2.9.3), MSA and ERR (2.15.8, 2.15.5).

A sender always learns what became of its message, also of one that could not be read: unless it has said in
MSH-15 and MSH-16 that it does not want to.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime

from fhir_adapters.hl7v2.errors import TEXTS, MessageError
from fhir_adapters.hl7v2.message import Delimiters, Value, delimiters_of
from fhir_adapters.hl7v2.text import CHARACTER_SETS, declared_in, escaped

ACCEPT, ERROR, REJECT = "A", "E", "R"  # the second letter of AA, AE, AR and CA, CE, CR
# Table 0155: when a sender wants to be told.
_WANTED = {"AL": (ACCEPT, ERROR, REJECT), "ER": (ERROR, REJECT), "SU": (ACCEPT,), "NE": ()}
_ERR_WITH_NAMES = (2, 5)  # v2.5 gave ERR its fields 2 to 12
_ACK_IN_3 = (2, 4)  # MSH-9.3 in acknowledgements

_USUAL = Delimiters()


@dataclass(frozen=True, slots=True)
class Header:
    """What of a message is needed to answer it; "" for what could not be read. mode: MSH-15 and MSH-16."""

    delimiters: Delimiters = _USUAL
    application: str = ""
    facility: str = ""
    our_application: str = ""
    our_facility: str = ""
    kind: str = ""
    event: str = ""
    control_id: str = ""
    processing_id: str = "P"
    version: str = ""
    accept: str = ""
    application_accept: str = ""
    charset: str = ""

    @property
    def enhanced(self) -> bool:
        """True when the sender asked for enhanced mode."""
        return bool(self.accept or self.application_accept)

    @property
    def sender(self) -> str:
        """MSH-3.1 and MSH-4.1 as one key."""
        return f"{self.application}|{self.facility}"


def header_of(data: bytes) -> Header:
    """Return the header of a message as far as it can be read. Raises nothing."""
    line = re.split(rb"[\r\n]", data[:65536], maxsplit=1)[0]
    text = line.decode(CHARACTER_SETS.get(declared_in(line).upper(), "utf-8"), errors="replace")
    if not text.startswith("MSH"):
        return Header()
    try:
        seps = delimiters_of(text)
    except MessageError:
        return Header()
    fields = text.split(seps.field)

    def said(number: int, component: int = 1, most: int = 199) -> str:
        raw = fields[number - 1] if number <= len(fields) else ""
        first = raw.split(seps.repetition)[0] if number > 2 else ""
        return Value(first, seps).text(component)[:most]

    return Header(
        delimiters=seps,
        application=said(3),
        facility=said(4),
        our_application=said(5),
        our_facility=said(6),
        kind=said(9, 1, 3).upper(),
        event=said(9, 2, 3).upper(),
        control_id=said(10),
        processing_id=said(11, most=3) or "P",
        version=said(12, most=8),
        accept=said(15, most=2).upper(),
        application_accept=said(16, most=2).upper(),
        charset=said(18, most=16),
    )


def answers(header: Header, error: MessageError | None, digest: str, now: datetime, *, kept: bool) -> list[bytes]:
    """Return the messages that the sender is to get, in this order; none when it wants none.

    error: why the message is not taken, None when it is. kept: it is in safe storage all the same (in quarantine),
    which is all that a commit acknowledgement is about.
    """
    verdict = ACCEPT if error is None else REJECT if error.rejected else ERROR
    if not header.enhanced:
        return [_answer(header, "A" + verdict, error, digest, now)]
    told = []
    commit = ACCEPT if kept else verdict
    if _is_wanted(commit, header.accept):
        told.append(_answer(header, "C" + commit, None if commit == ACCEPT else error, digest, now))
    if commit == ACCEPT and _is_wanted(verdict, header.application_accept):
        told.append(_answer(header, "A" + verdict, error, digest, now))
    return told


def _is_wanted(verdict: str, condition: str) -> bool:
    """Tell whether a sender wants to hear a verdict; who says something that no table has is always told."""
    return verdict in _WANTED.get(condition, _WANTED["AL"] if condition else ())


def _answer(header: Header, code: str, error: MessageError | None, digest: str, now: datetime) -> bytes:
    seps, version = header.delimiters, _version(header.version)
    kind = "ACK" + (f"{seps.component}{header.event}" if header.event else "")
    if version >= _ACK_IN_3 and header.event:
        kind += f"{seps.component}ACK"
    own_id = hashlib.sha256(f"{digest}{code}".encode()).hexdigest()[:20]
    addresses = (header.our_application, header.our_facility, header.application, header.facility)
    msh = [
        "MSH",
        seps.encoding_characters,
        *(escaped(text, seps) for text in addresses),
        now.strftime("%Y%m%d%H%M%S+0000"),
        "",
        kind,
        own_id,
        escaped(header.processing_id, seps),
        escaped(header.version, seps) or "2.5.1",
        *[""] * 5,
        escaped(header.charset, seps),
    ]
    text = escaped(error.reason if error else "", seps)
    segments = [seps.field.join(msh).rstrip(seps.field), seps.field.join(("MSA", code, _control(header), text))]
    if error is not None:
        segments.append(_err(error, seps, named=version >= _ERR_WITH_NAMES))
    return ("\r".join(one.rstrip(seps.field) for one in segments) + "\r").encode(_codec(header), errors="replace")


def _control(header: Header) -> str:
    return escaped(header.control_id, header.delimiters)


def _err(error: MessageError, seps: Delimiters, *, named: bool) -> str:
    place, inner = error.place, seps.component
    code = inner.join((str(error.code), TEXTS[error.code], "HL70357"))
    if not named:  # ELD: segment, sequence, field, code
        within = seps.sub.join((str(error.code), TEXTS[error.code], "HL70357")) if seps.sub else str(error.code)
        where = (place.segment, str(place.occurrence), str(place.field or "")) if place else ("", "", "")
        return seps.field.join(("ERR", inner.join((*where, within))))
    location = ""
    if place is not None:
        numbers = [
            str(place.occurrence),
            str(place.field or ""),
            "1" if place.component else "",
            str(place.component or ""),
        ]
        location = inner.join((place.segment, *numbers)).rstrip(inner)
    message = escaped(error.message, seps)
    return seps.field.join(("ERR", "", location, code, "E", "", "", "", message))


def _version(text: str) -> tuple[int, ...]:
    numbers = re.findall(r"\d+", text)[:2]
    return tuple(int(number[:4]) for number in numbers) or (2, 5)


def _codec(header: Header) -> str:
    return CHARACTER_SETS.get(header.charset.upper(), "utf-8")
