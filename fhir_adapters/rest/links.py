"""Links within a transaction (R4 3.1.0.11.2): what names an entry by its fullUrl comes to name what it became.

Done in the bytes, where a link stands, so that everything else stays as the client wrote it.
"""

import json
import re
from collections.abc import Callable, Mapping

_LINK = re.compile(
    r'(?<!\\)"(?P<name>reference|url|uri|valueUri|valueUrl|valueUuid|valueOid|valueCanonical)"\s*:\s*'
    r'(?P<value>"(?:[^"\\]|\\.)*")'
)
CONDITION = re.compile(r"(?P<type>[A-Z][A-Za-z]{1,63})\?(?P<condition>.+)", re.DOTALL)


def linked(data: bytes, became: Mapping[str, str], found: Callable[[str, str], str]) -> bytes:
    """Return a resource with its links resolved.

    became: fullUrl -> "Type/id". found: asked for (type, condition) of each conditional reference
    ("Patient?identifier=..."), it returns "Type/id" or raises.
    """

    def resolved(match: re.Match[str]) -> str:
        link = json.loads(match["value"])
        target = became.get(link)
        condition = CONDITION.fullmatch(link) if match["name"] == "reference" and target is None else None
        if condition is not None:
            target = found(condition["type"], condition["condition"])
        if target is None:
            return match[0]
        start = match.start("value") - match.start()
        return match[0][:start] + json.dumps(target)

    return _LINK.sub(resolved, data.decode()).encode()
