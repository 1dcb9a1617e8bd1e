"""Playing recordings again, and what is different now."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cds.recording.deidentify import Disguise
from cds.recording.tape import FORMAT, JsonObject, said
from clinical.errors import IncorrectInput

# HTTP status -> what an error's category is in a recording (fhir_adapters/outcome.py).
STATUS = {400: "incorrect", 404: "not-found", 412: "precondition", 422: "unsupported", 403: "denied", 503: "busy"}
Ask = Callable[[str, JsonObject, datetime], tuple[int, JsonObject]]


@dataclass(frozen=True, slots=True)
class Difference:
    """One recording played again. changed: what is different, in words; empty when nothing is."""

    name: str
    service: str
    changed: tuple[str, ...]


def recordings(folder: Path) -> Iterator[tuple[str, JsonObject]]:
    """Yield (file name, recording). Raises IncorrectInput for a file that is none."""
    for path in sorted(folder.glob("*.json")):
        try:
            made = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            made = None
        if not isinstance(made, dict) or made.get("format") != FORMAT:
            raise IncorrectInput(f"{path.name}: expected a recording of format {FORMAT}")
        yield path.name, made


def replay(name: str, recording: JsonObject, ask: Ask, disguise: Disguise) -> Difference:
    """Return what is different. ask: (service id, body, time of the call) -> HTTP status and body.

    disguise: with the key that the recording was made with; with another, summaries cannot be compared.
    """
    at = datetime.fromisoformat(recording["at"])
    status, body = ask(recording["service"], recording["request"], at)
    now = said(body, disguise) if status == 200 else {"status": STATUS.get(status, "fault")}
    return Difference(name, recording["service"], tuple(_changes(recording["answer"], now)))


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    if before["status"] != now["status"]:
        yield f"answered {now['status']} in place of {before['status']}"
        return
    old, new = before.get("cards", []), now.get("cards", [])
    if len(old) != len(new):
        yield f"{len(new)} cards in place of {len(old)}"
        return
    for number, (one, other) in enumerate(zip(old, new, strict=True)):
        for part in one:
            if one[part] != other.get(part):
                told = "differs" if part == "summary" else f"{other.get(part)} in place of {one[part]}"
                yield f"card {number + 1}: {part} {told}"
