"""A subscriber's own headers (R4 Subscription.channel.header): sent to its endpoint and shown to nobody.

What is stored and served holds the names and a mask. A client that sends the mask means the value that is known.
"""

import json
import re
from collections.abc import Sequence

from clinical.errors import IncorrectInput
from fhir_adapters.splice import items, members
from record_store.subscriptions import Headers

MASK = "***"
MOST_HEADERS = 16
MOST_CHARACTERS = 8192
_HEADER = re.compile(
    r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}):[ \t]*([\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*))?"
)
# What decides how the message is read, and whose it is (RFC 9110, 9112).
_OURS = frozenset({
    "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "host",
    "keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    "user-agent",
})  # fmt: skip


def headers_in(texts: Sequence[str | None]) -> Headers:
    """Return names and values of "Name: value"; None for a value that is masked.

    Raises IncorrectInput, naming the place and never the value.
    """
    if len(texts) > MOST_HEADERS or sum(len(text) for text in texts if text) > MOST_CHARACTERS:
        raise _refused("", f"at most {MOST_HEADERS} headers of {MOST_CHARACTERS} characters in all")
    found: list[tuple[str, str | None]] = []
    for number, text in enumerate(texts):
        header = _HEADER.fullmatch(text or "")  # null, where an extension stands in its place
        if header is None:
            raise _refused(f"[{number}]", 'expected "Name: value" (RFC 9110 5.1)')
        if header[1].lower() in _OURS:
            raise _refused(f"[{number}]", "this header is this server's to set")
        value = (header[2] or "").rstrip()
        found.append((header[1], None if value == MASK else value))
    return tuple(found)


def masked(data: bytes) -> bytes:
    """Return a Subscription's bytes with a mask for each header's value, and every other byte as it was.

    data: one JSON object in UTF-8 that was found to be a valid Subscription.
    """
    text = data.decode("utf-8")
    channel = members(text, members(text, 0)["channel"][0])
    if "header" not in channel:
        return data
    for start, end in reversed(items(text, channel["header"][0])):
        name = json.loads(text[start:end]).partition(":")[0]
        text = text[:start] + json.dumps(f"{name}: {MASK}") + text[end:]
    return text.encode("utf-8")


def _refused(place: str, why: str) -> IncorrectInput:
    return IncorrectInput(why, expression=[f"Subscription.channel.header{place}"])
