"""Making the index rows anew of what an earlier release stored: in batches, safe beside a running server.

It can be stopped at any time and run again, also by several at once: what has its rows is left alone.
"""

from collections.abc import Callable

import orjson

from fhir_adapters.search.index import index_of
from fhir_adapters.search.parameters import TYPES
from record_store.database import Database
from record_store.index_rows import IndexRows
from record_store.reindexing import Reindexed, rewrite, stale_batch
from record_store.resources import StoredResource

BATCH = 100  # in one transaction: on SQLite every other writer waits for it


def reindex(
    db: Database,
    base_url: str,
    *,
    told: Callable[[int], None] = lambda _: None,
    stopping: Callable[[], bool] = lambda: False,
) -> int:
    """Give every resource the rows of the present table; return how many got them.

    base_url: ours, as in `index_of`. told: called after each batch with its size. stopping: asked before each.
    """
    done, after = 0, ("", "")
    while not stopping():
        with db.read() as conn:
            batch = stale_batch(conn, after, BATCH)
        if not batch:
            break
        made = [_made(stored, base_url) for stored in batch]
        with db.write() as conn:
            done += rewrite(conn, made)
        after = (batch[-1].type, batch[-1].id)
        told(len(batch))
    return done


def _made(stored: StoredResource, base_url: str) -> Reindexed:
    if not stored.body or stored.type not in TYPES:  # deleted, or of a type that is not kept any more
        return Reindexed(stored, IndexRows())
    found = index_of(orjson.loads(stored.body), base_url)
    return Reindexed(stored, found.rows, found.patient, found.code, found.date_lo)
