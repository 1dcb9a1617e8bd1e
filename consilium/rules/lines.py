"""Where in a TOML file a key stands: tomllib tells values and not their lines, people need the line."""

import re

Place = tuple[str | int, ...]
_TABLE = re.compile(r"\s*(\[\[?)\s*([A-Za-z0-9_.\- ]+?)\s*\]\]?\s*(?:#.*)?")
_KEY = re.compile(r"\s*([A-Za-z0-9_.\-]+)\s*=")


def places_of(text: str) -> dict[Place, int]:
    """Return the lines (from 1) of tables and keys by their place, as in ("read", 0, "when", "modality")."""
    places: dict[Place, int] = {}
    counted: dict[str, int] = {}
    table: Place = ()
    for number, line in enumerate(text.splitlines(), 1):
        header = _TABLE.fullmatch(line)
        if header:
            table = _table(header[1], header[2], counted)
            places.setdefault(table, number)
            continue
        key = _KEY.match(line)
        if key:
            parts = tuple(part.strip() for part in key[1].split("."))
            for length in range(1, len(parts) + 1):
                places.setdefault((*table, *parts[:length]), number)
    return places


def line_of(places: dict[Place, int], place: Place) -> int:
    """Return the line of a place, or of the nearest table or key around it; 1 when there is none."""
    return next((places[place[:n]] for n in range(len(place), 0, -1) if place[:n] in places), 1)


def _table(bracket: str, name: str, counted: dict[str, int]) -> Place:
    parts: list[str | int] = [part.strip() for part in name.split(".")]
    if bracket == "[[":
        counted[name] = counted.get(name, -1) + 1
        return (*parts, counted[name])
    first = str(parts[0])
    return (first, counted[first], *parts[1:]) if first in counted else tuple(parts)
