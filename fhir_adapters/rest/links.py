"""Links within a transaction (R4 3.1.0.11.2): what names an entry by its fullUrl comes to name what it became.

Done in the bytes, where a link stands, so that everything else stays as the client wrote it.
"""

import json
import re
from collections.abc import Callable
from typing import Protocol

_LINK = re.compile(
    r'(?<!\\)"(?P<name>reference|url|uri|valueUri|valueUrl|valueUuid|valueOid|valueCanonical)"\s*:\s*'
    r'(?P<value>"(?:[^"\\]|\\.)*")'
)
CONDITION = re.compile(r"(?P<type>[A-Z][A-Za-z]{1,63})\?(?P<condition>.+)", re.DOTALL)


class Became(Protocol):
    """What a fullUrl came to name, "Type/id"; a mapping is one."""

    def get(self, link: str, /) -> str | None:
        """Return it, None for a link that stays as it is."""
        ...


def linked(data: bytes, became: Became, found: Callable[[str, str], str]) -> bytes:
    """Return a resource with its links resolved.

    found: asked for (type, condition) of each conditional reference
    ("Patient?identifier=..."), it returns "Type/id" or raises.
    """

    def resolved(match: re.Match[str]) -> str:
        said = match["value"]
        link = json.loads(said) if "\\" in said else said[1:-1]
        target = became.get(link)
        condition = None
        if target is None and "?" in link and match["name"] == "reference":
            condition = CONDITION.fullmatch(link)
        if condition is not None:
            target = found(condition["type"], condition["condition"])
        if target is None:
            return match[0]
        start = match.start("value") - match.start()
        return match[0][:start] + json.dumps(target)

    return _LINK.sub(resolved, data.decode()).encode()
