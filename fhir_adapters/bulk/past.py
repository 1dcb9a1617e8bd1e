"""Which versions of the past meet criteria: the search of the store, over a small store in memory.

Nothing is indexed of a superseded version, and two ways to say what a criterion means would one day differ.
"""

from collections.abc import Sequence
from functools import cached_property

import orjson
from sqlalchemy import Engine, create_engine, select
from sqlalchemy.pool import StaticPool

from fhir_adapters.search.index import index_of
from record_store.as_of import Wanted, meets
from record_store.resources import NewResource, StoredResource, put_all
from record_store.tables import metadata, resource


class PastSearch:
    """Indexes versions in memory, asks, and forgets them again."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url

    def matching(self, wanted: Wanted, versions: Sequence[StoredResource]) -> set[str]:
        """Return the ids of those versions, one of each resource, that meet the criteria."""
        with self._engine.connect() as conn:
            put_all(conn, [self._indexed(one) for one in versions])
            ids = set(conn.execute(select(resource.c.id).where(meets(wanted))).scalars())
            conn.rollback()
        return ids

    @cached_property
    def _engine(self) -> Engine:
        engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
        metadata.create_all(engine)
        return engine

    def _indexed(self, one: StoredResource) -> NewResource:
        found = index_of(orjson.loads(one.body), self._base_url)
        return NewResource(
            one.type, one.id, 1, one.updated, b"", found.rows, found.patient, found.code, found.date_lo
        )
