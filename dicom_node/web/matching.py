"""The query of a search: which attributes must match and how (PS3.18 8.3.4, matching of PS3.4 C.2.2.2)."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from werkzeug.datastructures import MultiDict

from clinical.errors import IncorrectInput
from dicom_node.web.json_model import Json

MAX_LIMIT = 1000
DEFAULT_LIMIT = 200
MAX_OFFSET = 1_000_000
MAX_KEYS = 32
_MAX_VALUE = 1024
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_WILD = frozenset(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"))
_RANGES = frozenset(("DA", "TM", "DT"))
_MOMENT = re.compile(r"[0-9.]{0,26}")
_SPOKEN = {"limit", "offset", "fuzzymatching", "includefield", "accept"}


@dataclass(frozen=True, slots=True)
class Query:
    """keys: tag -> what is asked for. fields: tags to add; all_fields: every one we have. remarks: for Warning."""

    keys: Mapping[str, str]
    fields: frozenset[str]
    all_fields: bool
    limit: int
    offset: int
    remarks: tuple[str, ...]

    def without(self, tags: Iterable[str]) -> Mapping[str, str]:
        """Return the keys but for these tags."""
        return {tag: value for tag, value in self.keys.items() if tag not in set(tags)}

    def uids(self, tag: str) -> list[str]:
        """Return the list of UIDs that is asked for; none when it is not."""
        return [one for one in re.split(r"[,\\]", self.keys.get(tag, "")) if one]


def read_query(args: MultiDict[str, str], known: Iterable[str]) -> Query:
    """Return what a request asks for. known: the tags that this resource can match.

    Raises IncorrectInput for a value or a number that is none; an attribute that we do not match is remarked.
    """
    keys: dict[str, str] = {}
    remarks: list[str] = []
    for name, value in args.items(multi=True):
        if name in _SPOKEN or not value:
            continue  # an empty value matches everything (C.2.2.2.3)
        tag = _tag(name)
        if tag is None or tag not in set(known):
            remarks.append("an attribute that is not matched here was left out")
            continue
        if len(value) > _MAX_VALUE or len(keys) >= MAX_KEYS:
            raise IncorrectInput("the query is too long")
        keys[tag] = value
    for tag, value in keys.items():
        if _vr(tag) in _RANGES and not all(map(_MOMENT.fullmatch, value.split("-", 1))):
            raise IncorrectInput("a date or time of the query is none")
    if args.get("fuzzymatching") == "true":
        remarks.append("fuzzy matching is not done; names were matched literally")
    fields = [one for text in args.getlist("includefield") for one in text.split(",") if one]
    return Query(
        keys=keys,
        fields=frozenset(filter(None, map(_tag, fields))),
        all_fields="all" in fields,
        limit=min(_number(args, "limit", DEFAULT_LIMIT), MAX_LIMIT),
        offset=min(_number(args, "offset", 0), MAX_OFFSET),
        remarks=tuple(dict.fromkeys(remarks)),
    )


def matches(row: Json, keys: Mapping[str, str]) -> bool:
    """Tell whether a row has what is asked for."""
    return all(_matches(tag, _values(row.get(tag)), value) for tag, value in keys.items())


def _matches(tag: str, values: list[str], asked: str) -> bool:
    vr = _vr(tag)
    if vr == "UI":
        return bool(set(re.split(r"[,\\]", asked)) & set(values))
    if vr in _RANGES:
        return any(_within(value, asked) for value in values)
    if vr in _WILD and asked.strip("*") == "":
        return True
    options = asked.split("\\") if tag == "00080061" else [asked]
    return any(_like(value, one, vr) for value in values for one in options)


def _like(value: str, asked: str, vr: str) -> bool:
    if vr not in _WILD:
        return value.strip() == asked.strip()
    pattern = "".join(
        {"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in re.sub(r"\*+", "*", asked)
    )
    if vr == "PN":  # without regard to case and to trailing empty components (C.2.2.2.1)
        pattern, value = pattern.rstrip("\\^"), value.rstrip("^")
    flags = re.IGNORECASE | re.DOTALL if vr == "PN" else re.DOTALL
    return re.fullmatch(pattern, value.strip(), flags) is not None


def _within(value: str, asked: str) -> bool:
    if "-" not in asked:
        return value[: len(asked)] == asked
    low, _, high = asked.partition("-")
    return (not low or value >= low) and (not high or value[: len(high)] <= high)


def _values(element: Any) -> list[str]:  # noqa: ANN401 - DICOM JSON
    found = []
    for value in (element or {}).get("Value") or []:
        if isinstance(value, dict):
            found += [str(value[group]) for group in ("Alphabetic", "Ideographic", "Phonetic") if value.get(group)]
        elif value is not None:
            found.append(str(value))
    return found


def _tag(name: str) -> str | None:
    if _TAG.fullmatch(name):
        return name.upper()
    number = tag_for_keyword(name)
    return None if number is None else f"{number:08X}"


def _vr(tag: str) -> str:
    try:
        return dictionary_VR(int(tag, 16))
    except KeyError:
        return "LO"


def _number(args: MultiDict[str, str], name: str, default: int) -> int:
    text = args.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise IncorrectInput(f"{name} is a whole number")
    return int(text)
