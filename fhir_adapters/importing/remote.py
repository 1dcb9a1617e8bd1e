"""Another FHIR server as the target of an import.

Everything is an update under its id, in Bundles: sent twice it is as good as once, and links between files need no
answer of the server. A create whose condition finds something there is left out.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import orjson

from clinical.clock import Clock
from fhir_adapters.importing.items import Identifiers, Problem, identifiers_of
from fhir_adapters.importing.prepare import Ready
from fhir_adapters.importing.tally import Tally
from fhir_adapters.outcome import SeveralMatches
from fhir_adapters.remote.problem import RemoteProblem
from fhir_adapters.remote.server import RemoteServer
from fhir_adapters.rest.fhir import require_type
from fhir_adapters.splice import with_id
from record_store.database import Database
from record_store.imports import Imported, imported, note

_IDS = 50  # in one question


@dataclass(slots=True)
class RemoteTarget:
    """db: ours, where it stands how far each file has come. tell: gets what the server refuses."""

    remote: RemoteServer
    db: Database
    now: Clock
    tell: Callable[[Problem], None]
    rehearsal: bool = False
    _found: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def base_url(self) -> str:
        """Its address: an absolute reference to it equals the relative one."""
        return self.remote.base

    @property
    def profiles(self) -> None:
        """R4's own; what else it asks for it says itself."""
        return

    def known(self, digest: str) -> Imported:
        """Return how far a file has come before, there."""
        with self.db.read() as conn:
            return imported(conn, digest, self.remote.base)

    def found(self, kind: str, condition: str) -> str | None:
        """Return Type/id of what a conditional reference finds there; what was found is remembered."""
        key = (kind, condition)
        if key not in self._found:
            target = self.match(kind, condition)
            if target is None:
                return None
            self._found[key] = target
        return self._found[key]

    def match(self, kind: str, condition: str) -> str | None:
        """Return Type/id of the one match there, None when there is none. Raises SeveralMatches, RemoteProblem."""
        require_type(kind)
        page = self.remote.read(f"{kind}?{condition}&_count=2")
        ids = [one["id"] for one in _resources(page) if isinstance(one.get("id"), str)]
        if len(ids) > 1:
            raise SeveralMatches(f"the condition matches more than one {kind}")
        return f"{kind}/{ids[0]}" if ids else None

    def strangers(self, lot: Sequence[tuple[str, Identifiers]]) -> list[str]:
        """Return the ids under which the server keeps a Patient that has none of the identifiers told."""
        kept: dict[str, Identifiers] = {}
        for ids in _lots(sorted({one for one, _ in lot})):
            found = self.remote.search(f"Patient?_id={','.join(ids)}&_count={_IDS}")
            kept |= {str(one.get("id")): identifiers_of(one) for one in found}
        return sorted({one for one, said in lot if kept.get(one) and not kept[one] & said})

    def write(self, ready: Sequence[Ready], digest: str, so_far: Imported) -> Tally:
        """Send resources as one Bundle. Raises RemoteProblem when it is not taken as a whole."""
        tally, sent = Tally(), []
        for one in ready:
            named = one.item.named
            if named.condition is not None and self.match(named.type, named.condition) is not None:
                tally.unchanged += 1  # it was there before us, or by an earlier try
            else:
                sent.append(one)
        if self.rehearsal:
            tally.created += len(sent)
            return tally
        if sent:
            answer = self.remote.bundle(_bundle(sent), repeatable=True)
            for one, status in zip(sent, _statuses(answer, len(sent)), strict=True):
                self._count(tally, one, status)
        self._note(digest, Imported(so_far.done, so_far.refused + tally.refused, so_far.finished))
        return tally

    def finish(self, digest: str, so_far: Imported) -> None:
        """Keep that a file is done with."""
        if not self.rehearsal:
            self._note(digest, so_far)

    def _note(self, digest: str, so_far: Imported) -> None:
        with self.db.write() as conn:
            note(conn, digest, self.now(), so_far, self.remote.base)

    def _count(self, tally: Tally, one: Ready, status: str) -> None:
        match status:
            case "201":
                tally.created += 1
            case "200" | "204" if one.draft is None:
                tally.removed += 1
            case "200" | "204":
                tally.updated += 1
            case _:
                tally.refused += 1
                self.tell(Problem(one.item.place, f"the server answered {status}", one.item.named.type))


def _bundle(sent: Sequence[Ready]) -> bytes:
    """Return a batch; a transaction of a file is one as well when it comes in one piece."""
    whole = all(one.item.together for one in sent)
    kind = b"transaction" if whole else b"batch"
    entries = b",".join(_entry(one) for one in sent)
    return b'{"resourceType":"Bundle","type":"' + kind + b'","entry":[' + entries + b"]}"


def _entry(one: Ready) -> bytes:
    named = one.item.named
    method = "DELETE" if one.draft is None else "PUT"
    request = orjson.dumps({"method": method, "url": f"{named.type}/{quote(named.id)}"})
    if one.draft is None:
        return b'{"request":' + request + b"}"
    return b'{"resource":' + with_id(one.draft.data, named.id) + b',"request":' + request + b"}"


def _statuses(answer: dict[str, Any], count: int) -> Iterator[str]:
    entries = answer.get("entry")
    if not isinstance(entries, list) or len(entries) != count:
        raise RemoteProblem("the server's answer does not say what became of each entry")
    for entry in entries:
        response = entry.get("response") if isinstance(entry, dict) else None
        yield str(response.get("status", "")).split(" ")[0] if isinstance(response, dict) else "nothing"


def _resources(page: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for entry in page.get("entry", ()):
        mode = (entry.get("search") or {}).get("mode", "match")
        if mode == "match" and isinstance(entry.get("resource"), dict):
            yield entry["resource"]


def _lots(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(ids), _IDS):
        yield ids[first : first + _IDS]
