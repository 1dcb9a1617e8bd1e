"""Where a version stands in the order of a search: what the database sorts by, worked out from the body."""

from collections.abc import Sequence

import orjson

from fhir_adapters.search.index import Indexed, index_of
from record_store.index_rows import IndexRows, cut, fit
from record_store.page_snapshot import PlaceOf
from record_store.resource_search import Place, SortBy, SortKey
from record_store.resources import StoredResource


def place_of(sort: Sequence[SortKey], base_url: str) -> PlaceOf:
    """Return what gives the place of a version: its sort values and its id."""

    def place(version: StoredResource) -> Place:
        indexed = index_of(orjson.loads(version.body), base_url) if version.body else _NOTHING
        return (*(_value(key, version, indexed) for key in sort), version.id)

    return place


_NOTHING = Indexed(IndexRows(), None, None, None)


def _value(key: SortKey, version: StoredResource, indexed: Indexed) -> str | float:
    rows, names = indexed.rows, key.param.split("|")
    match key.by:
        case SortBy.ID:
            return version.id
        case SortBy.UPDATED:
            return version.updated
        case SortBy.HOT_DATE:
            return indexed.date_lo or ""
        case SortBy.QUANTITY:
            return min((row.canon_lo for row in rows.quantities if row.param in names), default=float("-inf"))
        case SortBy.TOKEN:
            return min((fit(row.code) for row in rows.tokens if row.code and row.param in names), default="")
        case SortBy.DATE:
            return min((row.lo for row in rows.dates if row.param in names), default="")
        case SortBy.STRING:
            return min((cut(row.value) for row in rows.strings if row.param in names), default="")
        case SortBy.REFERENCE:
            return min((fit(row.target_id) for row in rows.references if row.param in names), default="")
        case SortBy.URI:
            return min((fit(row.value) for row in rows.uris if row.param in names), default="")
