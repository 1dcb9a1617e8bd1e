"""The JSON edge refuses what two readers could understand differently, and never echoes what was sent."""

import json
import math
import time
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical.errors import IncorrectInput
from fhir_adapters import strict_json
from fhir_adapters.strict_json import load_object, loads

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(
        st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=6), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(json_values, st.booleans())
def test_what_json_can_say_is_read_as_the_standard_library_reads_it(value, ascii_only):
    assert loads(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_incorrect_input_and_nothing_else(data):
    try:
        value = loads(data)
    except IncorrectInput:
        return
    assert json.loads(data) == value


@given(st.text(alphabet='[]{}":,\\ntrue0123456789eE.-u', max_size=60))
@settings(max_examples=300)
def test_anything_that_looks_like_json_gives_a_value_or_incorrect_input(text):
    try:
        value = loads(text.encode())
    except IncorrectInput:
        return
    assert json.loads(text) == value


PIECES = (
    *'[]{}":, \n\\eE.-+u019a',
    *('"a"', '"b":', '"a":1', '{"a":', '{"a":[]}', "[" * 60, "]" * 60, "null", "\x00", "é"),
    *("\\u003a", "\\u0061", "\\ud800", "1e999", "1E+1000", "1e-400", "-0", "-0.0", "0" * 18, "9" * 19),
    "1.7976931348623157e308",
)
JSON_LIKE = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


def said(read, data):
    try:
        return repr(read(data))
    except IncorrectInput as refused:
        return refused.message


@given(JSON_LIKE | json_values.map(json.dumps))
@settings(max_examples=500, deadline=None)
def test_the_quick_way_says_of_every_text_what_the_slow_one_says(text):
    data = text.encode()
    assert said(loads, data) == said(lambda d: strict_json._slowly(d, 64, 64, decimals=False), data)


@pytest.mark.parametrize("depth", [62, 63, 64, 65, 66])
@pytest.mark.parametrize(("opening", "inner", "closing"), [("[", "", "]"), ("[", "1", "]"), ('{"a":', "{}", "}")])
def test_the_quick_way_counts_nesting_like_the_slow_one(depth, opening, inner, closing):
    data = (opening * depth + inner + closing * depth).encode()
    assert said(loads, data) == said(lambda d: strict_json._slowly(d, 64, 64, decimals=False), data)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":":","a":1}',
        '{"a:b":1,"a:b":2}',
        '{"x":{"a":1,"b":2,"a":3},"y":"::"}',
        '{"a":1, "a" :2}',
        '{"a":"\\u003a","a":1}',
        '{"a":"\\u003A\\u003a","b":{"c":1,"c":1}}',
    ],
)
def test_a_name_that_stands_twice_is_seen_among_colons(text):
    with pytest.raises(IncorrectInput, match="twice"):
        loads(text.encode())


def test_the_quick_way_is_taken_by_an_ordinary_call():
    rows = [{"id": "1", "value": 31.2, "text": "a: b"}] * 9
    data = json.dumps({"hook": "patient-view", "prefetch": {"patient": rows}})
    assert strict_json._plain(data.encode(), 64) == json.loads(data)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "a": 1}',
        '{"deep": [{"a": 1, "\\u0061": 2}]}',
        '{"a": NaN}',
        "[Infinity]",
        "-Infinity",
        "[1e400]",
        "[1e99999]",
        "[" + "1" * 65 + "]",
        "[0." + "1" * 65 + "]",
        '"\\ud800"',
        '{"\\udc00": 1}',
        '"\\u0000"',
        "",
        " ",
        "{",
        "[1,]",
        "{'a': 1}",
        "\ufeff{}",
        "01",
        "[1] [2]",
    ],
)
def test_ambiguous_or_unstorable_json_is_refused(text):
    with pytest.raises(IncorrectInput):
        loads(text.encode())


@pytest.mark.parametrize(
    "data", [b"\xff\xfe{\x00}\x00", b'"\xed\xa0\x80"', b'{"a": "\xc3("}', '{"a":1}'.encode("utf-16")]
)
def test_only_utf_8_is_read(data):
    with pytest.raises(IncorrectInput):
        loads(data)


@pytest.mark.parametrize("text", ["null", "[]", "1", '"x"', "true"])
def test_a_body_that_is_not_an_object_is_refused_where_an_object_is_due(text):
    assert loads(text.encode()) == json.loads(text)
    with pytest.raises(IncorrectInput, match="not an object"):
        load_object(text.encode())


def test_a_paired_surrogate_is_a_character_and_passes():
    assert loads(b'"\\ud83d\\ude00"') == "\U0001f600"


def test_depth_is_counted_outside_strings_only():
    assert loads(b"[" * 64 + b"]" * 64) is not None
    with pytest.raises(IncorrectInput, match="deeper than 64"):
        loads(b"[" * 65 + b"]" * 65)
    brackets = '{"a": "' + "[" * 500 + '\\"' + "{" * 500 + '\\\\"}'
    assert loads(brackets.encode()) == json.loads(brackets)


def test_digits_are_counted_outside_strings_only():
    assert loads(b'"' + b"1" * 1000 + b'"') == "1" * 1000
    assert loads(b'"1e99999"') == "1e99999"
    assert loads(b"[" + b"1" * 64 + b"]") == [int("1" * 64)]


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 2_000_000,
        b"1" * 100_000,
        b"[-0." + b"9" * 100_000 + b"]",
        b'{"a":' * 300_000,
        b"[[]" * 700_000,
        b'\\"' * 999_999,
    ],
    ids=["brackets", "digits", "fraction", "objects", "flat-then-deep", "quotes"],
)
def test_hostile_texts_are_refused_quickly(data):
    began = time.thread_time()  # its own: a busy machine is not the text's doing
    with pytest.raises(IncorrectInput):
        loads(data)
    assert time.thread_time() - began < 1.0


def test_a_text_over_the_size_limit_is_refused_before_it_is_read():
    with pytest.raises(IncorrectInput, match="larger than 10 bytes"):
        loads(b"[" * 11, max_bytes=10)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**9), max_value=10**9))
def test_decimals_keep_every_digit_on_request(number):
    value = loads(f"[{number}]".encode(), decimals=True)[0]
    assert str(value) == str(number)
    assert isinstance(loads(b"[1.10]")[0], float)


def test_trailing_zeros_and_exponents_survive_as_decimal():
    assert [str(value) for value in loads(b"[1.10, 19.00, 1e-3]", decimals=True)] == ["1.10", "19.00", "0.001"]
    assert loads(b"[1e-3]", decimals=True) == [Decimal("0.001")]
    assert math.isclose(loads(b"[1e-3]")[0], 0.001)


def test_no_message_echoes_what_was_sent():
    for text in ('{"Zzcanary": 1, "Zzcanary": 2}', '{"Zzcanary" 1}', '["Zzcanary\\ud800"]', "Zzcanary"):
        with pytest.raises(IncorrectInput) as caught:
            loads(text.encode())
        assert "canary" not in str(caught.value)
        assert caught.value.__cause__ is None
