r"""The marks of a search value and how they are escaped: `,` `$` `|` and `\` (R4 3.1.1.4.4.1)."""

import re

from clinical.errors import IncorrectInput

_ESCAPE = re.compile(r"\\([\\,|$])")


def split(text: str, mark: str) -> list[str]:
    """Return the parts between the marks that are not escaped; what is escaped in them stays so."""
    parts, start, at = [], 0, 0
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == mark:
            parts.append(text[start:at])
            start = at + 1
        at += 1
    return [*parts, text[start:]]


def alternatives(name: str, value: str) -> list[str]:
    """Return the values between commas. Raises IncorrectInput when one is empty."""
    values = split(value, ",")
    if not all(each.strip() for each in values):
        raise IncorrectInput(f"{name} has an empty value", expression=[name])
    return values


def escaped(text: str) -> str:
    """Return text as a search parameter's value has it."""
    return re.sub(r"([\\$,|])", r"\\\1", text)


def unescaped(text: str) -> str:
    """Return the value itself."""
    return _ESCAPE.sub(r"\1", text)
