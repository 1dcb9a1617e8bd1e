"""A searchset: what was found, what it includes, what is to be said about the search (R4 3.1.1.2, 3.1.1.5.3)."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson
from sqlalchemy import Connection

from fhir_adapters.outcome import outcome
from fhir_adapters.rest.subset import Cut
from fhir_adapters.search.includes import Include
from fhir_adapters.search.parameters import SearchParameter
from record_store.criteria import RestrictionOf
from record_store.resource_links import Key, pointed_to, pointing_at, read_all
from record_store.resources import StoredResource

SEARCH_LIMIT_S = 15.0  # of the database, for one page
MAX_INCLUDED = 1000  # beside one page
MAX_ROUNDS = 5  # of :iterate
_CHUNK = 500  # ids in one question


@dataclass(frozen=True, slots=True)
class Included:
    """What goes with a page. cut: there was more than MAX_INCLUDED, or than MAX_ROUNDS reach."""

    resources: tuple[StoredResource, ...] = ()
    cut: bool = False


def included(
    conn: Connection, includes: Sequence[Include], matches: Iterable[StoredResource], allowed: RestrictionOf
) -> Included:
    """Return what the page's references lead to, each once, and none that is a match itself."""
    if not includes:
        return Included()
    seen = {(one.type, one.id): None for one in matches}
    found: list[StoredResource] = []
    ways, fresh = list(includes), list(seen)
    for _ in range(MAX_ROUNDS):
        keys = [key for key in dict.fromkeys(_followed(conn, ways, fresh)) if key not in seen]
        seen |= dict.fromkeys(keys)
        left = MAX_INCLUDED - len(found)
        more = _read(conn, keys, allowed, left + 1)
        found += more[:left]
        if len(more) > left:
            return Included(tuple(found), cut=True)
        ways, fresh = [way for way in includes if way.iterate], [(one.type, one.id) for one in more]
        if not ways or not fresh:
            return Included(tuple(found))
    return Included(tuple(found), cut=any(key not in seen for key in _followed(conn, ways, fresh)))


def _read(conn: Connection, keys: Sequence[Key], allowed: RestrictionOf, most: int) -> list[StoredResource]:
    """Return those that may be seen; when there are `most`, it looks no further than the chunk they end in."""
    found: list[StoredResource] = []
    for first in range(0, len(keys), _CHUNK):
        if len(found) >= most:
            break
        found += read_all(conn, keys[first : first + _CHUNK], allowed)
    return found


def _followed(conn: Connection, ways: Iterable[Include], keys: Sequence[Key]) -> list[Key]:
    ids: dict[str, list[str]] = {}
    for resource_type, resource_id in keys:
        ids.setdefault(resource_type, []).append(resource_id)
    found: list[Key] = []
    for way in ways:
        params = way.params()
        if way.reverse:
            here = {name: ids[name] for name in ids if way.target in ("", name)}
            for target, some in here.items():
                rows = [
                    row for each in params if _may_point(each.only or each.targets, target) for row in each.rows
                ]
                if rows:
                    found += pointing_at(conn, way.source, rows, {target: some})
        elif way.source in ids:
            for names, only in _alike(params):
                targets = (way.target,) if way.target else only
                found += pointed_to(conn, way.source, ids[way.source], names, targets)
    return found


def _may_point(targets: Sequence[str], target: str) -> bool:
    return not targets or target in targets


def _alike(params: Iterable[SearchParameter]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return (rows, only these types) of parameters, those without a restriction as one."""
    plain = tuple(row for each in params if not each.only for row in each.rows)
    narrow = [(each.rows, each.only) for each in params if each.only]
    return [*([(plain, ())] if plain else []), *narrow]


def entry(base_url: str, stored: StoredResource, mode: str, cut: Cut | None) -> bytes:
    """Return one entry; the stored bytes are put between ours as they are: nothing is parsed on the way out."""
    url = orjson.dumps(f"{base_url.rstrip('/')}/{stored.type}/{stored.id}")
    body = stored.body if cut is None else cut(stored.type, stored.body)
    return b'{"fullUrl":' + url + b',"resource":' + body + b',"search":{"mode":"' + mode.encode() + b'"}}'


def told(*texts: str) -> bytes:
    """Return the entry that says something about the search, one issue each."""
    issues = [outcome("incomplete", text, severity="warning")["issue"][0] for text in texts]
    said = {"resourceType": "OperationOutcome", "issue": issues}
    return orjson.dumps({"resource": said, "search": {"mode": "outcome"}})


def words_of(ignored: Sequence[str], *, cut_includes: bool) -> list[str]:
    """Return what is to be said about a search. ignored: names of parameters that were not used."""
    words = []
    if ignored:
        # Only names that look like names are repeated: a value may have slipped into the place of one.
        names = [name for name in ignored if re.fullmatch("[A-Za-z_][A-Za-z_.:-]{0,63}", name)]
        words.append(
            f"{len(ignored)} unknown search parameter(s) were not used"
            f"{': ' if names else ''}{', '.join(names)}; the self link shows what was"
        )
    if cut_includes:
        words.append("more resources would be included than one page takes: ask for fewer with _count")
    return words


def searchset(links: Sequence[tuple[str, str]], entries: Sequence[bytes], total: int | None = None) -> bytes:
    """Return the Bundle. links: (relation, URL)."""
    head: dict[str, object] = {
        "resourceType": "Bundle",
        "type": "searchset",
        "link": [{"relation": relation, "url": url} for relation, url in links],
    }
    if total is not None:
        head["total"] = total
    if not entries:
        return orjson.dumps(head)
    return orjson.dumps(head)[:-1] + b',"entry":[' + b",".join(entries) + b"]}"
