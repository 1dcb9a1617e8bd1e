"""The JSON edge: one decoder for everything that comes in from a network.

`json.loads` keeps the last of two equal names, reads NaN, and a hundred thousand digits or nested brackets
cost it seconds or the stack. A clinical server must not guess which of two weights was meant, so RFC 8259's
"should be unique" is a must here. Messages never echo what was sent.
"""

import json
import math
import re
from decimal import Decimal
from itertools import accumulate
from typing import Any, NoReturn

import orjson

from clinical.errors import IncorrectInput
from fhir_adapters.verbatim import Verbatim

Json = dict[str, Any] | list[Any] | str | int | float | Decimal | bool | None

MAX_BYTES = 5 * 1024 * 1024
MAX_DEPTH = 64
MAX_DIGITS = 64  # FHIR asks for 18 significant digits; a run longer than this is no measurement

_ZEROED = bytes(0x30 if 0x30 <= byte <= 0x39 else byte for byte in range(256))
_NOT_STRUCTURE = bytes(byte for byte in range(256) if byte not in b'[]{}"')
_STEP = [1 if byte in b"[{" else -1 if byte in b"]}" else 0 for byte in range(256)]
_LONG_EXPONENT = re.compile(rb"[0-9][eE][+-]?[0-9]{4}")
_SUSPECT_ESCAPE = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)")
_UNSTORABLE = re.compile("[\ud800-\udfff\x00]")


_DOUBT: Any = object()
_PLAIN_DIGITS = 18  # an integer of so many digits fits 64 bits
_LONG_NUMBER = b"0" * (_PLAIN_DIGITS + 1)
_NUMBERS = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x65 if byte == 0x45 else byte for byte in range(256))  # E is e
_LONG_EXPONENTS = (b"0e0000", b"0e+0000", b"0e-0000")


def loads(
    data: bytes,
    *,
    max_bytes: int = MAX_BYTES,
    max_depth: int = MAX_DEPTH,
    max_digits: int = MAX_DIGITS,
    decimals: bool = False,
) -> Json:
    """Return the value of one JSON text.

    decimals: True keeps numbers with a fraction as Decimal (`Verbatim`) with every digit sent (FHIR decimal
        carries precision); False gives float.

    Raises IncorrectInput: larger than max_bytes, not UTF-8, not JSON (RFC 8259), a name twice in one object,
    NaN or an infinity, nested deeper than max_depth, a number with a run of more than max_digits digits or an
    exponent beyond 999, a lone surrogate or U+0000 (no database keeps either).
    """
    if len(data) > max_bytes:
        raise IncorrectInput(f"the JSON text is larger than {max_bytes} bytes")
    if not decimals and max_digits >= _PLAIN_DIGITS:
        value: Json = _plain(data, max_depth)
        if value is not _DOUBT:
            return value
    return _slowly(data, max_depth, max_digits, decimals=decimals)


def _slowly(data: bytes, max_depth: int, max_digits: int, *, decimals: bool) -> Json:
    """Return what `loads` does, word for word: the standard library's decoder with every check."""
    _scan(data, max_depth, max_digits)
    try:
        value: Json = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=Verbatim if decimals else _finite,
        )
    except UnicodeDecodeError as problem:
        raise IncorrectInput("the JSON text is not UTF-8") from problem
    except json.JSONDecodeError as problem:
        # Only the position: the message of the standard library is safe, its `doc` is the patient's data.
        text = f"not JSON: {problem.msg} at line {problem.lineno}, column {problem.colno}"
        raise IncorrectInput(text) from None
    except RecursionError:
        raise IncorrectInput(f"the JSON text is nested deeper than {max_depth}") from None
    if _SUSPECT_ESCAPE.search(data) or b"\x00" in data:
        _refuse_unstorable(value)
    return value


def load_object(
    data: bytes,
    *,
    max_bytes: int = MAX_BYTES,
    max_depth: int = MAX_DEPTH,
    max_digits: int = MAX_DIGITS,
    decimals: bool = False,
) -> dict[str, Any]:
    """Return the JSON object in data; as `loads`, and IncorrectInput for null, a list or a bare value."""
    value = loads(data, max_bytes=max_bytes, max_depth=max_depth, max_digits=max_digits, decimals=decimals)
    if not isinstance(value, dict):
        raise IncorrectInput("the JSON text is not an object")
    return value


def _plain(data: bytes, max_depth: int) -> Any:  # noqa: ANN401 - Json, or _DOUBT; as orjson says
    """Return the value of a text that holds nothing unusual, else _DOUBT: then `_slowly` decides.

    orjson is six times as fast. What it would let pass is looked for here, so that both give the same for every
    text: long numbers, which it rounds; names that stand twice, of which it keeps the last; and nesting.
    """
    numbers = data.translate(_NUMBERS)
    exponents = b"0e" in numbers and any(exponent in numbers for exponent in _LONG_EXPONENTS)
    if exponents or _LONG_NUMBER in numbers or (b"\\" in data and b"\\u" in data):
        return _DOUBT
    try:
        value = orjson.loads(data)
        # A name and its value are one colon; those within strings are written as they were read. Without escapes
        # of the form \\uXXXX (a colon can be one) fewer come out only where a name stood twice.
        written = orjson.dumps(value, option=orjson.OPT_INDENT_2)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return _DOUBT
    deep = b"\n" + b"  " * max_depth in written  # a line so far in; only what is outside strings makes one
    return _DOUBT if deep or written.count(b":") != data.count(b":") else value


def _scan(data: bytes, max_depth: int, max_digits: int) -> None:
    """Refuse deep nesting and long numbers before anything is built; linear, no regular expression per byte."""
    # Backslashes are legal only within strings, so dropping escaped pairs leaves every other quote a border.
    plain = data.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in data else data
    structure = b"".join(plain.translate(None, _NOT_STRUCTURE).split(b'"')[::2])
    if max(accumulate(map(_STEP.__getitem__, structure)), default=0) > max_depth:
        raise IncorrectInput(f"the JSON text is nested deeper than {max_depth}")
    run = b"0" * (max_digits + 1)
    if run in plain.translate(_ZEROED) and any(run in part for part in _outside(plain.translate(_ZEROED))):
        raise IncorrectInput(f"a number has more than {max_digits} digits")
    if _LONG_EXPONENT.search(plain) and any(_LONG_EXPONENT.search(part) for part in _outside(plain)):
        raise IncorrectInput("a number has an exponent beyond 999")


def _outside(plain: bytes) -> list[bytes]:
    return plain.split(b'"')[::2]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise IncorrectInput("a name stands twice in one JSON object")
    return value


def _constant(_name: str) -> NoReturn:
    raise IncorrectInput("NaN and Infinity are not JSON numbers")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise IncorrectInput("a number is too large")
    return value


def _refuse_unstorable(value: Json) -> None:
    waiting: list[Any] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting.extend(item)
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, str) and _UNSTORABLE.search(item):
            raise IncorrectInput("a string holds a lone surrogate or U+0000")
