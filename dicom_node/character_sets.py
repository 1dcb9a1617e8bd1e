"""Text in the character set that a data set declares (PS3.3 C.12.1.1.2, PS3.5 6.1.2), read by Python's codecs.

The same text as pydicom reads, which a test holds; but a process that only stores objects need not load it.
"""

import re
import warnings
from collections.abc import Sequence, Set
from functools import lru_cache
from types import MappingProxyType

_LATIN_1 = "iso8859"  # what stands in for ASCII: no byte is lost
_SINGLE_BYTE = {
    "100": "latin_1",
    "101": "iso8859_2",
    "109": "iso8859_3",
    "110": "iso8859_4",
    "126": "iso_ir_126",
    "127": "iso_ir_127",
    "138": "iso_ir_138",
    "144": "iso_ir_144",
    "148": "iso_ir_148",
    "166": "iso_ir_166",
    "13": "shift_jis",
    "6": _LATIN_1,
}
_ALONE = MappingProxyType({"ISO_IR 192": "UTF8", "GB18030": "GB18030", "GBK": "GBK"})
_PYTHON_S = MappingProxyType(
    {"": _LATIN_1}
    | {f"{prefix} {number}": name for number, name in _SINGLE_BYTE.items() for prefix in ("ISO_IR", "ISO 2022 IR")}
    | {
        "ISO 2022 IR 58": "iso_ir_58",
        "ISO 2022 IR 87": "iso2022_jp",
        "ISO 2022 IR 149": "euc_kr",
        "ISO 2022 IR 159": "iso2022_jp_2",
    }
    | _ALONE
)
# PS3.3 tables C.12-3 and C.12-4. shift_jis has both halves of JIS X 0201.
_ESCAPED = MappingProxyType(
    {
        b"\x1b(B": _LATIN_1,
        b"\x1b-A": "latin_1",
        b"\x1b)I": "shift_jis",
        b"\x1b(J": "shift_jis",
        b"\x1b-B": "iso8859_2",
        b"\x1b-C": "iso8859_3",
        b"\x1b-D": "iso8859_4",
        b"\x1b-F": "iso_ir_126",
        b"\x1b-G": "iso_ir_127",
        b"\x1b-H": "iso_ir_138",
        b"\x1b-L": "iso_ir_144",
        b"\x1b-M": "iso_ir_148",
        b"\x1b-T": "iso_ir_166",
        b"\x1b$B": "iso2022_jp",
        b"\x1b$(D": "iso2022_jp_2",
        b"\x1b$)A": "iso_ir_58",
        b"\x1b$)C": "euc_kr",
    }
)
_WITH_ESCAPE = frozenset(("iso2022_jp", "iso2022_jp_2", "iso_ir_58"))  # codecs that want to see it
_FRAGMENT = re.compile(rb"^[^\x1b]+|\x1b[^\x1b]*")


def is_plain(value: bytes) -> bool:
    """Return True for ASCII without escapes, which is the same text in every character set."""
    return value.isascii() and b"\x1b" not in value


def decoded(value: bytes, encodings: Sequence[str], delimiters: Set[int]) -> str:
    """Return a text value, with replacements where it is not what its character set says.

    encodings: of `encodings_of`. delimiters: bytes behind which the first of them holds again (PS3.5 6.1.2.5.3).
    """
    if is_plain(value):
        return value.decode("ascii").strip("\0 ")
    fragments = _FRAGMENT.findall(value) if b"\x1b" in value else [value]
    return "".join(_fragment(one, encodings, delimiters) for one in fragments).strip("\0 ")


def _fragment(value: bytes, encodings: Sequence[str], delimiters: Set[int]) -> str:
    try:
        if value.startswith(b"\x1b"):
            return _escaped(value, encodings, delimiters)
        return value.decode(encodings[0])
    except (LookupError, UnicodeError):
        return _replacing(value, encodings[0])


def _escaped(value: bytes, encodings: Sequence[str], delimiters: Set[int]) -> str:
    escape = value[: 4 if value.startswith((b"\x1b$(", b"\x1b$)")) else 3]
    encoding = _ESCAPED.get(escape)
    if encoding is None or (encoding not in encodings and encoding != _LATIN_1):
        return _replacing(value, encodings[0])
    if encoding in _WITH_ESCAPE:
        return value.decode(encoding)
    rest = value[len(escape) :]
    end = next((place for place, one in enumerate(rest) if one in delimiters), len(rest))
    return rest[:end].decode(encoding) + rest[end:].decode(encodings[0])


def _replacing(value: bytes, encoding: str) -> str:
    try:
        return value.decode(encoding, errors="replace")
    except (LookupError, UnicodeError):  # a codec of Python's that reads no text
        return value.decode(_LATIN_1)


def encodings_of(character_set: bytes) -> Sequence[str]:
    """Return Python's names for Specific Character Set (0008,0005); Latin-1 for one that nobody knows."""
    return _encodings_of(character_set)


@lru_cache(64)
def _encodings_of(character_set: bytes) -> Sequence[str]:
    declared = [one.strip().decode("ascii", "replace") for one in character_set.split(b"\\")]
    found = [_PYTHON_S.get(one) for one in declared]
    if all(found) and (len(found) == 1 or not _ALONE.keys() & set(declared)):
        return [one for one in found if one]
    return _corrected(declared)


def _corrected(declared: list[str]) -> Sequence[str]:
    """Return what pydicom makes of names that are misspelt, or stand together and must not."""
    from pydicom.charset import convert_encodings  # noqa: PLC0415 - for a sender that is wrong

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote what they could not read
        try:
            return convert_encodings(declared)
        except (LookupError, ValueError):  # a name with a NUL within is the latter
            return [_LATIN_1]
