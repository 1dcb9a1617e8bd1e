"""The query of a search (PS3.18 8.3.4): which attributes must match, what is included, which page."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydicom.datadict import tag_for_keyword
from werkzeug.datastructures import MultiDict

from clinical.errors import IncorrectInput
from dicom_node.query.attributes import BY_TAG

MAX_LIMIT = 1000
DEFAULT_LIMIT = 200
MAX_OFFSET = 1_000_000
MAX_KEYS = 32
_MAX_VALUE = 1024
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_SPOKEN = {"limit", "offset", "fuzzymatching", "includefield", "accept"}


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """keys: tag -> what is asked for. fields: tags to add; all_fields: every one we have. remarks: for Warning."""

    keys: Mapping[str, str]
    fields: frozenset[str]
    all_fields: bool
    limit: int
    offset: int
    remarks: tuple[str, ...]


def read_query(args: MultiDict[str, str], known: Iterable[str]) -> SearchQuery:
    """Return what a request asks for. known: the tags that this resource can match.

    Raises IncorrectInput for a number that is none and for what is too long; an attribute that we do not match is
    remarked. A list of UIDs has commas or backslashes (PS3.18 8.3.4.1).
    """
    keys: dict[str, str] = {}
    remarks: list[str] = []
    known = set(known)
    for name, value in args.items(multi=True):
        if name in _SPOKEN or not value:
            continue  # an empty value matches everything (PS3.4 C.2.2.2.3)
        tag = _tag(name)
        if tag is None or tag not in known:
            remarks.append("an attribute that is not matched here was left out")
            continue
        if len(value) > _MAX_VALUE or len(keys) >= MAX_KEYS:
            raise IncorrectInput("the query is too long")
        keys[tag] = value.replace(",", "\\") if BY_TAG[int(tag, 16)].vr == "UI" else value
    if args.get("fuzzymatching") == "true":
        remarks.append("fuzzy matching is not done; names were matched literally")
    fields = [one for text in args.getlist("includefield") for one in text.split(",") if one]
    return SearchQuery(
        keys=keys,
        fields=frozenset(filter(None, map(_tag, fields))),
        all_fields="all" in fields,
        limit=min(_number(args, "limit", DEFAULT_LIMIT), MAX_LIMIT),
        offset=min(_number(args, "offset", 0), MAX_OFFSET),
        remarks=tuple(dict.fromkeys(remarks)),
    )


def _tag(name: str) -> str | None:
    if _TAG.fullmatch(name):
        return name.upper()
    number = tag_for_keyword(name)
    return None if number is None else f"{number:08X}"


def _number(args: MultiDict[str, str], name: str, default: int) -> int:
    text = args.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise IncorrectInput(f"{name} is a whole number")
    return int(text)
