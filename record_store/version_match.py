"""Which of some versions meet which searches, asked of a database in memory that holds nothing else.

A version that has been superseded has no index rows any more, and a search asks for current ones. So the versions
in question get rows of their own, by the code that stores and the code that searches: a criterion has one meaning.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.pool import StaticPool

from record_store.resource_search import SearchQuery, search
from record_store.resources import NewResource, put_all
from record_store.tables import metadata

Key = tuple[str, str, int]
"""Type, id and version of a resource."""


class VersionMatch:
    """A database in memory, empty between two questions. For one thread."""

    def __init__(self) -> None:
        self._engine: Engine | None = None

    def matches(self, versions: Sequence[NewResource], searches: Mapping[str, SearchQuery]) -> dict[str, set[Key]]:
        """Return which versions each search finds, by its name. Versions of one resource are each asked alone."""
        found: dict[str, set[Key]] = {name: set() for name in searches}
        for together in _rounds(versions):
            numbers = {(one.type, one.id): one.version for one in together}
            kinds = {one.type for one in together}
            with self._holding(together) as conn:
                for name, query in searches.items():
                    if query.type not in kinds:
                        continue
                    for match in search(conn, replace(query, limit=len(together))):
                        key = (match.resource.type, match.resource.id)
                        found[name].add((*key, numbers[key]))
        return found

    @contextmanager
    def _holding(self, versions: Sequence[NewResource]) -> Iterator[Connection]:
        if self._engine is None:
            self._engine = create_engine("sqlite://", poolclass=StaticPool, hide_parameters=True)
            metadata.create_all(self._engine)
        with self._engine.connect() as conn:
            try:
                put_all(conn, [_alone(one) for one in versions])
                yield conn
            finally:
                conn.rollback()


def _rounds(versions: Sequence[NewResource]) -> Iterator[list[NewResource]]:
    left = list(versions)
    while left:
        first: dict[tuple[str, str], NewResource] = {}
        later: list[NewResource] = []
        for one in left:
            if first.setdefault((one.type, one.id), one) is not one:
                later.append(one)
        yield list(first.values())
        left = later


def _alone(one: NewResource) -> NewResource:
    """Return it as a first version: nothing that it could replace is here."""
    return replace(one, version=1, aside=None)
