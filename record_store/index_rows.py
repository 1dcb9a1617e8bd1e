"""The narrow rows that searches read, one kind of search a table; written here, read by `resource_search`.

What a row means (which element is a `date`, what a token matches) is decided in `fhir_adapters/search`.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from record_store.sql import placed
from record_store.tables import sp_date, sp_quantity, sp_reference, sp_string, sp_token, sp_uri

# A b-tree entry of PostgreSQL holds 2,704 bytes, and the columns 512 characters.
MAX_INDEXED_BYTES = 512
_COPIED = 16  # rows; for fewer the exchange of messages costs more
_SURELY_FITS = MAX_INDEXED_BYTES // 4  # characters: one has at most four bytes


class TokenRow(NamedTuple):
    """A code, identifier or boolean; system is "" when there is none.

    text: normalised, what `:text` searches; a concept that has only a text has a row without a code. part, of
    every row: which of the elements that a composite joins over it is from, 0 for the resource itself.
    """

    param: str
    system: str
    code: str
    text: str = ""
    part: int = 0


class StringRow(NamedTuple):
    """A normalised text, and as it was sent."""

    param: str
    value: str
    exact: str = ""
    part: int = 0


class DateRow(NamedTuple):
    """The first and the last microsecond of a date, as `times.to_text` writes them."""

    param: str
    lo: str
    hi: str
    part: int = 0


class ReferenceRow(NamedTuple):
    """A reference; target_type is "" and target_id the whole URL when it is not one of ours."""

    param: str
    target_type: str
    target_id: str
    part: int = 0


class QuantityRow(NamedTuple):
    """A quantity or a number: from lo to hi, which are the same for an exact value and may be infinite.

    system, code, unit: as sent, "" where absent. canon_*: in base units of UCUM; canon_unit is "" and the bounds
    are lo and hi where the unit is none of UCUM.
    """

    param: str
    lo: float
    hi: float
    system: str
    code: str
    unit: str
    canon_lo: float
    canon_hi: float
    canon_unit: str
    part: int = 0


class UriRow(NamedTuple):
    """A URI."""

    param: str
    value: str
    part: int = 0


@dataclass(frozen=True, slots=True)
class IndexRows:
    """What of one resource can be searched."""

    tokens: tuple[TokenRow, ...] = ()
    strings: tuple[StringRow, ...] = ()
    dates: tuple[DateRow, ...] = ()
    references: tuple[ReferenceRow, ...] = ()
    quantities: tuple[QuantityRow, ...] = ()
    uris: tuple[UriRow, ...] = ()


INDEX_TABLES = (sp_token, sp_string, sp_date, sp_reference, sp_quantity, sp_uri)


def insert_rows(conn: Connection, owners: Iterable[tuple[str, str, IndexRows]]) -> None:
    """Write the rows of resources that have none. owners: (type, id, rows).

    Plain tuples through the driver: compiling and binding each row by name took a quarter of a write.
    """
    made: list[list[tuple[Any, ...]]] = [[] for _ in INDEX_TABLES]
    for resource_type, resource_id, index in owners:
        own = (resource_type, resource_id)
        for rows, found, stored in zip(made, _kinds(index), _STORED, strict=True):
            if found:
                rows.extend([own + stored(row) for row in dict.fromkeys(found)])
    for table, rows in zip(INDEX_TABLES, made, strict=True):
        if len(rows) >= _COPIED and conn.dialect.name == "postgresql":
            _copy(conn, table.name, rows)
        elif rows:
            conn.exec_driver_sql(placed(conn, _INSERT[table.name]), rows)


def _copy(conn: Connection, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """Write rows by PostgreSQL's COPY: a tenth of what the driver's executemany costs us."""
    from psycopg import Error  # noqa: PLC0415 - only who has PostgreSQL loads its driver

    statement = f"COPY {table} ({', '.join(_COLUMNS[table])}) FROM STDIN"
    driver: Any = conn.connection.driver_connection
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
    except Error as error:
        raise DBAPIError(statement, None, error) from None  # as SQLAlchemy says what its own statements meet


def delete_rows(conn: Connection, owners: Sequence[tuple[str, str]]) -> None:
    """Remove the rows of resources. owners: (type, id) of at least one."""
    for table in INDEX_TABLES:
        statement = f"DELETE FROM {table.name} WHERE type = ? AND id = ?"  # noqa: S608 - a name of ours
        conn.exec_driver_sql(placed(conn, statement), list(owners))


def _kinds(index: IndexRows) -> tuple[Sequence[tuple[Any, ...]], ...]:
    return (index.tokens, index.strings, index.dates, index.references, index.quantities, index.uris)


def fit(value: str) -> str:
    """Return an indexed value within the column: itself, or its digest when it is too long.

    Rows and questions pass through this same door, so a longer value still equals itself.
    """
    if len(value) <= _SURELY_FITS:
        return value
    data = value.encode()
    return value if len(data) <= MAX_INDEXED_BYTES else f"sha256:{hashlib.sha256(data).hexdigest()}"


def cut(value: str) -> str:
    """Return the start of an indexed text that fits the column."""
    if len(value) <= _SURELY_FITS:
        return value
    return value.encode()[:MAX_INDEXED_BYTES].decode(errors="ignore")


def _token(row: TokenRow) -> tuple[Any, ...]:
    return row.param, fit(row.system), fit(row.code), cut(row.text), row.part


def _string(row: StringRow) -> tuple[Any, ...]:
    return row.param, cut(row.value), fit(row.exact), row.part


def _reference(row: ReferenceRow) -> tuple[Any, ...]:
    return row.param, row.target_type, fit(row.target_id), row.part


def _quantity(row: QuantityRow) -> tuple[Any, ...]:
    param, lo, hi, system, code, unit, canon_lo, canon_hi, canon_unit, part = row
    return param, lo, hi, fit(system), fit(code), fit(unit), canon_lo, canon_hi, fit(canon_unit), part


def _uri(row: UriRow) -> tuple[Any, ...]:
    return row.param, fit(row.value), row.part


# In the order of INDEX_TABLES: a row as its table holds it, in the order of the columns below.
_STORED: tuple[Callable[[Any], tuple[Any, ...]], ...] = (_token, _string, tuple, _reference, _quantity, _uri)
_FIELDS = tuple(row._fields for row in (TokenRow, StringRow, DateRow, ReferenceRow, QuantityRow, UriRow))
_COLUMNS = {table.name: ("type", "id", *fields) for table, fields in zip(INDEX_TABLES, _FIELDS, strict=True)}
_INSERT = {
    table: f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608 - ours
    for table, names in _COLUMNS.items()
}
