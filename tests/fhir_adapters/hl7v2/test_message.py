"""A message as text: delimiters, escapes, character sets, times."""

from datetime import UTC, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_adapters.hl7v2 import times
from fhir_adapters.hl7v2.datatypes import number
from fhir_adapters.hl7v2.errors import MessageError
from fhir_adapters.hl7v2.message import Delimiters, parse
from fhir_adapters.hl7v2.text import decoded, escaped, plain
from fhir_adapters.hl7v2.units import ucum

HEAD = "MSH|^~\\&|A|B|C|D|20261127||ADT^A01|1|P|2.5"


def header(charset: str = "") -> bytes:
    return f"{HEAD}||||||{charset}".encode()


def test_a_header_counts_its_separator_as_its_first_field():
    found = parse(HEAD).header
    assert (found.raw(1), found.raw(2), found.text(3), found.text(9, 2)) == ("|", "^~\\&", "A", "A01")


def test_delimiters_are_those_that_the_header_declares():
    found = parse("MSH#*!?+#A#B\rPID###1*x+y!2*z#a?F?b").first("PID")
    assert [value.text(1) for value in found.values(3)] == ["1", "2"]
    assert found.text(3, 2, 2) == "y"
    assert found.text(4) == "a#b"


@pytest.mark.parametrize("ends", ["\r", "\n", "\r\n", "\r\r"])
def test_segments_end_as_senders_end_them(ends):
    assert [one.name for one in parse(ends.join([HEAD, "PID|1", "PV1|1", ""])).segments] == ["MSH", "PID", "PV1"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PID|1",
        "MSH",
        "MSH|",
        "MSH|^",
        "MSH||||",
        "MSH|^^~\\&|A",
        "MSHA^~\\&AB",
        "MSH|^~\\&^|A",
        f"{HEAD}\rpid|1",
    ],
)
def test_what_is_no_message_is_refused_with_its_place_and_never_its_text(text):
    with pytest.raises(MessageError) as caught:
        parse(text)
    assert caught.value.code in (100, 102)
    assert "PID" not in caught.value.message


def test_a_null_is_no_text_and_is_told_apart_from_nothing():
    pid = parse(f'{HEAD}\rPID|1||""||x^""').first("PID")
    assert pid.null(3)
    assert not pid.null(4)
    assert (pid.text(3), pid.text(5, 2), pid.values(3)) == ("", "", [])


@pytest.mark.parametrize(
    ("raw", "meant"),
    [
        ("a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f", "a|b^c&d~e\\f"),
        ("one\\.br\\two\\.sp2\\three", "one\ntwo\nthree"),
        ("\\H\\bold\\N\\", "bold"),
        ("\\XC3BC\\ber", "über"),
        ("\\X0D\\", "\r"),
        ("\\X0G\\", "\\X0G\\"),
        ("50\\100", "50\\100"),
        ("\\Zlocal\\x", "x"),
        ("ends\\", "ends\\"),
        ("bell\x07", "bell"),
    ],
)
def test_escapes_are_undone(raw, meant):
    assert plain(raw, Delimiters()) == meant


@given(st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=40))
def test_what_is_escaped_comes_back(text):
    seps = Delimiters()
    field = escaped(text, seps)
    assert not set(field) & set("|^~&")
    assert plain(field, seps) == "".join(one for one in text if one.isprintable())


@pytest.mark.parametrize(
    ("charset", "data"),
    [
        ("", "Müller".encode()),
        ("UNICODE UTF-8", "Müller".encode()),
        ("8859/1", b"M\xfcller"),
        ("8859/15~X", b"M\xfcller"),
    ],
)
def test_characters_are_read_in_the_set_that_is_declared(charset, data):
    text = decoded(header(charset) + b"\rPID|1||1||" + data)
    assert parse(text).first("PID").text(5) == "Müller"


@pytest.mark.parametrize(
    ("charset", "data"), [("ASCII", b"\xfc"), ("UNICODE UTF-8", b"\xfc"), ("", b"\xfc"), ("ISO IR87", b"")]
)
def test_characters_that_the_set_does_not_have_are_refused(charset, data):
    with pytest.raises(MessageError) as caught:
        decoded(header(charset) + b"\rPID|1||1||" + data)
    assert str(caught.value.place) == "MSH-18"


def test_a_site_says_what_senders_mean_that_declare_no_set():
    assert decoded(header() + b"\rPID|1||1||M\xfcller", "8859/1").endswith("Müller")


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ("2026", "2026"),
        ("202611", "2026-11"),
        ("20261127", "2026-11-27"),
        ("2026112710", "2026-11-27"),
        ("202611271015", "2026-11-27T10:15:00+01:00"),
        ("20261127101530.250", "2026-11-27T10:15:30.250+01:00"),
        ("20261127101530-0330", "2026-11-27T10:15:30-03:30"),
        ("20261127101560", "2026-11-27T10:15:59+01:00"),
        ("20260230", None),
        ("202611271099", None),
        ("20261127+9900", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_times_keep_their_precision_and_get_a_zone(sent, told):
    assert times.date_time(sent, timezone(timedelta(hours=1))) == told


def test_an_instant_is_told_in_utc_and_only_when_it_is_one():
    assert times.instant("20261127003000+0100", UTC) == "2026-11-26T23:30:00.000Z"
    assert times.instant("20261127", UTC) is None


@pytest.mark.parametrize(
    ("sent", "digits"),
    [("1.10", "1.10"), ("+5", "5"), ("-0.50", "-0.50"), ("007", "7"), (".5", "0.5"), ("5.", "5"), ("0", "0"),
     ("00.0", "0.0"), ("NEG", None), ("1e5", None), ("1,5", None), ("", None), (".", None), ("-", None)],
)  # fmt: skip
def test_a_number_keeps_its_digits(sent, digits):
    assert number(sent) == digits


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("mg/dl", "mg/dL"), ("K/uL", "10*3/uL"), ("x10E3/uL", "10*3/uL"), ("10^9/L", "10*9/L"), ("G/L", "10*9/L"),
        ("G/l", "10*9/L"), ("T/l", "10*12/L"), ("g/l", "g/L"), ("MU/L", None),
        ("g/L", "g/L"), ("µmol/L", "umol/L"), ("μg/dl", "ug/dL"), ("IU/L", "[IU]/L"), ("mmHg", "mm[Hg]"),
        ("mm Hg", "mm[Hg]"), ("C", "Cel"), ("°F", "[degF]"), ("bpm", "/min"), ("lbs", "[lb_av]"),
        ("mm/hr", "mm/h"),
        ("mL/min/1.73m2", "mL/min/{1.73_m2}"), ("mmol/L", "mmol/L"), ("%", "%"), ("pg", "pg"), ("widgets", None),
    ],
)  # fmt: skip
def test_units_are_read_as_laboratories_write_them(sent, code):
    assert ucum(sent) == code
