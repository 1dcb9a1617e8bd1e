"""The newest resources of each code (R4 Observation-lastn), in one question to the database."""

from collections.abc import Sequence

from sqlalchemy import Connection, case, exists, func, or_, select

from record_store.criteria import Criterion, TokenText
from record_store.criteria_sql import matching
from record_store.reindexing import require_rows
from record_store.rows_sql import of_param
from record_store.tables import resource, sp_token

Ranked = tuple[str, str, str, str, str, str]  # id, date, updated; system, code, text of one of its codings


def newest_of_each_code(
    conn: Connection, resource_type: str, criteria: Sequence[Criterion], param: str, most: int, limit: int
) -> list[Ranked]:
    """Return the `most` newest of those that meet the criteria, for each coding that they have.

    param: of the index rows of their code. What has several codings stands here for each; what has none, for its
    text. limit: at most so many rows. Raises Busy while the rows with those texts are being made (`reindexing`).
    """
    require_rows(conn, resource_type, (*criteria, TokenText(param, ())))
    columns = (resource.c.id, resource.c.date_lo, resource.c.updated)
    wanted = matching(select(*columns), resource, resource_type, criteria).cte("wanted")
    token, other = sp_token, sp_token.alias()
    coded = exists().where(
        other.c.type == resource_type, other.c.id == token.c.id, of_param(other, param), other.c.code != ""
    )
    # The words of a coding tell nothing apart; those of a concept without one are all that it has.
    words = case((token.c.code == "", token.c.text), else_="").label("text")
    newest = (wanted.c.date_lo.desc(), wanted.c.updated.desc(), wanted.c.id.desc())
    place = func.row_number().over(partition_by=(token.c.system, token.c.code, words), order_by=newest)
    ranked = (
        select(wanted, token.c.system, token.c.code, words, place.label("place"))
        .where(token.c.type == resource_type, token.c.id == wanted.c.id, of_param(token, param))
        .where(or_(token.c.code != "", ~coded))
        .cte("ranked")
    )
    names = ("id", "date_lo", "updated", "system", "code", "text")
    rows = conn.execute(select(*(ranked.c[name] for name in names)).where(ranked.c.place <= most).limit(limit))
    return [_ranked(row) for row in rows]


def _ranked(row: Sequence[object]) -> Ranked:
    found_id, date_lo, updated, system, code, words = map(str, row)
    return found_id, date_lo, updated, system, code, words
