"""Which codes results and orders stand under that no standard system knows."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, and_, exists, func, select

from record_store.tables import sp_token

_MANY = 300
TYPES = ("Observation", "DiagnosticReport", "ServiceRequest", "Condition", "Procedure")


@dataclass(frozen=True, slots=True)
class LocalCode:
    """A code, what it is called (in small letters, as the index has it), and how many resources have it alone."""

    system: str
    code: str
    text: str
    resources: int


def local_codes(conn: Connection, standard: Collection[str], limit: int = 1000) -> list[LocalCode]:
    """Return the codes of resources that have none of a standard system, those of most resources first."""
    own, other = sp_token.alias("own"), sp_token.alias("other")
    systems = list(standard)
    also = exists().where(
        and_(
            other.c.type == own.c.type,
            other.c.id == own.c.id,
            other.c.param == "code",
            other.c.system.in_(systems),
        )
    )
    count = func.count()
    query = (
        select(own.c.system, own.c.code, func.max(own.c.text), count)
        .where(own.c.type.in_(TYPES), own.c.param == "code", own.c.code != "", own.c.system.not_in(systems), ~also)
        .group_by(own.c.system, own.c.code)
        .order_by(count.desc(), own.c.system, own.c.code)
    )
    return [LocalCode(*row) for row in conn.execute(query.limit(limit))]


def coded_with(conn: Connection, codes: Collection[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return (type, id) of the resources that stand under one of these codes (system, code); sorted."""
    wanted, table = set(codes), sp_token.c
    values = sorted({code for _, code in wanted})
    found: set[tuple[str, str]] = set()
    for start in range(0, len(values), _MANY):
        query = select(table.type, table.id, table.system, table.code).where(
            table.type.in_(TYPES), table.param == "code", table.code.in_(values[start : start + _MANY])
        )
        found |= {(kind, one) for kind, one, system, code in conn.execute(query) if (system, code) in wanted}
    return sorted(found)
