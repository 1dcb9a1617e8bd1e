"""Token rows (R4 3.1.1.4.10), and the rows that `:text`, `:of-type` and `:identifier` ask for."""

from collections.abc import Mapping
from typing import Any

from fhir_adapters.search.rows import Rows, items
from fhir_adapters.search.texts import normal_text
from record_store.index_rows import TokenRow

# Of these modifiers there are rows of their own, where an element has what they ask for.
OF_TYPE, BY_IDENTIFIER = ":of-type", ":identifier"


def word(system: str, systems: Mapping[str, str], name: str, value: object, part: int, made: Rows) -> None:
    if isinstance(value, str):
        made.tokens.append(TokenRow(name, systems.get(value, "") if systems else system, value, "", part))
    elif isinstance(value, bool):
        made.tokens.append(TokenRow(name, system, "true" if value else "false", "", part))
    elif isinstance(value, int):
        made.tokens.append(TokenRow(name, system, str(value), "", part))


def coding(name: str, value: object, part: int, made: Rows) -> None:
    if isinstance(value, dict):
        row = _coded(name, value, part)
        if row is not None:
            made.tokens.append(row)


def _coded(name: str, coding: Mapping[str, Any], part: int) -> TokenRow | None:
    system, code, display = coding.get("system", ""), coding.get("code"), coding.get("display")
    text = normal_text(display) if isinstance(display, str) else ""
    if not isinstance(code, str):
        return TokenRow(name, "", "", text, part) if text else None
    return TokenRow(name, system if isinstance(system, str) else "", code, text, part)


def concept(name: str, value: object, part: int, made: Rows) -> None:
    if not isinstance(value, dict):
        return
    said = set()
    for coding in items(value.get("coding")):
        row = _coded(name, coding, part)
        if row is not None:
            made.tokens.append(row)
            said.add(row.text)
    whole = value.get("text")
    # A row without a code: nothing but :text finds it.
    if isinstance(whole, str) and (text := normal_text(whole)) not in said and text:
        made.tokens.append(TokenRow(name, "", "", text, part))


def identifier(name: str, value: object, part: int, made: Rows) -> None:
    if not isinstance(value, dict):
        return
    kind = value.get("type")
    kind = kind if isinstance(kind, dict) else {}
    text = kind.get("text")
    row = identified(name, value, part, normal_text(text) if isinstance(text, str) else "")
    if row is None:
        return
    made.tokens.append(row)
    for coding in items(kind.get("coding")):
        system, code = coding.get("system", ""), coding.get("code")
        if isinstance(system, str) and isinstance(code, str):
            made.tokens.append(TokenRow(name + OF_TYPE, system, f"{code}|{row.code}", "", part))


def identified(name: str, identifier: Mapping[str, Any], part: int, text: str = "") -> TokenRow | None:
    system, code = identifier.get("system", ""), identifier.get("value")
    if not isinstance(code, str):
        return None
    return TokenRow(name, system if isinstance(system, str) else "", code, text, part)


def contact_point(name: str, value: object, part: int, made: Rows) -> None:
    """The system of a ContactPoint (phone, email) is its namespace, so `telecom=email|a@b.example` finds it."""
    if isinstance(value, dict) and (row := identified(name, value, part)) is not None:
        made.tokens.append(row)


def presence(name: str, value: object, part: int, made: Rows) -> None:
    made.tokens.append(TokenRow(name, "", "false" if value is False else "true", "", part))
