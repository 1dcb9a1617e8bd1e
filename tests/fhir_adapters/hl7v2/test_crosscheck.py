"""hl7apy, another reader of HL7 v2, finds the same values where ours does."""

import re
import warnings

import pytest

from fhir_adapters.hl7v2.message import parse
from fhir_adapters.hl7v2.testing import ADMISSION, MERGE, ORDER, RESULT, raw
from fhir_adapters.hl7v2.text import decoded

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from hl7apy.consts import VALIDATION_LEVEL
    from hl7apy.parser import parse_message, parse_segments


def leaves(segment):
    """Yield (field, repetition, component, subcomponent) -> text of an hl7apy segment."""
    repeated = {}
    for field in segment.children:
        number = int(field.name.rpartition("_")[2])
        repeated[number] = repeated.get(number, 0) + 1
        for at, component in enumerate(field.children, 1):
            for inner, sub in enumerate(component.children, 1):
                if text := sub.to_er7():
                    yield number, repeated[number], numbered(component, at), numbered(sub, inner), text


def numbered(part, otherwise):
    """Return the number in a part's name ("CX_4"), which empty parts before it do not change."""
    found = re.search(r"_(\d+)$", part.name or "")
    return int(found[1]) if found else otherwise


@pytest.mark.parametrize("text", [ADMISSION, RESULT, ORDER, MERGE])
def test_another_parser_finds_the_same_values_in_the_same_places(text):
    ours = parse(decoded(raw(text)))
    theirs = parse_segments("\r".join(text.split("\n")[1:]) + "\r", version="2.5.1")
    assert [one.name for one in ours.segments[1:]] == [one.name for one in theirs]
    compared = 0
    for own, other in zip(ours.segments[1:], theirs, strict=True):
        for field, repetition, component, sub, value in leaves(other):
            if "\\" in value or own.null(field):
                continue  # they keep escapes as they stand
            every = own.raw(field).split("~")
            found = own.value(field) if len(every) == 1 else own.values(field)[repetition - 1]
            assert found.text(component, sub) == value.strip(), (own.name, field, component, sub)
            compared += 1
    assert compared > 5


@pytest.mark.parametrize("text", [ADMISSION, RESULT, MERGE])
def test_our_acknowledgements_are_valid_by_another_parser(text, lite):
    for message in (raw(text.replace("|AL|NE|", "|||")), raw(text.replace("|P|2.5.1", "|T|2.5.1"), control="B1")):
        replies = lite.answer(message).replies
        assert replies
        for reply in replies:
            ack = parse_message(reply.decode(), validation_level=VALIDATION_LEVEL.TOLERANT)
            assert ack.validate()
            assert ack.msa.msa_1.value in ("AA", "AR", "CA")
            assert ack.msh.msh_9.value.startswith("ACK")
