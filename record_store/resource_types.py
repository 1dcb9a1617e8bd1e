"""Which types of resources there are here."""

from sqlalchemy import Connection, func, select

from record_store.tables import resource


def types_present(conn: Connection) -> list[str]:
    """Return the types of which something is stored, in order; a look at the index for each, not at all rows."""
    first = select(func.min(resource.c.type).label("type")).cte("present", recursive=True)
    after = select(func.min(resource.c.type)).where(resource.c.type > first.c.type).scalar_subquery()
    every = first.union_all(select(after).where(first.c.type.is_not(None)))
    return [str(one) for one in conn.scalars(select(every.c.type).where(every.c.type.is_not(None)))]
