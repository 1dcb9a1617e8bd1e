"""Narrative (R4 2.4.5): a subset of XHTML that cannot do anything (txt-1) and says something (txt-2)."""

import re
from typing import Any
from xml.parsers import expat

_XHTML = "http://www.w3.org/1999/xhtml"
_ELEMENTS = frozenset(
    (
        *("a", "abbr", "acronym", "address", "b", "big", "blockquote", "br", "caption", "cite", "code", "col"),
        *("colgroup", "dd", "del", "dfn", "div", "dl", "dt", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i"),
        *(
            "img",
            "ins",
            "kbd",
            "li",
            "ol",
            "p",
            "pre",
            "q",
            "samp",
            "small",
            "span",
            "strong",
            "sub",
            "sup",
            "table",
        ),
        *("tbody", "td", "tfoot", "th", "thead", "tr", "tt", "ul", "var"),
    )
)
_ATTRIBUTES = frozenset(
    (
        *("abbr", "align", "alt", "axis", "border", "bordercolor", "cellhalign", "cellpadding", "cellspacing"),
        *(
            "cellvalign",
            "char",
            "charoff",
            "cite",
            "class",
            "colspan",
            "dir",
            "headers",
            "height",
            "href",
            "hreflang",
        ),
        *("id", "lang", "name", "nowrap", "rel", "rowspan", "rules", "scope", "span", "src", "start", "style"),
        *("summary", "target", "title", "type", "valign", "value", "width", "xml:lang", "xmlns"),
    )
)
_LINKS = frozenset({"href", "src", "cite"})
_HARMLESS = re.compile(r"(https?:|mailto:|tel:|#|data:\s*image/(png|gif|jpe?g)[;,]|[^:]*$)", re.IGNORECASE)
MAX_DEPTH = 60


class _Refused(Exception):
    """What is wrong with the narrative."""


class _Reader:
    def __init__(self) -> None:
        self.depth, self.says_something = 0, False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if self.depth == 0 and (name != "div" or attributes.get("xmlns") != _XHTML):
            raise _Refused(f'must be a div with xmlns="{_XHTML}"')
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _Refused("is nested too deeply")
        if name not in _ELEMENTS:
            raise _Refused("holds an element that a narrative may not have (txt-1)")
        if not _ATTRIBUTES.issuperset(attributes):
            raise _Refused("holds an attribute that a narrative may not have (txt-1)")
        if not all(_HARMLESS.match(attributes[one].strip()) for one in _LINKS & attributes.keys()):
            raise _Refused("holds a link that a narrative may not have (txt-1)")
        self.says_something |= name == "img"

    def end(self, _name: str) -> None:
        self.depth -= 1

    def text(self, data: str) -> None:
        self.says_something |= bool(data.strip())


def narrative_problem(value: object) -> str:
    """Return what is wrong with a `Narrative.div`, or "" when nothing is."""
    if not isinstance(value, str):
        return "must be XHTML in a text"
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = _no_doctype
    parser.EntityDeclHandler = _no_doctype
    try:
        parser.Parse(value, True)
    except expat.ExpatError:
        return "must be well-formed XHTML"
    except _Refused as problem:
        return str(problem)
    return "" if reader.says_something else "must say something (txt-2)"


def _no_doctype(*_: Any) -> None:  # noqa: ANN401 - expat's arguments
    raise _Refused("may declare no document type")
