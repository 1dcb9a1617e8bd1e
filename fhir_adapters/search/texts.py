"""String rows (R4 3.1.1.4.8): texts without case and accents, and as they were sent."""

import unicodedata

from fhir_adapters.search.rows import Rows, items
from record_store.index_rows import StringRow

NAME_PARTS = ("family", "given", "prefix", "suffix", "text")
ADDRESS_PARTS = ("text", "line", "city", "district", "state", "postalCode", "country")


def normal_text(text: str) -> str:
    """Return text as string searches compare it: no case, no accents (R4 3.1.1.4.8), single blanks."""
    if not text.isascii():
        text = "".join(mark for mark in unicodedata.normalize("NFKD", text) if not unicodedata.combining(mark))
        return " ".join(text.casefold().split())
    return " ".join(text.lower().split())


def text(name: str, value: object, part: int, made: Rows) -> None:
    if isinstance(value, str) and (text := normal_text(value)):
        made.strings.append(StringRow(name, text, value, part))


def words(members: tuple[str, ...], name: str, value: object, part: int, made: Rows) -> None:
    if isinstance(value, dict):
        for member in members:
            held = value.get(member)
            for one in held if isinstance(held, list) else (held,):
                text(name, one, part, made)


def concept_text(name: str, value: object, part: int, made: Rows) -> None:
    if isinstance(value, dict):
        text(name, value.get("text"), part, made)
        for coding in items(value.get("coding")):
            text(name, coding.get("display"), part, made)
