"""Set `id` and `meta` in a resource's bytes and leave every other byte as the client wrote it.

Parsing and writing again would turn 1.10 into 1.1 and reorder what a signature was made over, so only the
few places that a server must fill (R4 3.1.0.8) are cut in. What comes out is stored and served as it is.
"""

import json
from collections.abc import Collection

_DECODE = json.JSONDecoder()
_OWN = ("resourceType", "id", "meta")
_BLANKS = " \t\n\r"

Cut = tuple[int, int, str]  # replace text[start:end]


def with_identity(data: bytes, *, resource_id: str, version: int, updated: str) -> bytes:
    """Return the resource with id, meta.versionId and meta.lastUpdated set.

    data: one JSON object in UTF-8 that `strict_json` has accepted, with a `resourceType`; `meta`, when there,
        is an object. Members that exist are replaced in place, others stand after resourceType (meta's own
        at its start).
    """
    text = data.decode("utf-8")
    found = members(text, 0, _named_in(text, _OWN))
    own = {"versionId": _quoted(str(version)), "lastUpdated": _quoted(updated)}
    added = {}
    cuts: list[Cut] = []
    if "id" in found:
        cuts.append((*found["id"], _quoted(resource_id)))
    else:
        added["id"] = _quoted(resource_id)
    if "meta" in found:
        cuts.extend(_into_object(text, found["meta"][0], own))
    else:
        added["meta"] = "{" + _joined(own) + "}"
    if added:
        after = found["resourceType"][1]
        cuts.append((after, after, "," + _joined(added)))
    for start, end, new in sorted(cuts, reverse=True):
        text = text[:start] + new + text[end:]
    return text.encode("utf-8")


def with_id(data: bytes, resource_id: str) -> bytes:
    """Return the resource with this id and every other byte as it is; data as in `with_identity`."""
    text = data.decode("utf-8")
    found = members(text, 0, _named_in(text, ("resourceType", "id")))
    start, end = found.get("id", (0, 0))
    if "id" in found:
        return f"{text[:start]}{_quoted(resource_id)}{text[end:]}".encode()
    after = found["resourceType"][1]
    return f'{text[:after]},"id":{_quoted(resource_id)}{text[after:]}'.encode()


def _into_object(text: str, start: int, values: dict[str, str]) -> list[Cut]:
    found = members(text, start)
    cuts: list[Cut] = [(*found[name], value) for name, value in values.items() if name in found]
    rest = {name: value for name, value in values.items() if name not in found}
    if rest:
        opened = text.index("{", start) + 1
        cuts.append((opened, opened, _joined(rest) + ("," if found else "")))
    return cuts


def members(text: str, start: int, wanted: Collection[str] | None = None) -> dict[str, tuple[int, int]]:
    """Return where the value of each member of the object at `start` stands, as (start, end).

    wanted: the walk ends when these are found: no name stands twice (`strict_json`).
    """
    found: dict[str, tuple[int, int]] = {}
    left = len(wanted) if wanted is not None else -1
    at = _skip(text, text.index("{", start) + 1)
    while left and text[at] != "}":
        name, at = _DECODE.raw_decode(text, at)
        at = _skip(text, _skip(text, at) + 1)  # past the colon
        _, end = _DECODE.raw_decode(text, at)
        if wanted is None or name in wanted:
            found[name] = (at, end)
            left -= 1
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return found


def start_of(text: str, start: int, name: str) -> int:
    """Return where the value of a member of the object at `start` begins; the object has it."""
    at = _skip(text, text.index("{", start) + 1)
    while True:
        said, at = _DECODE.raw_decode(text, at)
        at = _skip(text, _skip(text, at) + 1)
        if said == name:
            return at
        _, end = _DECODE.raw_decode(text, at)
        at = _skip(text, _skip(text, end) + 1)  # past the comma


def in_each(text: str, start: int, name: str) -> list[tuple[int, int] | None]:
    """Return where a member stands in each object of the list at `start`, None where one has it not.

    What stands in the list is read once: a Bundle's resources are most of its bytes.
    """
    found: list[tuple[int, int] | None] = []
    at = _skip(text, text.index("[", start) + 1)
    while text[at] != "]":
        span, at = None, _skip(text, at + 1)  # past the brace
        while text[at] != "}":
            said, at = _DECODE.raw_decode(text, at)
            at = _skip(text, _skip(text, at) + 1)
            _, end = _DECODE.raw_decode(text, at)
            span = (at, end) if said == name else span
            at = _skip(text, end)
            if text[at] == ",":
                at = _skip(text, at + 1)
        found.append(span)
        at = _skip(text, at + 1)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return found


def _named_in(text: str, names: Collection[str]) -> list[str]:
    """Return those names that may be a member's: what is nowhere in the text need not be looked for."""
    # A name may be written with escapes.
    return [name for name in names if "\\u" in text or f'"{name}"' in text]


def items(text: str, start: int) -> list[tuple[int, int]]:
    """Return where each item of the list at `start` stands, as (start, end)."""
    found = []
    at = _skip(text, text.index("[", start) + 1)
    while text[at] != "]":
        _, end = _DECODE.raw_decode(text, at)
        found.append((at, end))
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return found


def _skip(text: str, at: int) -> int:
    while text[at] in _BLANKS:
        at += 1
    return at


def _joined(values: dict[str, str]) -> str:
    return ",".join(f"{_quoted(name)}:{value}" for name, value in values.items())


def _quoted(text: str) -> str:
    return json.dumps(text)
